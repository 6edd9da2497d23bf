# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""TripoSR's `config.yaml` as our config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from .configuration_triposr import TripoSRConfig
from .original_files import differences
from .original_tables import ENCODERS


# the parts of the original, each with the class that it names and the arguments that it carries
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "image_tokenizer": ("tsr.models.tokenizers.image.DINOSingleImageTokenizer", ("pretrained_model_name_or_path",)),
    "tokenizer": ("tsr.models.tokenizers.triplane.Triplane1DTokenizer", ("plane_size", "num_channels")),
    "backbone": (
        "tsr.models.transformer.transformer_1d.Transformer1D",
        ("in_channels", "num_attention_heads", "attention_head_dim", "num_layers", "cross_attention_dim"),
    ),
    "post_processor": ("tsr.models.network_utils.TriplaneUpsampleNetwork", ("in_channels", "out_channels")),
    "decoder": ("tsr.models.network_utils.NeRFMLP", ("in_channels", "n_neurons", "n_hidden_layers", "activation")),
    "renderer": (
        "tsr.models.nerf_renderer.TriplaneNeRFRenderer",
        ("radius", "feature_reduction", "density_activation", "density_bias", "num_samples_per_ray"),
    ),
}
REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def triposr_config(original_config: Mapping[str, Any], encoder_config: PreTrainedConfig | None = None) -> TripoSRConfig:
    """The content of TripoSR's `config.yaml` as our config.

    Args:
        original_config: the mapping in the file; values such as `${tokenizer.num_channels}` stand for others in it.
        encoder_config: of the encoder in the checkpoint, where it is not of the published size.

    Raises:
        ValueError: if arguments are missing, unknown, of parts that we do not know, or contradict each other.
    """
    values = _arguments(original_config)
    tokenizer, backbone, renderer = values["tokenizer"], values["backbone"], values["renderer"]
    post_processor, decoder = values["post_processor"], values["decoder"]
    name = values["image_tokenizer"]["pretrained_model_name_or_path"]
    if encoder_config is None and name not in ENCODERS:
        raise ValueError(
            f"`pretrained_model_name_or_path` {name!r} is not supported, only {', '.join(ENCODERS)}; for another size "
            "of these, pass `encoder_config`."
        )
    encoder: Any = dict(ENCODERS[name]) if encoder_config is None else encoder_config
    known = encoder if isinstance(encoder, dict) else encoder.to_dict()
    if known["model_type"] != "vit":
        raise ValueError(f"`encoder_config` must be of type 'vit', got {known['model_type']!r}.")
    for what, value, wanted in (
        ("backbone.in_channels", backbone["in_channels"], tokenizer["num_channels"]),
        ("backbone.cross_attention_dim", backbone["cross_attention_dim"], known["hidden_size"]),
        ("post_processor.in_channels", post_processor["in_channels"], tokenizer["num_channels"]),
        ("decoder.in_channels", decoder["in_channels"], 3 * post_processor["out_channels"]),
        ("renderer.feature_reduction", renderer["feature_reduction"], "concat"),
    ):
        if value != wanted:
            hint = ""
            if what == "backbone.cross_attention_dim":
                hint = ", the encoder's width: pass the `encoder_config` of the encoder that is in the checkpoint"
            raise ValueError(f"`{what}` must be {wanted!r}{hint}, got {value!r}.")
    try:
        return TripoSRConfig(
            encoder_config=encoder,
            field_config={
                "radius": renderer["radius"],
                "channels": post_processor["out_channels"],
                "hidden_size": decoder["n_neurons"],
                "num_hidden_layers": decoder["n_hidden_layers"],
                "hidden_act": decoder["activation"],
                "density_activation": renderer["density_activation"],
                "density_bias": renderer["density_bias"],
                "num_samples": renderer["num_samples_per_ray"],
            },
            image_size=values["cond_image_size"],
            hidden_size=backbone["num_attention_heads"] * backbone["attention_head_dim"],
            num_hidden_layers=backbone["num_layers"],
            num_attention_heads=backbone["num_attention_heads"],
            embedding_channels=tokenizer["num_channels"],
            triplane_low_res=tokenizer["plane_size"],
        )
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise ValueError(f"config.yaml holds values that make no model: {error}") from error


def _arguments(original_config: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with references resolved. Raises ValueError unless it has all that we know and nothing else."""
    expected = {"cond_image_size"} | {part + end for part in PARTS for end in ("", "_cls")}
    found = set(original_config)
    for part, (_, names) in PARTS.items():
        section = original_config.get(part)
        if isinstance(section, Mapping):
            expected |= {f"{part}.{name}" for name in names}
            found |= {f"{part}.{name}" for name in section}
    problems = differences("argument", expected - found, found - expected)
    wrong = [part for part in PARTS if part in original_config and not isinstance(original_config[part], Mapping)]
    if wrong:
        problems += ("; " if problems else "") + f"no mapping: {', '.join(wrong)}"
    if problems:
        raise ValueError(f"config.yaml is not that of a TripoSR model: {problems}.")
    for part, (class_name, _) in PARTS.items():
        if original_config[f"{part}_cls"] != class_name:
            raise ValueError(
                f"`{part}_cls` must be {class_name!r}, which is all that is known of TripoSR, got "
                f"{original_config[f'{part}_cls']!r}."
            )
    return {
        "cond_image_size": _resolved(original_config["cond_image_size"], original_config),
        **{
            part: {name: _resolved(value, original_config) for name, value in original_config[part].items()}
            for part in PARTS
        },
    }


def _resolved(value: Any, original_config: Mapping[str, Any]) -> Any:
    """A value, or what it refers to."""
    seen: list[Any] = []
    while isinstance(value, str) and (reference := REFERENCE.fullmatch(value)):
        if value in seen:
            raise ValueError(f"config.yaml has values that refer to each other in a circle: {' -> '.join(seen)}.")
        seen.append(value)
        target: Any = original_config
        for name in reference[1].split("."):
            if not isinstance(target, Mapping) or name not in target:
                raise ValueError(f"config.yaml refers to {reference[1]!r}, which it does not have.")
            target = target[name]
        value = target
    return value


__all__ = ["triposr_config"]
