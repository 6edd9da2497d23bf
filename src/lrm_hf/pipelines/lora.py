# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The adapter verbs of the pipeline, named as everywhere in diffusers."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from diffusers.loaders.lora_base import LoraBaseMixin
from transformers.utils import logging

from .. import hub, model_card
from ..modeling import adapter_layers
from ..modeling.adapters import changed, read_adapter, write_adapter


logger = logging.get_logger(__name__)


class LRMLoraMixin(LoraBaseMixin):
    """LoRA, rsLoRA and DoRA for the pipeline's model. Needs peft (the extra `train`)."""

    _lora_loadable_modules = ["model"]
    _hotswap_rank: int | None = None

    @property
    def _plain(self) -> Any:
        """The model itself, where `torch.compile` has wrapped it."""
        return getattr(self.model, "_orig_mod", self.model)

    def load_lora_weights(
        self,
        pretrained_model_name_or_path: str | os.PathLike[str],
        adapter_name: str | None = None,
        hotswap: bool = False,
        *,
        subfolder: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> None:
        """Loads an adapter, which becomes the only active one. The file's layout is peft's.

        Args:
            pretrained_model_name_or_path: directory or Hub repository with `adapter_config.json` and
                `adapter_model.safetensors`, as `save_lora_weights` and `peft.PeftModel.save_pretrained` write them.
            adapter_name: what to call it; default "default", "default_1" and so on.
            hotswap: write it over the adapter of that name (by default the only one), in place, so that a compiled
                model is not compiled again. Their layers must be the same; for other ranks see `enable_lora_hotswap`.
            subfolder, revision, token, cache_dir, force_download, local_files_only: where and how to look on the Hub.

        Raises:
            ImportError: without peft.
            OSError: if there is no such directory or repository, it holds no adapter, or a damaged one.
            ValueError: if it was made for another model (the first keys that do not fit are listed), if the name is
                taken, or another adapter is fused.
        """
        source = os.path.expanduser(os.fspath(pretrained_model_name_or_path))
        arguments = {
            "revision": revision,
            "token": token,
            "cache_dir": cache_dir,
            "force_download": force_download,
            "local_files_only": local_files_only,
        }
        given = {key: value for key, value in arguments.items() if value is not None}
        files = hub.find_adapter(source, subfolder, given)
        adapter = read_adapter(*files, source)
        if hotswap:
            adapter_layers.swap_adapter(self._plain, adapter, adapter_name or self._only_adapter("swap"))
            return
        loaded = adapter_layers.loaded_adapters(self._plain)
        if adapter_name is None:
            names = ["default", *(f"default_{number}" for number in range(1, len(loaded) + 1))]
            adapter_name = next(name for name in names if name not in loaded)
        adapter_layers.add_adapter(self._plain, adapter, adapter_name, self._hotswap_rank)

    def save_lora_weights(
        self,
        save_directory: str | os.PathLike[str],
        adapter_name: str | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Writes an adapter as peft does, and a model card where there is none yet.

        Args:
            save_directory: made if it does not exist.
            adapter_name: default the only one that is loaded.
            push_to_hub: upload the directory as well; `kwargs` are then `repo_id` (default the directory's name) and
                those of [`LRMPipeline.push_to_hub`].

        Raises:
            ValueError: if there is no such adapter, or several and no name is given.
        """
        if kwargs and not push_to_hub:
            raise TypeError(f"unknown argument {', '.join(map(repr, sorted(kwargs)))} without `push_to_hub=True`.")
        directory = os.fspath(save_directory)
        name = kwargs.pop("repo_id", None) or os.path.basename(os.path.abspath(directory))
        adapter = adapter_layers.adapter_of(self._plain, adapter_name or self._only_adapter("save"))
        # a path of this machine would mean nothing elsewhere
        base = hub.repository_name(adapter.config.base_model_name_or_path) or self._base_name()
        write_adapter(replace(adapter, config=changed(adapter.config, base_model_name_or_path=base)), directory)
        model_card.write_card(directory, name)
        if push_to_hub:
            hub.upload(directory, name, **{"commit_message": "Upload adapter", **kwargs})

    def push_lora_to_hub(self, repo_id: str, adapter_name: str | None = None, **kwargs: Any) -> str:
        """Uploads an adapter alone; returns the URL of the commit. Arguments as for [`LRMPipeline.push_to_hub`]."""
        with tempfile.TemporaryDirectory() as directory:
            self.save_lora_weights(directory, adapter_name)
            model_card.write_card(directory, repo_id)  # so far it says how to load the directory
            return hub.upload(directory, repo_id, **{"commit_message": "Upload adapter", **kwargs})

    def set_adapters(self, adapter_names: str | Sequence[str], adapter_weights: Any = None) -> None:
        """Makes adapters the active ones.

        Args:
            adapter_names: one or several; their updates add up.
            adapter_weights: factors on their updates, one number for all or one for each; default 1.

        Raises:
            TypeError, ValueError: for unknown names, and for weights that do not fit the names.
        """
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        weights = adapter_weights if isinstance(adapter_weights, (list, tuple)) else [adapter_weights] * len(names)
        if len(weights) != len(names):
            raise ValueError(
                f"`adapter_weights` must have one number per adapter, got {len(weights)} for {len(names)}."
            )
        weights = [1.0 if weight is None else weight for weight in weights]
        for weight in weights:
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
                raise TypeError(f"`adapter_weights` must be finite numbers, got {weight!r}.")
        adapter_layers.set_weights(self._plain, names, weights)

    def get_active_adapters(self) -> list[str]:
        """Names of the adapters that take part in what the pipeline makes."""
        return adapter_layers.active_adapters(self._plain)

    def get_list_adapters(self) -> dict[str, list[str]]:
        """Names of all loaded adapters, by component."""
        loaded = adapter_layers.loaded_adapters(self._plain)
        return {"model": loaded} if loaded else {}

    def disable_lora(self) -> None:
        """Goes back to the base model for now; `enable_lora` undoes it."""
        adapter_layers.enable_adapters(self._plain, False)

    def enable_lora(self) -> None:
        """Undoes `disable_lora`."""
        adapter_layers.enable_adapters(self._plain, True)

    def delete_adapters(self, adapter_names: str | Sequence[str]) -> None:
        """Takes adapters out. Of the others, those stay active that were."""
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        adapter_layers.delete_adapters(self._plain, names)

    def unload_lora_weights(self) -> None:
        """Takes all adapters out: the weights are the base's very bytes again. What is fused stays in them."""
        adapter_layers.remove_all_adapters(self._plain)

    def fuse_lora(
        self,
        components: Sequence[str] = ("model",),
        lora_scale: float = 1.0,
        safe_fusing: bool = False,
        adapter_names: Sequence[str] | None = None,
    ) -> None:
        """Adds the adapters' updates to the weights, so that they cost no time. A copy of those weights is kept.

        Args:
            components: only the model can have adapters.
            lora_scale: factor on top of the adapters' weights.
            safe_fusing: raise, and leave all as it was, where the sum is not finite.
            adapter_names: default the active ones.

        Raises:
            ValueError: if there is none, they are turned off, or some are fused already.
        """
        _check_components(components)
        adapter_layers.fuse_adapters(self._plain, adapter_names, lora_scale, safe_fusing)

    def unfuse_lora(self, components: Sequence[str] = ("model",)) -> None:
        """Undoes `fuse_lora`, to the bit."""
        _check_components(components)
        adapter_layers.unfuse_adapters(self._plain)

    @property
    def fused_loras(self) -> set[str]:
        """Names of the fused adapters."""
        return set(adapter_layers.fused_adapters(self._plain))

    @property
    def num_fused_loras(self) -> int:
        return len(self.fused_loras)

    def enable_lora_hotswap(self, target_rank: int = 128) -> None:
        """To be called before the first adapter is loaded: adapters loaded from now on are padded to this rank, so that
        `load_lora_weights(..., hotswap=True)` takes any adapter up to it without a new compilation.

        Raises:
            ValueError: if adapters are loaded already, or the rank is not positive.
        """
        if isinstance(target_rank, bool) or not isinstance(target_rank, int) or target_rank < 1:
            raise ValueError(f"`target_rank` must be a positive integer, got {target_rank!r}.")
        loaded = adapter_layers.loaded_adapters(self._plain)
        if loaded:
            raise ValueError(f"`enable_lora_hotswap` comes before the first adapter; loaded are: {', '.join(loaded)}.")
        self._hotswap_rank = target_rank

    @contextmanager
    def _savable_model(self, fuse_lora: bool) -> Iterator[None]:
        """The model without adapter layers, for as long as it is saved; says what becomes of the adapters."""
        model = self._plain
        fused, active = adapter_layers.fused_adapters(model), adapter_layers.active_adapters(model)
        within = active if fuse_lora else fused
        left = [name for name in adapter_layers.loaded_adapters(model) if name not in within]
        with adapter_layers.without_adapters(model, fuse=fuse_lora):
            if within:
                logger.warning("adapters fused into the weights that are saved: %s.", ", ".join(within))
            if left:
                logger.warning(
                    "the base model is saved, without the adapters %s: `save_lora_weights` keeps those, and "
                    "`fuse_lora=True` saves the active ones within the weights.",
                    ", ".join(left),
                )
            yield

    def _only_adapter(self, deed: str) -> str:
        loaded = adapter_layers.loaded_adapters(self._plain)
        if len(loaded) != 1:
            raise ValueError(
                f"which adapter to {deed}? Give `adapter_name`; loaded are: {', '.join(loaded) or 'none'}."
            )
        return loaded[0]

    def _base_name(self) -> str | None:
        """The Hub repository that the pipeline was loaded from, if it was one."""
        return hub.repository_name(self.name_or_path) or hub.repository_name(self._plain.name_or_path)


def _check_components(components: Sequence[str]) -> None:
    if list(components) != ["model"]:
        raise ValueError(f"`components` must be ['model'], the one that can have adapters, got {list(components)!r}.")
