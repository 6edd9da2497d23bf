# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Files of original checkpoints: found in a directory or on the Hub, told apart, and read without running code.

OpenLRM 1.1 publishes `config.json` (constructor arguments) and `model.safetensors`; OpenLRM 1.0 `model.pth`, a pickle
of weights and arguments; TripoSR `config.yaml` and `model.ckpt`, a pickle of weights.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor


HUB_ARGUMENTS = ("revision", "cache_dir", "token", "local_files_only", "force_download", "subfolder")
NAMES_SHOWN = 8


class Location:
    """A directory or Hub repository, and how to reach it.

    Args:
        source: directory or repository.
        hub: some of `HUB_ARGUMENTS`, for `huggingface_hub.hf_hub_download`.

    Attributes:
        unreachable: why the Hub could not be asked, empty if it could or need not be.
    """

    def __init__(self, source: str | os.PathLike, hub: Mapping[str, Any]):
        unknown = sorted(set(hub) - set(HUB_ARGUMENTS))
        if unknown:
            raise TypeError(f"unknown argument {', '.join(unknown)}; there are {', '.join(HUB_ARGUMENTS)}.")
        self.source = os.fspath(source)
        self.hub = {name: value for name, value in hub.items() if value is not None}
        self.unreachable = ""

    def find(self, name: str) -> Path | None:
        """The local path of a file, downloaded where needed; None where there is none of that name, as far as known.

        Raises:
            OSError: if there is no such directory or repository, or access is refused.
        """
        if Path(self.source).is_dir():
            path = Path(self.source) / self.hub.get("subfolder", "") / name
            return path if path.is_file() else None
        if Path(self.source).is_file():
            raise OSError(f"{self.source!r} is a file; expected the directory that holds it.")
        try:
            return Path(hf_hub_download(self.source, name, **self.hub))
        except LocalEntryNotFoundError as error:
            # not in the cache, and the Hub out of reach: what else is asked for is in the cache or nowhere
            self.unreachable = str(error)
            self.hub["local_files_only"] = True
            return None
        except EntryNotFoundError:
            return None
        except HFValidationError as error:
            raise OSError(f"{self.source!r} is neither a directory nor the name of a Hub repository.") from error


def recognise(location: Location) -> tuple[str | None, Path | None, Mapping[str, Any] | None]:
    """The origin, its file of weights, and its constructor arguments where they are in a file of their own.

    Raises:
        OSError: as `Location.find`, or if a file that tells can't be read.
    """
    config_path = location.find("config.json")
    config = {} if config_path is None else read_json(config_path)
    if "model_type" in config:
        return None, None, None
    is_openlrm = "transformer_dim" in config
    if is_openlrm and (weights := location.find("model.safetensors")) is not None:
        return "openlrm_v11", weights, config
    if location.find("model_index.json") is not None:
        return None, None, None
    if (weights := location.find("model.pth")) is not None:
        return "openlrm_v10", weights, None
    if is_openlrm:
        return "openlrm_v11", None, config
    config_path = location.find("config.yaml")
    if config_path is not None and "tsr.models" in config_path.read_text(encoding="utf-8", errors="replace"):
        return "triposr", location.find("model.ckpt"), read_yaml(config_path)
    return None, None, None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty if the file holds another kind of value. Raises OSError if it is no JSON."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # what is no UTF-8 included
        raise OSError(f"{os.fspath(path)!r} is not a JSON file: {error}") from error
    return content if isinstance(content, dict) else {}


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping of plain values. Raises OSError if it is none."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OSError(f"{os.fspath(path)!r} is not a YAML file of plain values: {error}") from error
    if not isinstance(content, dict):
        raise OSError(f"{os.fspath(path)!r} holds a {type(content).__name__}, expected a mapping.")
    return content


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file. Raises OSError if it is damaged."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise OSError(f"{os.fspath(path)!r} can't be read as safetensors, it may be truncated: {error}") from error


def read_pickle(path: Path) -> Any:
    """What `torch.save` wrote, as long as it is tensors and plain values.

    Raises:
        OSError: if the file is damaged, or holds objects that unpickling would have to run code for.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise OSError(
            f"{os.fspath(path)!r} is damaged, or holds more than tensors and plain values; it was not read, since such "
            f"a pickle can run code. {error}"
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError) as error:
        raise OSError(f"{os.fspath(path)!r} can't be read as a torch file, it may be truncated: {error}") from error


def read_pth(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], int | None]:
    """Weights, constructor arguments and side of the source pictures of an OpenLRM 1.0 file.

    Raises:
        OSError: as `read_pickle`.
        ValueError: if it holds something else.
    """
    content = read_pickle(path)
    weights = content.get("weights") if isinstance(content, dict) else None
    arguments = content.get("kwargs") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not isinstance(arguments, dict) or not isinstance(arguments.get("model"), dict):
        raise ValueError(
            f"{os.fspath(path)!r} is not a checkpoint of OpenLRM 1.0: expected a dict of `weights` and `kwargs` with "
            f"`model` in it, got {_kind(content)}."
        )
    return _only_tensors(path, weights), arguments["model"], (arguments.get("infer") or {}).get("source_size")


def read_ckpt(path: Path) -> dict[str, Tensor]:
    """Weights of a TripoSR file.

    Raises:
        OSError: as `read_pickle`.
        ValueError: if it holds something else.
    """
    content = read_pickle(path)
    if not isinstance(content, dict) or not any(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(
            f"{os.fspath(path)!r} is not a checkpoint of TripoSR: expected a dict of tensors, got {_kind(content)}."
        )
    return _only_tensors(path, content)


def _only_tensors(path: Path, weights: dict[str, Any]) -> dict[str, Tensor]:
    wrong = [f"{name} ({type(value).__name__})" for name, value in weights.items() if not isinstance(value, Tensor)]
    if wrong:
        raise ValueError(f"{os.fspath(path)!r} has {len(wrong)} weights that are no tensors: {listed(wrong)}.")
    return weights


def _kind(content: Any) -> str:
    return f"a dict with {listed(map(str, content))}" if isinstance(content, dict) else type(content).__name__


def differences(kind: str, missing: Iterable[str], unexpected: Iterable[str]) -> str:
    """What is missing and what is too much, counted and listed; empty if nothing is."""
    parts = []
    for names, verdict in ((list(missing), "missing"), (list(unexpected), "unexpected")):
        if names:
            parts.append(f"{len(names)} {kind}{'s' * (len(names) > 1)} {verdict}: {listed(names)}")
    return "; ".join(parts)


def listed(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
