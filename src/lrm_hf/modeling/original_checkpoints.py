# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints in the layout of the original authors: recognised, read, and turned into our models.

How files are found and read is in `original_files.py`, the names of their tensors in `original_tables.py`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.utils import logging

from .configuration_lrm import LRMConfig, ReconstructionConfig
from .configuration_triposr import TripoSRConfig
from .original_files import (
    HUB_ARGUMENTS,
    Location,
    differences,
    listed,
    read_ckpt,
    read_pth,
    read_safetensors,
    recognise,
)
from .original_tables import (
    DEFAULT_ARGUMENTS,
    DEFAULT_SOURCE_SIZE,
    ENCODER_PREFIXES,
    ENCODER_TABLES,
    ENCODERS,
    MODEL_TABLES,
    OPTIONAL,
    REQUIRED_ARGUMENTS,
    SOURCE_SIZES,
    UNUSED,
    full_table,
)
from .original_triposr import triposr_config


if TYPE_CHECKING:
    from ..image_processing import LRMImageProcessor
    from .modeling_base import LRMPreTrainedModel


logger = logging.get_logger(__name__)

CONFIGS: dict[str, type[ReconstructionConfig]] = {
    "openlrm_v11": LRMConfig,
    "openlrm_v10": LRMConfig,
    "triposr": TripoSRConfig,
}


def is_original(source: str | os.PathLike, **kwargs: Any) -> str | None:
    """Which original layout a directory or Hub repository has.

    Of a repository, the few files that tell are downloaded: where it is an original, these are the ones that loading
    needs.

    Args:
        source: directory or Hub repository.
        kwargs: `revision`, `cache_dir`, `token`, `local_files_only`, `force_download`, `subfolder`.

    Returns:
        `"openlrm_v11"`, `"openlrm_v10"`, `"triposr"`, or None: our own layout, something else, or out of reach.
    """
    try:
        return recognise(Location(source, kwargs))[0]
    except OSError:
        return None


def load_original(
    cls: type[LRMPreTrainedModel],
    source: str | os.PathLike,
    encoder_config: PreTrainedConfig | None = None,
    **kwargs: Any,
) -> LRMPreTrainedModel:
    """What `from_original` of a model does; see there for arguments and errors."""
    location = Location(source, {name: kwargs.pop(name) for name in HUB_ARGUMENTS if name in kwargs})
    return _load(cls, location, encoder_config, kwargs)[0]


def load_original_components(
    source: str | os.PathLike, encoder_config: PreTrainedConfig | None = None, **kwargs: Any
) -> tuple[LRMPreTrainedModel, LRMImageProcessor]:
    """The model of an original checkpoint, of the class that its origin asks for, and the image processor that does
    what its authors' preprocessing did.

    Arguments and errors as in `LRMModel.from_original`.
    """
    location = Location(source, {name: kwargs.pop(name) for name in HUB_ARGUMENTS if name in kwargs})
    model, origin = _load(None, location, encoder_config, kwargs)
    return model, original_image_processor(origin, model.config)


def convert_original(
    source: str | os.PathLike,
    destination: str | os.PathLike,
    encoder_config: PreTrainedConfig | None = None,
    **kwargs: Any,
) -> Path:
    """Writes an original checkpoint in our layout: `config.json`, `model.safetensors`, `preprocessor_config.json`.

    Args:
        source: directory or Hub repository.
        destination: directory; made where it does not exist. Files of the same names in it are replaced.
        encoder_config, kwargs: as in `LRMModel.from_original`.

    Returns:
        The destination.

    Raises:
        ValueError: if the destination is the source.
        OSError, ValueError: as in `LRMModel.from_original`; nothing is written then.
    """
    destination = Path(destination)
    if destination.resolve() == Path(source).resolve():
        raise ValueError(f"`destination` is the source, {os.fspath(source)!r}: give another directory.")
    if destination.exists() and not destination.is_dir():
        raise OSError(f"`destination` {os.fspath(destination)!r} exists and is not a directory.")
    model, processor = load_original_components(source, encoder_config, **kwargs)
    destination.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=destination, prefix=".converting_"))
    try:
        model.save_pretrained(temporary)
        processor.save_pretrained(temporary)
        for path in sorted(temporary.iterdir()):
            os.replace(path, destination / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return destination


def openlrm_config(
    original_config: Mapping[str, Any],
    encoder_config: PreTrainedConfig | None = None,
    image_size: int | None = None,
) -> LRMConfig:
    """OpenLRM's constructor arguments as our config.

    Args:
        original_config: `config.json` of 1.1, or `kwargs["model"]` in the file of 1.0.
        encoder_config: of the encoder in the checkpoint, where it is not of the published size.
        image_size: side of the source pictures; default that of the published 1.1 model with this decoder width (small
            224, base 336, large 448), and 224 where there is none.

    Raises:
        ValueError: if arguments are missing, unknown or contradict each other.
    """
    known = {*REQUIRED_ARGUMENTS, *DEFAULT_ARGUMENTS}
    problems = differences(
        "argument", [name for name in REQUIRED_ARGUMENTS if name not in original_config], set(original_config) - known
    )
    if problems:
        raise ValueError(f"`original_config` is not that of an OpenLRM model: {problems}.")
    values = DEFAULT_ARGUMENTS | dict(original_config)
    if values["triplane_high_res"] != 2 * values["triplane_low_res"]:
        raise ValueError(
            "`triplane_high_res` must be twice `triplane_low_res`, got "
            f"{values['triplane_high_res']} and {values['triplane_low_res']}."
        )
    if encoder_config is None:
        name = values["encoder_model_name"]
        if name not in ENCODERS:
            raise ValueError(
                f"`encoder_model_name` {name!r} is not supported, only {', '.join(ENCODERS)}; for another size of "
                "these, pass `encoder_config`."
            )
        sizes: Any = dict(ENCODERS[name])
        model_type, width = sizes["model_type"], sizes["hidden_size"]
    else:
        sizes, model_type, width = encoder_config, encoder_config.model_type, encoder_config.hidden_size
    if model_type not in ENCODER_TABLES:
        raise ValueError(
            f"`encoder_config` must be of type {' or '.join(map(repr, ENCODER_TABLES))}, got {model_type!r}."
        )
    if width != values["encoder_feat_dim"]:
        origin = "`encoder_config`" if encoder_config is not None else f"{values['encoder_model_name']!r}"
        raise ValueError(
            f"the checkpoint's `encoder_feat_dim` is {values['encoder_feat_dim']}, but {origin} is {width} wide: pass "
            "the `encoder_config` of the encoder that is in the checkpoint."
        )
    try:
        return LRMConfig(
            encoder_config=sizes,
            field_config={"channels": values["triplane_dim"], "num_samples": values["rendering_samples_per_ray"]},
            image_size=image_size or SOURCE_SIZES.get(values["transformer_dim"], DEFAULT_SOURCE_SIZE),
            hidden_size=values["transformer_dim"],
            num_hidden_layers=values["transformer_layers"],
            num_attention_heads=values["transformer_heads"],
            camera_embed_dim=values["camera_embed_dim"],
            triplane_low_res=values["triplane_low_res"],
            position_interpolation="legacy" if model_type == "vit" else "native",
        )
    except (StrictDataclassError, ValueError) as error:
        raise ValueError(f"`original_config` holds values that make no model: {error}") from error


def convert_state_dict(
    origin: str, state_dict: Mapping[str, Tensor], config: ReconstructionConfig
) -> dict[str, Tensor]:
    """An original's tensors under our names, as `save_pretrained` of our model writes them.

    Every name must be in the table of its origin, and every name of the table in the file. What has no effect on any
    output is left out by name (the poolers of ViT encoders); a `mask_token` may be absent and is zero then.

    Args:
        origin: `"openlrm_v11"`, `"openlrm_v10"` or `"triposr"`.
        state_dict: the file's tensors; meta tensors do.
        config: from `openlrm_config` or `triposr_config`.

    Raises:
        ValueError: listing missing and unexpected names, or naming what can't be split.
    """
    _check_origin(origin)
    packed = any(name.endswith("cross_attn.in_proj_weight") for name in state_dict)
    table = full_table(origin, config, packed)
    prefix = ENCODER_PREFIXES[origin]
    optional = {name.format(e=prefix): like.format(e=prefix) for name, like in OPTIONAL.items()}
    unused = {name.format(e=prefix) for name in UNUSED}
    missing = [name for name in table if name not in state_dict and name not in optional]
    unexpected = [name for name in state_dict if name not in table and name not in unused]
    problems = differences("tensor", missing, unexpected)
    if problems:
        raise ValueError(f"the checkpoint does not fit its config: {problems}.")
    converted: dict[str, Tensor] = {}
    for name, targets in table.items():
        tensor = state_dict[name] if name in state_dict else torch.zeros_like(state_dict[optional[name]][0])
        if tensor.ndim == 0 or tensor.shape[0] % len(targets):
            raise ValueError(f"{name!r} of shape {tuple(tensor.shape)} can't be split into {len(targets)} equal parts.")
        # a share gets memory of its own, or each would keep the whole alive and be saved as one of several
        shares = tensor.chunk(len(targets)) if len(targets) > 1 else (tensor,)
        converted.update(
            (target, share.clone() if len(targets) > 1 else share)
            for target, share in zip(targets, shares, strict=True)
        )
    return converted


def original_image_processor(origin: str, config: ReconstructionConfig) -> LRMImageProcessor:
    """The image processor whose numbers are those of the origin's preprocessing.

    OpenLRM: the picture is taken as it is framed, composited on white if it has an alpha channel, and stretched to a
    square of `config.image_size` by bicubic interpolation. To frame and cut out pictures first, override `do_recenter`,
    `do_pad` and `background_removal` in the call.

    TripoSR: the object is cut out where the picture has no alpha channel, fills 85 % of a square, stands on grey, and
    is resized with an antialiased bilinear filter. With `background_removal="none"` a picture without alpha is taken
    whole and stretched to the square.

    DINO encoders get pictures normalised with ImageNet's mean and deviation, DINOv2 encoders in [0, 1].

    Raises:
        ValueError: if `origin` is unknown.
    """
    from ..image_processing import LRMImageProcessor

    _check_origin(origin)
    settings: dict[str, Any] = {
        "size": config.image_size,
        "do_pad": False,
        "do_normalize": config.encoder_config.model_type == "vit",
    }
    if origin == "triposr":
        return LRMImageProcessor(
            **settings,
            recenter_mode="triposr",
            foreground_ratio=0.85,
            background=0.5,
            resize_mode="bilinear_antialias",
        )
    return LRMImageProcessor(
        **settings,
        do_recenter=False,
        background=1.0,
        background_removal="none",
        resize_mode="bicubic_align_corners",
    )


def _check_origin(origin: str) -> None:
    if origin not in MODEL_TABLES:
        raise ValueError(f"`origin` must be one of {', '.join(map(repr, MODEL_TABLES))}, got {origin!r}.")


def _model_class(origin: str, asked_for: type[LRMPreTrainedModel] | None) -> type[LRMPreTrainedModel]:
    """The class that an origin's checkpoints are of. Raises ValueError if another one was asked for."""
    from .modeling_lrm import LRMModel
    from .modeling_triposr import TripoSRModel

    models: list[type[LRMPreTrainedModel]] = [LRMModel, TripoSRModel]
    right = next(model for model in models if model.config_class is CONFIGS[origin])
    if asked_for is None:
        return right
    if not issubclass(asked_for, right):
        raise ValueError(
            f"this is a checkpoint of the layout {origin!r}, which {right.__name__} loads, not {asked_for.__name__}."
        )
    return asked_for


def _load(
    cls: type[LRMPreTrainedModel] | None,
    location: Location,
    encoder_config: PreTrainedConfig | None,
    kwargs: dict[str, Any],
) -> tuple[Any, str]:
    if encoder_config is not None and not isinstance(encoder_config, PreTrainedConfig):
        raise TypeError(f"`encoder_config` must be a config of transformers, got {type(encoder_config).__name__}.")
    if kwargs.get("config") is not None:
        raise ValueError(
            "`config` can't be given for an original checkpoint, which carries its own; see `encoder_config`."
        )
    kwargs = {name: value for name, value in kwargs.items() if name != "config"}
    source = location.source
    origin, path, original_config = recognise(location)
    if origin is None:
        raise OSError(
            f"{source!r} holds no original checkpoint: expected config.json with `transformer_dim` and "
            "model.safetensors (OpenLRM 1.1), model.pth (OpenLRM 1.0), or config.yaml and model.ckpt (TripoSR)."
            + (f" The Hub could not be asked: {location.unreachable}" if location.unreachable else "")
        )
    if path is None:
        expected = "model.ckpt" if origin == "triposr" else "neither model.safetensors nor model.pth"
        found = "config.yaml of TripoSR, but no " if origin == "triposr" else "config.json of OpenLRM, but "
        raise OSError(f"{source!r} has the {found}{expected}.")
    try:
        cls = _model_class(origin, cls)
        config, state_dict = _read(origin, path, original_config, encoder_config)
        logger.info("%s: %s with %d tensors", source, origin, len(state_dict))
        converted = convert_state_dict(origin, state_dict, config)
        wants_info = kwargs.pop("output_loading_info", False)
        model, info = cls.from_pretrained(
            None,
            config=config,
            state_dict=converted,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # collected, and raised below with all the others
            **kwargs,
        )
        problems = differences("tensor", info["missing_keys"], info["unexpected_keys"])
        shapes = [f"{name} {tuple(got)} instead of {tuple(wanted)}" for name, got, wanted in info["mismatched_keys"]]
        if shapes:
            problems += ("; " if problems else "") + f"{len(shapes)} of another shape: {listed(shapes)}"
        if problems:
            raise ValueError(f"the checkpoint does not fit its config: {problems}.")
    except ValueError as error:
        raise ValueError(f"{source!r}: {error}") from error
    model.config.name_or_path = source
    return ((model, info) if wants_info else model), origin


def _read(
    origin: str, path: Path, original_config: Mapping[str, Any] | None, encoder_config: PreTrainedConfig | None
) -> tuple[ReconstructionConfig, dict[str, Tensor]]:
    if original_config is None:
        state_dict, original_config, image_size = read_pth(path)
        return openlrm_config(original_config, encoder_config, image_size), state_dict
    if origin == "triposr":
        return triposr_config(original_config, encoder_config), read_ckpt(path)
    return openlrm_config(original_config, encoder_config), read_safetensors(path)


__all__ = [
    "convert_original",
    "convert_state_dict",
    "is_original",
    "load_original",
    "load_original_components",
    "openlrm_config",
    "original_image_processor",
    "triposr_config",
]
