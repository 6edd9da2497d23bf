# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What a pipeline is loaded from and saved to: recognising layouts, and the files of a Hub repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from transformers.utils import logging

from ..files import replacing
from ..hub import ADAPTER_CONFIG_FILE, HUB_ARGUMENTS, check_source, find_file
from ..image_processing import LRMImageProcessor
from ..model_card import write_card
from ..modeling.modeling_base import LRMPreTrainedModel
from ..modeling.modeling_lrm import LRMModel
from ..modeling.modeling_triposr import TripoSRModel


logger = logging.get_logger(__name__)

Layout = Literal["pipeline", "model", "original"]
COMPONENTS = ("model", "image_processor")
MODELS: dict[str | None, type[LRMPreTrainedModel]] = {
    model.config_class.model_type: model for model in (LRMModel, TripoSRModel)
}

# By this file diffusers' own `DiffusionPipeline.from_pretrained(repo, custom_pipeline=repo)` finds the class.
PIPELINE_FILE = "from lrm_hf import LRMPipeline  # noqa: F401\n"


def checked_dtype(arguments: dict[str, Any]) -> torch.dtype | dict[str, torch.dtype] | None:
    """The type that `dtype` (or diffusers' older name, `torch_dtype`) names: float32 where neither is given, None for
    "auto", which is the type in the file."""
    dtype = arguments.get("dtype", arguments.get("torch_dtype"))
    if isinstance(dtype, dict):
        return {name: _checked_dtype(value) or torch.float32 for name, value in dtype.items()}
    return torch.float32 if dtype is None else _checked_dtype(dtype)


def _checked_dtype(dtype: Any) -> torch.dtype | None:
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if isinstance(dtype, str) and dtype == "auto":
        return None
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"`dtype` must be a floating point type such as torch.float16 or 'auto', got {dtype!r}.")
    return found


def find_layout(source: str, arguments: dict[str, Any]) -> Layout:
    """What lies in a directory or Hub repository.

    Args:
        source: directory or repository.
        arguments: of `from_pretrained`; those for the Hub are used.

    Raises:
        OSError: if there is nothing, or nothing that is known.
        ValueError: if it is another pipeline.
    """
    from ..modeling.original_checkpoints import is_original

    hub = {name: arguments[name] for name in HUB_ARGUMENTS if arguments.get(name) is not None}
    check_source(source, "a pipeline")
    index = _read_json(source, "model_index.json", hub)
    if index is not None:
        missing = [name for name in COMPONENTS if name not in index and name not in arguments]
        if missing:
            raise ValueError(
                f"{source!r} is a {index.get('_class_name')}, not an LRMPipeline: its model_index.json has no "
                f"{' and no '.join(missing)}."
            )
        return "pipeline"
    config = _read_json(source, "config.json", hub)
    if config is not None and config.get("model_type") in MODELS:
        return "model"
    if is_original(source, **hub):
        return "original"
    if find_file(source, ADAPTER_CONFIG_FILE, hub) is not None:
        raise OSError(
            f"{source!r} holds an adapter, no model: load the model that it was made for, then "
            "`pipe.load_lora_weights(...)`."
        )
    found = "no config.json" if config is None else f"a config.json of model type {config.get('model_type')!r}"
    raise OSError(
        f"{source!r} holds nothing that can be loaded: no model_index.json (a saved pipeline) and {found}. Expected "
        "what save_pretrained of a pipeline or model of lrm_hf writes, or an original checkpoint of OpenLRM or TripoSR."
    )


def load_components(source: str, layout: Layout, arguments: dict[str, Any]) -> dict[str, Any]:
    """Model and image processor from a layout that diffusers does not know; arguments as for `from_pretrained`."""
    known = {*COMPONENTS, *HUB_ARGUMENTS, "dtype", "device_map", "use_safetensors"}
    known.add("encoder_config" if layout == "original" else "variant")
    unknown = sorted(set(arguments) - known)
    if unknown:
        raise TypeError(
            f"`from_pretrained` got {', '.join(unknown)}, which does not apply to {source!r}: it holds no saved "
            f"pipeline. What does: {', '.join(sorted(known))}."
        )
    hub = {name: arguments[name] for name in HUB_ARGUMENTS if arguments.get(name) is not None}
    dtype = arguments["dtype"]
    if isinstance(dtype, dict):
        dtype = dtype.get("model", dtype.get("default", torch.float32))
    options = {"dtype": "auto" if dtype is None else dtype, "device_map": arguments.get("device_map"), **hub}
    given = {name: arguments[name] for name in COMPONENTS if arguments.get(name) is not None}
    if layout == "original":
        from ..modeling.original_checkpoints import load_original_components

        loaded = load_original_components(source, encoder_config=arguments.get("encoder_config"), **options)
        return {**dict(zip(COMPONENTS, loaded, strict=True)), **given}
    components = dict(given)
    if "model" not in components:
        config = _read_json(source, "config.json", hub) or {}
        components["model"] = MODELS[config.get("model_type")].from_pretrained(
            source, variant=arguments.get("variant"), use_safetensors=arguments.get("use_safetensors"), **options
        )
    if "image_processor" not in components:
        if find_file(source, "preprocessor_config.json", hub) is not None:
            components["image_processor"] = LRMImageProcessor.from_pretrained(source, **hub)
        else:
            size = components["model"].config.image_size
            logger.warning(
                "%r has no preprocessor_config.json: pictures are prepared with the default settings, at %s pixels.",
                source,
                size,
            )
            components["image_processor"] = LRMImageProcessor(size={"height": size, "width": size})
    return components


def write_repository_files(directory: str, name: str, base_model: str | None = None) -> None:
    """Writes pipeline.py, and where there is no model card one from what is known, which tells how to load `name`."""
    with replacing(Path(directory, "pipeline.py")) as path:
        path.write_text(PIPELINE_FILE, encoding="utf-8")
    write_card(directory, name, base_model=base_model)


def _read_json(source: str, filename: str, hub: dict[str, Any]) -> dict[str, Any] | None:
    path = find_file(source, filename, hub)
    if path is None:
        return None
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise OSError(f"{filename} of {source!r} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise OSError(f"{filename} of {source!r} holds a {type(content).__name__}, expected a JSON object.")
    return content
