# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What happens to adapters in a model: put in, swapped, weighed, fused, taken out.

The layers are peft's. Weights are written into them layer by layer: peft's own hot-swap (0.21) also clears adapters
whose names contain the swapped one's, and forgets the new alpha when the weight is set later.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .adapters import Adapter, changed, fit_adapter, require_peft


if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer


@dataclass
class AdapterState:
    """What a model with adapters has to remember beside its layers.

    Attributes:
        weights: by adapter; what `set_weights` was told, 1 otherwise.
        base_weights: of fused layers by module name, as they were.
        trainable: names of the parameters that could be trained before the first adapter froze them.
    """

    weights: dict[str, float] = field(default_factory=dict)
    base_weights: dict[str, Tensor] = field(default_factory=dict)
    trainable: list[str] = field(default_factory=list)


def lora_layers(model: nn.Module) -> dict[str, LoraLayer]:
    """By module name; empty without adapters."""
    try:
        from peft.tuners.lora import LoraLayer
    except ImportError:  # then there can be none
        return {}
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def loaded_adapters(model: nn.Module) -> list[str]:
    """Names, in the order of loading."""
    return list(getattr(model, "peft_config", {})) if lora_layers(model) else []


def active_adapters(model: nn.Module) -> list[str]:
    """Names of those that take part in the model's output."""
    for layer in lora_layers(model).values():
        return [] if layer.disable_adapters else list(layer.active_adapters)
    return []


def fused_adapters(model: nn.Module) -> list[str]:
    return list(dict.fromkeys(name for layer in lora_layers(model).values() for name in layer.merged_adapters))


def add_adapter(model: Any, adapter: Adapter, name: str, target_rank: int | None = None) -> None:
    """Puts an adapter into the model, as the only active one. The base is frozen.

    Args:
        target_rank: pad it with zeros to this rank, and keep its scale in a tensor, so that others can be swapped in
            without a new compilation.

    Raises:
        ValueError: if the name is taken or can't be one, another adapter is fused, or the adapter does not fit.
    """
    require_peft()
    from peft import inject_adapter_in_model
    from peft.utils.hotswap import prepare_model_for_compiled_hotswap

    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or hasattr(nn.ModuleDict, name):
        raise ValueError(
            f"`adapter_name` must consist of letters, digits, '_' and '-', and be no word of torch's, got {name!r}."
        )
    if name in loaded_adapters(model):
        raise ValueError(f"an adapter {name!r} is loaded already: give another `adapter_name`, or `hotswap=True`.")
    _require_unfused(model, "load an adapter")
    adapter = fit_adapter(model, adapter)
    highest = max(map(adapter.rank, adapter.layers))
    if target_rank is not None and highest > target_rank:
        raise ValueError(
            f"{adapter.source!r} has rank {highest}, above the `target_rank` {target_rank} of hot-swapping."
        )
    if not lora_layers(model):
        trainable = [key for key, parameter in model.named_parameters() if parameter.requires_grad]
        model._adapter_state = AdapterState(trainable=trainable)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
        inject_adapter_in_model(changed(adapter.config, inference_mode=True), model, name)
    # what makes transformers' own methods for adapters work on this model
    model._hf_peft_config_loaded = True
    for key, layer in lora_layers(model).items():
        if key in adapter.layers:
            _write(layer, name, adapter.layers[key])
            layer.train(model.training)
    set_weights(model, [name], [1.0])
    if target_rank is not None:
        prepare_model_for_compiled_hotswap(model, target_rank=target_rank, check_compiled="ignore")


def swap_adapter(model: Any, adapter: Adapter, name: str) -> None:
    """Writes an adapter over the one called `name`, in place: a compiled model goes on as it is. Its weight becomes 1.

    Raises:
        ValueError: if there is none of that name, it is fused, it is on other layers, or its rank is too low.
    """
    require_loaded(model, [name])
    _require_unfused(model, "swap an adapter")
    adapter = fit_adapter(model, adapter)
    layers = {key: layer for key, layer in lora_layers(model).items() if name in layer.lora_A}
    if layers.keys() != adapter.layers.keys():
        differing = sorted(layers.keys() ^ adapter.layers.keys())
        raise ValueError(
            f"{adapter.source!r} can't be swapped for {name!r}: they adapt different layers, such as {differing[0]}."
        )
    for key, layer in layers.items():
        room = layer.lora_A[name].weight.shape[0]
        if adapter.rank(key) > room:
            raise ValueError(
                f"{adapter.source!r} has rank {adapter.rank(key)}, but there is room for {room} only: call "
                "`enable_lora_hotswap(target_rank=...)` before the first adapter is loaded."
            )
        if (name in layer.lora_magnitude_vector) != adapter.config.use_dora:
            raise ValueError(f"{adapter.source!r} can't be swapped for {name!r}: one of them is DoRA, the other not.")
    for key, layer in layers.items():
        _write(layer, name, adapter.layers[key])
        layer.r[name] = adapter.rank(key)
        layer.lora_alpha[name] = adapter.alpha(key)
        layer.use_rslora[name] = adapter.config.use_rslora
    model.peft_config[name] = changed(adapter.config, inference_mode=True)
    _set_weight(model, name, 1.0)


@torch.no_grad()
def _write(layer: Any, name: str, tensors: dict[str, Tensor]) -> None:
    """Into the layer's parameters, which may be padded to a higher rank."""
    rank = tensors["lora_A"].shape[0]
    for part, parameter in (("lora_A", layer.lora_A[name].weight), ("lora_B", layer.lora_B[name].weight)):
        parameter.zero_()
        (parameter[:rank] if part == "lora_A" else parameter[:, :rank]).copy_(tensors[part])
    if "lora_magnitude_vector" in tensors:
        layer.lora_magnitude_vector[name].weight.copy_(tensors["lora_magnitude_vector"])


def adapter_of(model: Any, name: str) -> Adapter:
    """The adapter's present weights, without padding.

    Raises:
        ValueError: if there is none of that name.
    """
    require_loaded(model, [name])
    layers = {}
    for key, layer in lora_layers(model).items():
        if name in layer.lora_A:
            rank = layer.r[name]
            layers[key] = {"lora_A": layer.lora_A[name].weight[:rank], "lora_B": layer.lora_B[name].weight[:, :rank]}
            if name in layer.lora_magnitude_vector:
                layers[key]["lora_magnitude_vector"] = layer.lora_magnitude_vector[name].weight
    return Adapter(model.peft_config[name], layers, name)


def set_weights(model: Any, names: Sequence[str], weights: Sequence[float]) -> None:
    """Makes these adapters the active ones, each update multiplied by its weight.

    Raises:
        ValueError: for unknown names, or where adapters are fused.
    """
    require_loaded(model, names)
    _require_unfused(model, "choose adapters")
    for layer in lora_layers(model).values():
        layer.set_adapter(list(names), inference_mode=True)
    for name, weight in zip(names, weights, strict=True):
        _set_weight(model, name, weight)


def _set_weight(model: Any, name: str, weight: float, fusing: float = 1.0) -> None:
    _state(model).weights[name] = weight
    for layer in lora_layers(model).values():
        if name not in layer.scaling:
            continue
        rank = layer.r[name]
        scaling = weight * fusing * layer.lora_alpha[name] / (math.sqrt(rank) if layer.use_rslora.get(name) else rank)
        if isinstance(layer.scaling[name], Tensor):  # prepared for hot-swapping: another number would compile anew
            layer.scaling[name].fill_(scaling)
        else:
            layer.scaling[name] = float(scaling)


def enable_adapters(model: nn.Module, enabled: bool) -> None:
    """Turns all adapters on or off, without forgetting which ones are active."""
    for layer in lora_layers(model).values():
        layer.enable_adapters(enabled)
        layer.requires_grad_(False)


def fuse_adapters(model: Any, names: Sequence[str] | None = None, scale: float = 1.0, safe: bool = False) -> None:
    """Adds adapters' updates to the base weights, of which a copy is kept.

    Args:
        names: default the active ones.
        scale: on top of their weights.
        safe: raise before a weight that is not finite gets in.

    Raises:
        ValueError: if there is nothing to fuse, adapters are off, or fused already.
    """
    names = active_adapters(model) if names is None else list(names)
    if not names:
        raise ValueError("there is no active adapter to fuse: load one, or `enable_lora()`.")
    require_loaded(model, names)
    _require_unfused(model, "fuse adapters")
    state = _state(model)
    for name in names:
        _set_weight(model, name, state.weights.get(name, 1.0), fusing=scale)
    try:
        for key, layer in lora_layers(model).items():
            if any(name in layer.lora_A for name in names):
                state.base_weights[key] = layer.get_base_layer().weight.detach().clone()
                layer.merge(safe_merge=safe, adapter_names=names)
    except ValueError:  # of weights that are not finite, after other layers have been fused
        unfuse_adapters(model)
        raise


@torch.no_grad()
def unfuse_adapters(model: Any) -> None:
    """Undoes `fuse_adapters`, to the bit."""
    state = _state(model)
    for key, layer in lora_layers(model).items():
        if layer.merged:
            names = list(layer.merged_adapters)
            layer.unmerge()  # clears the layer's records; the subtraction leaves rounding behind
            if key in state.base_weights:
                layer.get_base_layer().weight.copy_(state.base_weights.pop(key))
            for name in names:
                _set_weight(model, name, state.weights.get(name, 1.0))


def delete_adapters(model: Any, names: Sequence[str]) -> None:
    """Takes adapters out; the layers too, if none is left. Of the others, those stay active that were.

    Raises:
        ValueError: for unknown or fused ones.
    """
    require_loaded(model, names)
    fused = sorted(set(names) & set(fused_adapters(model)))
    if fused:
        raise ValueError(f"can't delete {', '.join(map(repr, fused))}: it is fused. `unfuse_lora()` first.")
    if set(names) == set(loaded_adapters(model)):
        return remove_all_adapters(model)
    for layer in lora_layers(model).values():
        # first, else peft would make others active by rules of its own
        layer.set_adapter([name for name in layer.active_adapters if name not in names], inference_mode=True)
        for name in names:
            if name in layer.lora_A:
                layer.delete_adapter(name)
    for name in names:
        del model.peft_config[name]
        _state(model).weights.pop(name, None)
    return None


def remove_all_adapters(model: Any) -> None:
    """Puts the base layers back, as the very objects that they were; what was fused stays in their weights."""
    state = _state(model)
    for key, layer in lora_layers(model).items():
        parent, _, child = key.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    for name in ("peft_config", "_adapter_state"):
        if hasattr(model, name):
            delattr(model, name)
    model._hf_peft_config_loaded = False
    parameters = dict(model.named_parameters())
    for name in state.trainable:
        parameters[name].requires_grad_(True)


@contextmanager
def without_adapters(model: Any, fuse: bool = False) -> Iterator[None]:
    """The plain model for as long as the block runs: with its base weights as they are (which includes what is fused
    already), or with the active adapters fused. Afterwards everything is as before, to the bit.

    Raises:
        ValueError: as `fuse_adapters`.
    """
    layers = lora_layers(model)
    if not layers:
        yield
        return
    fused_here = fuse and not fused_adapters(model)
    if fused_here:
        fuse_adapters(model, safe=True)
    elif fuse and set(active_adapters(model)) - set(fused_adapters(model)):
        raise ValueError("some active adapters are fused and some are not: `unfuse_lora()` first.")
    flag, config = getattr(model, "_hf_peft_config_loaded", False), model.peft_config
    try:
        for key, layer in layers.items():
            parent, _, child = key.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.get_base_layer())
        del model.peft_config
        model._hf_peft_config_loaded = False
        yield
    finally:
        for key, layer in layers.items():
            parent, _, child = key.rpartition(".")
            setattr(model.get_submodule(parent), child, layer)
        model.peft_config, model._hf_peft_config_loaded = config, flag
        if fused_here:
            unfuse_adapters(model)


def require_loaded(model: nn.Module, names: Sequence[str]) -> None:
    loaded = loaded_adapters(model)
    unknown = [name for name in names if name not in loaded]
    if unknown or not names:
        wanted = f"there is no adapter {', '.join(map(repr, unknown))}" if unknown else "no adapter is named"
        raise ValueError(f"{wanted}; loaded are: {', '.join(loaded) or 'none'}.")


def _require_unfused(model: nn.Module, deed: str) -> None:
    fused = fused_adapters(model)
    if fused:
        raise ValueError(
            f"can't {deed} while {', '.join(map(repr, fused))} is fused, which switches other adapters off: call "
            "`unfuse_lora()`, or `unload_lora_weights()` to leave it in the weights for good."
        )


def _state(model: Any) -> AdapterState:
    if not hasattr(model, "_adapter_state"):  # adapters that peft or transformers put in
        model._adapter_state = AdapterState()
    return model._adapter_state
