# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Low-rank adapters (LoRA, rsLoRA, DoRA) for the encoder and the decoder: making, reading, fitting and writing them.

Hu et al., "LoRA: Low-rank adaptation of large language models", ICLR 2022; Kalajdzievski, "A rank stabilization scaling
factor for fine-tuning with LoRA", 2023; Liu et al., "DoRA: Weight-decomposed low-rank adaptation", ICML 2024.

The layers are peft's, and so are the files (`adapter_config.json`, `adapter_model.safetensors`): adapters that
`get_peft_model` trained load here, and the other way round. What happens in a model is in `adapter_layers`.
"""

from __future__ import annotations

import copy
import math
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..files import replacing
from ..hub import ADAPTER_CONFIG_FILE as CONFIG_FILE
from ..hub import ADAPTER_WEIGHTS_FILE as WEIGHTS_FILE
from .original_files import differences, listed


if TYPE_CHECKING:
    from peft import LoraConfig


# Full names, since a plain "q_proj" means layers of the encoder in some versions of transformers and not in others.
# Pooling heads, where an encoder has one, have no part in the planes.
_ATTENTION = {
    "decoder": r"decoder\.layers\.\d+\.(?:self|cross)_attn\.(?:q|k|v|out)_proj",
    "encoder": r"encoder\.(?!head\.)(?:.+\.)?(?:(?:q|k|v|o|out)_proj|query|key|value|attention\.output\.dense)",
}
_MLP = {
    "decoder": r"decoder\.layers\.\d+\.mlp\.fc[12]",
    "encoder": r"encoder\.(?!head\.)(?:.+\.)?"
    r"(?:mlp\.(?:fc[12]|up_proj|down_proj)|intermediate\.dense|\d+\.output\.dense)",
}
TARGETS = ("decoder", "encoder", "all")
# Modules that transformers has renamed over time, old spelling to new; adapters keep the names of their day.
_RENAMED = (
    (re.compile(r"\.attention\.attention\.query$"), ".attention.q_proj"),
    (re.compile(r"\.attention\.attention\.key$"), ".attention.k_proj"),
    (re.compile(r"\.attention\.attention\.value$"), ".attention.v_proj"),
    (re.compile(r"\.attention\.output\.dense$"), ".attention.o_proj"),
    (re.compile(r"\.intermediate\.dense$"), ".mlp.fc1"),
    (re.compile(r"(\.\d+)\.output\.dense$"), r"\1.mlp.fc2"),
    (re.compile(r"^encoder\.encoder\.layer\."), "encoder.layers."),
)
_KEY = re.compile(
    r"(?:base_model\.model\.)?(?:_orig_mod\.)?(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_magnitude_vector)(?:\.weight)?"
)


def require_peft() -> None:
    """Raises ImportError, naming the extra, where peft is missing."""
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise ImportError('adapters need peft: pip install "lrm_hf[train]"') from error


def lora_config(
    target: str = "decoder",
    rank: int = 8,
    alpha: float | None = None,
    *,
    mlp: bool = False,
    use_rslora: bool = False,
    use_dora: bool = False,
    dropout: float = 0.0,
    **kwargs: Any,
) -> LoraConfig:
    """peft's configuration of an adapter for an [`LRMModel`], for `peft.get_peft_model(model, lora_config())`.

    Args:
        target: `"decoder"`, `"encoder"` or `"all"`: whose query, key, value and output projections are adapted. The
            field's MLP never is: the field is float32, and evaluated apart from the layers.
        rank: of the update to each matrix.
        alpha: the update is scaled by `alpha / rank` (rsLoRA: by `alpha / sqrt(rank)`); default `rank`.
        mlp: adapt the blocks' MLPs as well.
        use_rslora, use_dora: rank-stabilised scaling; learned magnitudes of the rows.
        dropout: on the adapters' input in training.
        kwargs: further settings of peft's `LoraConfig`.

    Raises:
        ImportError: without peft.
        TypeError, ValueError: naming the argument, what came and what was expected.
    """
    require_peft()
    from peft import LoraConfig

    if target not in TARGETS:
        raise ValueError(f"`target` must be one of {', '.join(map(repr, TARGETS))}, got {target!r}.")
    if isinstance(rank, bool) or not isinstance(rank, int):
        raise TypeError(f"`rank` must be an integer, got {type(rank).__name__}.")
    if rank < 1:
        raise ValueError(f"`rank` must be at least 1, got {rank}.")
    if alpha is not None and not 0 < alpha < math.inf:
        raise ValueError(f"`alpha` must be positive and finite, got {alpha}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must lie in [0, 1), got {dropout}.")
    if "target_modules" in kwargs:
        raise TypeError("`target_modules` is what `target` stands for: give peft's own LoraConfig instead.")
    parts = ("decoder", "encoder") if target == "all" else (target,)
    patterns = [_ATTENTION[part] for part in parts] + ([_MLP[part] for part in parts] if mlp else [])
    return LoraConfig(
        r=rank,
        lora_alpha=rank if alpha is None else alpha,
        target_modules="|".join(patterns),
        use_rslora=use_rslora,
        use_dora=use_dora,
        lora_dropout=dropout,
        **kwargs,
    )


@dataclass(frozen=True)
class Adapter:
    """An adapter outside of a model.

    Attributes:
        config: peft's.
        layers: by module name, `lora_A` `(rank, in)`, `lora_B` `(out, rank)` and for DoRA `lora_magnitude_vector`
            `(out,)`.
        source: where it came from, for messages.
    """

    config: LoraConfig
    layers: dict[str, dict[str, Tensor]]
    source: str

    def rank(self, module: str) -> int:
        return self.layers[module]["lora_A"].shape[0]

    def alpha(self, module: str) -> float:
        from peft.utils.other import get_pattern_key

        pattern = get_pattern_key(self.config.alpha_pattern.keys(), module)
        return self.config.alpha_pattern.get(pattern, self.config.lora_alpha)


def read_adapter(config_file: str | os.PathLike, weights_file: str | os.PathLike, source: str) -> Adapter:
    """Reads the two files of an adapter.

    Raises:
        ImportError: without peft.
        OSError: if a file is missing or damaged.
        ValueError: if it is no LoRA adapter, or holds more than that.
    """
    require_peft()
    from peft import LoraConfig, PeftConfig

    try:
        config = PeftConfig.from_pretrained(os.path.dirname(os.fspath(config_file)))
    except (TypeError, KeyError, ValueError) as error:
        raise OSError(f"{CONFIG_FILE} of {source!r} can't be read: {error}") from error
    if type(config) is not LoraConfig:
        raise ValueError(
            f"{source!r} holds an adapter of type {config.peft_type}: only LoRA, rsLoRA and DoRA load here."
        )
    extras = [
        name
        for name in ("modules_to_save", "target_parameters", "trainable_token_indices", "lora_bias")
        if getattr(config, name, None)
    ]
    extras += ["bias"] if config.bias != "none" else []
    if extras:
        raise ValueError(
            f"{source!r} holds more than low-rank updates, {', '.join(extras)} in its {CONFIG_FILE}, which could not "
            "be taken out of the model again: load it with peft.PeftModel.from_pretrained(model, ...)."
        )
    try:
        tensors = load_file(weights_file)
    except SafetensorError as error:
        raise OSError(f"{WEIGHTS_FILE} of {source!r} can't be read: {error}") from error
    return Adapter(config, _by_layer(tensors, source), source)


def _by_layer(tensors: dict[str, Tensor], source: str) -> dict[str, dict[str, Tensor]]:
    layers: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None:
            unknown.append(key)
        else:
            layers.setdefault(match["module"], {})[match["part"]] = tensor
    if unknown or not layers:
        problem = f"keys that belong to no low-rank update: {listed(unknown)}" if unknown else "no tensors"
        raise ValueError(f"{WEIGHTS_FILE} of {source!r} has {problem}.")
    return layers


def plain_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Names and modules as if no adapter were in the model."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    inside: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if name.startswith(inside) and inside:
            continue
        if isinstance(module, BaseTunerLayer):
            inside += (name + ".",)
            yield name, module.get_base_layer()
        else:
            yield name, module


def fit_adapter(model: nn.Module, adapter: Adapter) -> Adapter:
    """The adapter under the names that this model's modules have in the installed version of transformers.

    Raises:
        ValueError: if it was made for another model; the message lists the first keys that do not fit.
    """
    from peft.tuners.tuners_utils import check_target_module_exists

    modules = dict(plain_modules(model))
    by_new_name = {_new_name(name): name for name in modules}
    layers = {by_new_name.get(_new_name(name), name): parts for name, parts in adapter.layers.items()}
    parts = ("lora_A", "lora_B") + (("lora_magnitude_vector",) if adapter.config.use_dora else ())
    missing, unexpected, unfit = [], [], []
    for name, tensors in layers.items():
        module = modules.get(name)
        if module is None:
            unexpected += [f"{name}.{part}" for part in tensors]
            continue
        if not isinstance(module, nn.Linear) or name.startswith("field_mlp."):
            unfit.append(f"{name} is {_article(module, name)}, which takes no adapter")
            continue
        missing += [f"{name}.{part}" for part in parts if part not in tensors]
        unexpected += [f"{name}.{part}" for part in tensors if part not in parts]
        unfit += _misshapen(name, module, tensors)
    config = adapter.config
    if config.target_modules != "all-linear":
        missing += [
            f"{name}.lora_A"
            for new_name, name in by_new_name.items()
            if isinstance(modules[name], nn.Linear) and name not in layers and new_name
            if check_target_module_exists(config, name) or check_target_module_exists(config, new_name)
        ]
    problems = differences("key", missing, unexpected)
    if unfit:
        problems += ("; " if problems else "") + listed(unfit)
    if problems:
        raise ValueError(f"the adapter {adapter.source!r} was made for another model: {problems}.")
    fitted = replace(adapter, layers=layers)
    if layers.keys() == adapter.layers.keys() and all(check_target_module_exists(config, name) for name in layers):
        return fitted
    # its config goes by other names: spelled out anew
    alphas = {by_new_name.get(_new_name(name), name): adapter.alpha(name) for name in adapter.layers}
    return replace(
        fitted,
        config=changed(
            config,
            target_modules=set(layers),
            exclude_modules=None,
            layers_to_transform=None,
            layers_pattern=None,
            rank_pattern={re.escape(name): fitted.rank(name) for name in layers if fitted.rank(name) != config.r},
            alpha_pattern={re.escape(name): alpha for name, alpha in alphas.items() if alpha != config.lora_alpha},
        ),
    )


def changed(config: LoraConfig, **values: Any) -> LoraConfig:
    """A copy with other values. peft writes into configs that it is given."""
    config = copy.deepcopy(config)
    for name, value in values.items():
        setattr(config, name, value)
    return config


def _new_name(name: str) -> str:
    for pattern, spelling in _RENAMED:
        name = pattern.sub(spelling, name)
    return name


def _article(module: nn.Module, name: str) -> str:
    return "part of the field" if name.startswith("field_mlp.") else f"an nn.{type(module).__name__}"


def _misshapen(name: str, module: nn.Linear, tensors: dict[str, Tensor]) -> list[str]:
    rank = (
        tensors["lora_A"].shape[0] if "lora_A" in tensors else tensors["lora_B"].shape[-1] if "lora_B" in tensors else 0
    )
    expected = {
        "lora_A": (rank, module.in_features),
        "lora_B": (module.out_features, rank),
        "lora_magnitude_vector": (module.out_features,),
    }
    return [
        f"{name}.{part} has shape {tuple(tensor.shape)} where {expected[part]} is needed"
        for part, tensor in tensors.items()
        if tuple(tensor.shape) != expected[part]
    ]


def write_adapter(adapter: Adapter, directory: str | os.PathLike) -> None:
    """Writes the two files of an adapter, as peft names and lays them out; weights in their own type."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        changed(adapter.config, inference_mode=True).save_pretrained(temporary)
        text = Path(temporary, CONFIG_FILE).read_text(encoding="utf-8")
    tensors = {
        f"base_model.model.{name}.{part}" + ("" if part == "lora_magnitude_vector" else ".weight"): tensor
        for name, parts in adapter.layers.items()
        for part, tensor in parts.items()
    }
    with replacing(directory / WEIGHTS_FILE) as path:
        save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, path, {"format": "pt"})
    with replacing(directory / CONFIG_FILE) as path:
        path.write_text(text, encoding="utf-8")
