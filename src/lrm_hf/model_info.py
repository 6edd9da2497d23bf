# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What a checkpoint is, how large it is and what memory it will take, from its configuration and its files' headers:
weights are not read, but for OpenLRM 1.0, whose configuration lies in one file with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, metadata_load
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled
from safetensors import SafetensorError, safe_open

from .files import read_json
from .hub import ADAPTER_CONFIG_FILE, check_source, find_file, readable_errors
from .memory import bytes_per_point, memory_of, points_at_a_time
from .modeling.configuration_lrm import ReconstructionConfig
from .modeling.modeling_base import LRMPreTrainedModel
from .modeling.modeling_lrm import LRMModel
from .modeling.modeling_triposr import TripoSRModel
from .modeling.original_checkpoints import openlrm_config
from .modeling.original_files import read_pth, read_yaml
from .modeling.original_triposr import triposr_config


MODELS: dict[Any, type[LRMPreTrainedModel]] = {
    model.config_class.model_type: model for model in (LRMModel, TripoSRModel)
}
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".ckpt")
MESH_RESOLUTION, POINTS_AT_A_TIME = 256, 2**17
# Measured on CPUs, rounded up: activations of a transformer block beside its MLP's, in units of its tokens, and what
# the search for a surface keeps for each cell of one face of its grid.
BLOCK_ACTIVATIONS, BYTES_PER_CELL = 10, 700


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a checkpoint without loading it.

    Attributes:
        source: directory or repository.
        layout: "pipeline", "model", "openlrm_v11", "openlrm_v10" or "triposr".
        architecture: name of the class that loads it.
        encoder: `model_type` of its image encoder.
        image_size: side in pixels of the pictures it was trained on.
        planes: shape of a field's planes, (3, channels, height, width).
        parameters: number of them, by part of the model.
        files: bytes of the files of weights, by name; empty where the Hub could not be asked.
        dtypes: of the weights in the files, as safetensors names them; empty where no header is at hand.
        licence: what the model card says, None if it says nothing.
        memory: bytes that each step is expected to take at most on the device, in float32: "weights", "reconstruct",
            "render" and "mesh" (at a resolution of 256), each beside the ones before; and "free" and "total" there.
        device: that the memory is of.
    """

    source: str
    layout: str
    architecture: str
    encoder: str
    image_size: int
    planes: tuple[int, int, int, int]
    parameters: dict[str, int]
    files: dict[str, int]
    dtypes: list[str]
    licence: str | None
    memory: dict[str, int]
    device: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON; with `total_parameters`."""
        return {**asdict(self), "planes": list(self.planes), "total_parameters": sum(self.parameters.values())}


def model_info(
    source: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    revision: str | None = None,
    token: str | None = None,
) -> ModelInfo:
    """Looks at a directory or Hub repository; of the latter small files are downloaded, never weights (but for OpenLRM
    1.0).

    Args:
        source: what `LRMPipeline.from_pretrained` takes.
        device: whose memory to look at.
        revision, token: of a Hub repository.

    Raises:
        OSError: if there is no such directory or repository, or it holds no model of a known kind.
        ValueError: if its configuration is not valid.
    """
    name = os.path.expanduser(os.fspath(source))
    check_source(name, "a model")
    hub = {key: value for key, value in (("revision", revision), ("token", token)) if value is not None}
    layout, config = _configuration(name, hub)
    model_class = MODELS[config.model_type]
    with torch.device("meta"):
        model = model_class(config)
    parameters = {part: sum(weight.numel() for weight in child.parameters()) for part, child in model.named_children()}
    parameters |= {part: weight.numel() for part, weight in model.named_parameters(recurse=False)}
    files = _weight_files(name, hub)
    return ModelInfo(
        source=name,
        layout=layout,
        architecture=model_class.__name__,
        encoder=config.encoder_config.model_type,
        image_size=config.image_size,
        planes=(3, config.field_config.channels, config.planes_resolution, config.planes_resolution),
        parameters={part: count for part, count in parameters.items() if count},
        files=files,
        dtypes=_dtypes(name, files),
        licence=_licence(name, hub),
        memory=_memory(config, sum(parameters.values()), torch.device(device)),
        device=str(device),
    )


def _configuration(source: str, hub: Mapping[str, Any]) -> tuple[str, ReconstructionConfig]:
    """The layout and the model's config."""
    arguments = dict(hub)
    for layout, folder in (("pipeline", "model/"), ("model", "")):
        path = find_file(source, f"{folder}config.json", arguments)
        if path is not None:
            content = read_json(path)
            if content.get("model_type") in MODELS:
                return layout, MODELS[content["model_type"]].config_class.from_dict(content)
            if "transformer_dim" in content:
                return "openlrm_v11", openlrm_config(content)
    path = find_file(source, "config.yaml", arguments)
    if path is not None and "tsr.models" in Path(path).read_text(encoding="utf-8", errors="replace"):
        return "triposr", triposr_config(read_yaml(Path(path)))
    path = find_file(source, "model.pth", arguments)
    if path is not None:
        _, content, image_size = read_pth(Path(path))
        return "openlrm_v10", openlrm_config(content, image_size=image_size)
    if find_file(source, ADAPTER_CONFIG_FILE, arguments) is not None:
        raise OSError(f"{source!r} holds an adapter, no model.")
    raise OSError(
        f"{source!r} holds no model: expected what save_pretrained of a pipeline or model of lrm_hf writes, or an "
        "original checkpoint of OpenLRM or TripoSR."
    )


def _weight_files(source: str, hub: Mapping[str, Any]) -> dict[str, int]:
    if os.path.isdir(source):
        directories = (Path(source), Path(source, "model"))
        paths = [path for directory in directories if directory.is_dir() for path in sorted(directory.iterdir())]
        return {
            path.relative_to(source).as_posix(): path.stat().st_size
            for path in paths
            if path.suffix in WEIGHT_SUFFIXES and path.is_file()
        }
    try:
        with readable_errors(source, dict(hub)):
            found = HfApi().model_info(source, files_metadata=True, **hub).siblings or []
    except (OSError, OfflineModeIsEnabled, HTTPError):  # the configuration is at hand all the same
        return {}
    return {file.rfilename: file.size for file in found if file.size and Path(file.rfilename).suffix in WEIGHT_SUFFIXES}


def _dtypes(source: str, files: Mapping[str, int]) -> list[str]:
    """From the headers of local safetensors files."""
    dtypes = set()
    for name in files:
        path = Path(source, name)
        if path.suffix == ".safetensors" and path.is_file():
            try:
                with safe_open(path, "pt") as file:
                    dtypes |= {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
            except SafetensorError as error:
                raise OSError(f"{os.fspath(path)!r} can't be read: {error}") from error
    return sorted(dtypes)


def _licence(source: str, hub: Mapping[str, Any]) -> str | None:
    path = find_file(source, "README.md", dict(hub))
    header = metadata_load(path) if path is not None else None
    licence = (header or {}).get("license")
    return str(licence) if licence else None


def _memory(config: ReconstructionConfig, parameters: int, device: torch.device) -> dict[str, int]:
    """In float32, whatever the file has: that is how models are loaded unless asked otherwise."""
    field, encoder = config.field_config, config.encoder_config
    planes = 3 * field.channels * config.planes_resolution**2
    tokens = 3 * config.triplane_low_res**2
    patches = (config.image_size // (getattr(encoder, "patch_size", None) or 16)) ** 2 + 1
    expansion = (getattr(encoder, "intermediate_size", None) or 4 * encoder.hidden_size) / encoder.hidden_size
    blocks = [
        tokens * config.hidden_size * (BLOCK_ACTIVATIONS + 2 * config.mlp_ratio),
        patches * encoder.hidden_size * (BLOCK_ACTIVATIONS + 2 * expansion),
    ]
    per_point = bytes_per_point(field.channels, field.hidden_size)
    there = memory_of(device)
    return {
        "weights": 4 * parameters,
        "reconstruct": int(4 * (max(blocks) + 3 * planes)),
        "planes": 4 * planes,
        "render": POINTS_AT_A_TIME * per_point,
        "mesh": points_at_a_time(device, POINTS_AT_A_TIME, per_point) * per_point + BYTES_PER_CELL * MESH_RESOLUTION**2,
        "free": there.free,
        "total": there.total,
    }
