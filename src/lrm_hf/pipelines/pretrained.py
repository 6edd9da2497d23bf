# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What a pipeline is loaded from and saved to: recognising layouts, and the files of a Hub repository."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import create_repo, file_exists, hf_hub_download, upload_folder
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers.utils import logging

from ..files import replacing
from ..image_processing import LRMImageProcessor
from ..modeling.modeling_base import LRMPreTrainedModel
from ..modeling.modeling_lrm import LRMModel
from ..modeling.modeling_triposr import TripoSRModel


logger = logging.get_logger(__name__)

Layout = Literal["pipeline", "model", "original"]
COMPONENTS = ("model", "image_processor")
MODELS: dict[str | None, type[LRMPreTrainedModel]] = {
    model.config_class.model_type: model for model in (LRMModel, TripoSRModel)
}
HUB_ARGUMENTS = ("revision", "token", "cache_dir", "force_download", "local_files_only")

# By this file diffusers' own `DiffusionPipeline.from_pretrained(repo, custom_pipeline=repo)` finds the class.
PIPELINE_FILE = "from lrm_hf import LRMPipeline  # noqa: F401\n"
MODEL_CARD = """---
library_name: lrm_hf
pipeline_tag: image-to-3d
tags:
- image-to-3d
- lrm
---

A large reconstruction model: one picture in, a coloured mesh and views from all around out.

```python
from lrm_hf import LRMPipeline

pipe = LRMPipeline.from_pretrained("{name}")
out = pipe("picture.png")
out.meshes[0].export("object.glb")
```
"""


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
    if not os.path.isdir(source) and (os.path.isabs(source) or source.startswith(".") or source.count("/") > 1):
        raise FileNotFoundError(f"There is no directory {source!r} to load a pipeline from.")
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
        if _find_file(source, "preprocessor_config.json", hub) is not None:
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


def write_repository_files(directory: str, name: str) -> bool:
    """Writes pipeline.py, and where there is no model card a plain one, which tells how to load `name`.

    Returns:
        Whether the card is that plain one.
    """
    with replacing(Path(directory, "pipeline.py")) as path:
        path.write_text(PIPELINE_FILE, encoding="utf-8")
    card, text = Path(directory, "README.md"), MODEL_CARD.format(name=name)
    if card.exists():
        return card.read_text(encoding="utf-8") == text
    with replacing(card) as path:
        path.write_text(text, encoding="utf-8")
    return True


def upload(
    directory: str,
    repo_id: str,
    *,
    commit_message: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    create_pr: bool = False,
    subfolder: str | None = None,
    keep_card: bool = True,
) -> str:
    """Uploads a directory in one commit.

    Args:
        keep_card: do not replace the repository's model card, where it has one.

    Returns:
        The commit's URL.
    """
    repo_id = create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
    keep_card = keep_card and (subfolder is not None or file_exists(repo_id, "README.md", token=token))
    return upload_folder(
        repo_id=repo_id,
        folder_path=directory,
        path_in_repo=subfolder,
        commit_message=commit_message or "Upload LRMPipeline",
        token=token,
        create_pr=create_pr,
        ignore_patterns=["README.md"] if keep_card else None,
    )


def _read_json(source: str, filename: str, hub: dict[str, Any]) -> dict[str, Any] | None:
    path = _find_file(source, filename, hub)
    if path is None:
        return None
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise OSError(f"{filename} of {source!r} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise OSError(f"{filename} of {source!r} holds a {type(content).__name__}, expected a JSON object.")
    return content


def _find_file(source: str, filename: str, hub: dict[str, Any]) -> str | None:
    """Path of a file, downloaded if need be; None where the directory or repository has no such file."""
    if os.path.isdir(source):
        path = os.path.join(source, filename)
        return path if os.path.isfile(path) else None
    where = f"{source!r} is not a directory, and"
    try:
        return hf_hub_download(source, filename, **hub)
    except LocalEntryNotFoundError as error:
        if _is_cached(source, hub):
            return None
        raise OSError(f"{where} the Hub can't be reached and has not been downloaded from: {_line(error)}") from error
    except EntryNotFoundError:
        return None
    except GatedRepoError as error:
        raise OSError(f"{where} on the Hub it is gated: ask for access there, and log in or pass `token`.") from error
    except RevisionNotFoundError as error:
        raise OSError(f"{where} on the Hub it has no revision {hub.get('revision')!r}.") from error
    except RepositoryNotFoundError as error:
        raise OSError(f"{where} there is no such repository on the Hub, or it is private: pass `token`.") from error
    except HFValidationError as error:
        raise OSError(f"{where} not the name of a Hub repository either: {_line(error)}") from error


def _is_cached(source: str, hub: dict[str, Any]) -> bool:
    """Whether some files of a repository have been downloaded before."""
    from huggingface_hub import constants

    cache = Path(hub.get("cache_dir") or constants.HF_HUB_CACHE)
    return (cache / f"models--{source.replace('/', '--')}").is_dir()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
