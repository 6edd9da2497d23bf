# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Files of original checkpoints: found in a directory or on the Hub, told apart, and read without running code.

OpenLRM 1.1 publishes `config.json` (constructor arguments) and `model.safetensors`; OpenLRM 1.0 `model.pth`, a pickle
of weights and arguments.
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
        ValueError: for TripoSR's layout.
        OSError: as `Location.find`.
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
    yaml = location.find("config.yaml")
    if yaml is not None and "tsr.models" in yaml.read_text(encoding="utf-8", errors="replace"):
        raise ValueError(
            f"{location.source!r} is a TripoSR checkpoint (config.yaml, model.ckpt), which this version of lrm_hf does "
            "not load; it loads OpenLRM 1.0 and 1.1, and its own."
        )
    return None, None, None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty if the file holds another kind of value. Raises OSError if it is no JSON."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # what is no UTF-8 included
        raise OSError(f"{os.fspath(path)!r} is not a JSON file: {error}") from error
    return content if isinstance(content, dict) else {}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file. Raises OSError if it is damaged."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise OSError(f"{os.fspath(path)!r} can't be read as safetensors, it may be truncated: {error}") from error


def read_pth(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], int | None]:
    """Weights, constructor arguments and side of the source pictures of an OpenLRM 1.0 file.

    Raises:
        OSError: if the file is damaged, or holds objects that unpickling would have to run code for.
        ValueError: if it holds something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise OSError(
            f"{os.fspath(path)!r} is damaged, or holds more than tensors and plain values; it was not read, since such "
            f"a pickle can run code. {error}"
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError) as error:
        raise OSError(f"{os.fspath(path)!r} can't be read as a torch file, it may be truncated: {error}") from error
    weights = content.get("weights") if isinstance(content, dict) else None
    arguments = content.get("kwargs") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not isinstance(arguments, dict) or not isinstance(arguments.get("model"), dict):
        found = f"a dict with {listed(map(str, content))}" if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{os.fspath(path)!r} is not a checkpoint of OpenLRM 1.0: expected a dict of `weights` and `kwargs` with "
            f"`model` in it, got {found}."
        )
    wrong = [f"{name} ({type(value).__name__})" for name, value in weights.items() if not isinstance(value, Tensor)]
    if wrong:
        raise ValueError(f"{os.fspath(path)!r} has {len(wrong)} weights that are no tensors: {listed(wrong)}.")
    return weights, arguments["model"], (arguments.get("infer") or {}).get("source_size")


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
