# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The model card of a directory, written from what is known: from its files, and from what it is told."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from safetensors import SafetensorError, safe_open

from .files import read_json, replacing


# with the digest of all other lines: whoever edits a card makes it his own, whether he leaves this line in or not
MARK = (
    "<!-- Written by lrm_hf from what it knows ({digest}). Edit it as you like. As long as you have not, it does not "
    "replace the one of a repository that has one. -->"
)
_MARK = re.compile(re.escape(MARK).replace(re.escape("{digest}"), "([0-9a-f]{16})"))
UNTOLD = "Not stated."
_USE_MODEL = """```python
from lrm_hf import LRMPipeline

pipe = LRMPipeline.from_pretrained("{name}")
out = pipe("picture.png")
out.meshes[0].export("object.glb")
```"""
_USE_ADAPTER = """```python
from lrm_hf import LRMPipeline

pipe = LRMPipeline.from_pretrained("{base}")
pipe.load_lora_weights("{name}")
out = pipe("picture.png")
out.meshes[0].export("object.glb")
```"""
_INSTALL = "It needs the package [lrm_hf](https://github.com/lrm-hf/lrm_hf), and nothing that has to be compiled."


def write_card(
    directory: str | os.PathLike[str],
    name: str,
    *,
    license: str | None = None,
    base_model: str | None = None,
    training_data: str | None = None,
    metrics: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    limits: str | None = None,
    anew: bool = False,
) -> Path:
    """Writes README.md of a saved pipeline, model or adapter. One that is there is kept; if it was written by itself
    and never edited, it is made to name `name`.

    Args:
        directory: what `save_pretrained` or `save_lora_weights` wrote.
        name: directory or repository that the card tells to load.
        license: identifier such as "apache-2.0", for the card's header.
        base_model: Hub repository that this was made from.
        training_data: what it was trained on, and under which licences. Markdown.
        metrics: `{"protocol": text, "metrics": {name: number}}`, or a JSON file that holds this.
        limits: what it can't do, beside what holds for every such model. Markdown.
        anew: write one that was written by itself and never edited once more, to hold what is told now.

    Raises:
        OSError: if `directory` holds nothing to describe, or the JSON file can't be read.
        ValueError: if `metrics` has no protocol, or no numbers: a number without its protocol says nothing.
    """
    path = Path(directory, "README.md")
    if path.exists() and not (anew and is_automatic(directory)):
        if is_automatic(directory):
            _write(path, _renamed(path.read_text(encoding="utf-8"), name))
        return path
    told = {"license": license, "training_data": training_data, "metrics": _metrics_table(metrics), "limits": limits}
    _write(path, _card(Path(directory), name, base_model, told))
    return path


def is_automatic(directory: str | os.PathLike[str]) -> bool:
    """Whether the directory's card, if it has one, was written by itself and never edited."""
    path = Path(directory, "README.md")
    if not path.exists():
        return False
    text = path.read_text(encoding="utf-8")
    mark = _MARK.search(text)
    return mark is not None and mark[1] == _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(_MARK.sub("", text).encode()).hexdigest()[:16]


def _write(path: Path, text: str) -> None:
    text = _MARK.sub(MARK.format(digest=_digest(text)), text)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _renamed(text: str, name: str) -> str:
    """The card of the same thing under another name: in the heading, and in the line that loads it."""
    call = "load_lora_weights" if "load_lora_weights(" in text else "from_pretrained"
    text = re.sub(rf'{call}\("[^"]*"\)', lambda _: f'{call}("{name}")', text, count=1)
    return re.sub(r"^# .*$", lambda _: f"# {_title(name)}", text, count=1, flags=re.MULTILINE)


def _title(name: str) -> str:
    return name.rpartition("/")[2]


def _card(directory: Path, name: str, base_model: str | None, told: dict[str, str | None]) -> str:
    adapter = read_json(directory / "adapter_config.json") if (directory / "adapter_config.json").exists() else None
    config_file = next(
        (path for path in (directory / "model/config.json", directory / "config.json") if path.exists()), None
    )
    config = read_json(config_file) if config_file else None
    tags = ["image-to-3d", "lrm"]
    relation: dict[str, Any] = {}
    if adapter is not None:
        base_model = base_model or adapter.get("base_model_name_or_path")
        tags.append("lora")
        relation = {"base_model_relation": "adapter"} if base_model else {}
        kind = "DoRA" if adapter.get("use_dora") else "rsLoRA" if adapter.get("use_rslora") else "LoRA"
        summary = f"A {kind} adapter for a large reconstruction model" + (f", {base_model}." if base_model else ".")
        facts = _adapter_facts(directory, adapter, kind)
        use = _USE_ADAPTER.format(name=name, base=base_model or "the model that it was made for")
    elif config is not None and config_file is not None:
        summary = "A large reconstruction model: one picture in, a coloured mesh and views from all around out."
        facts = _model_facts(config_file.parent, config)
        use = _USE_MODEL.format(name=name)
    else:
        raise OSError(f"{os.fspath(directory)!r} holds no saved pipeline, model or adapter to write a card for.")
    data = ModelCardData(
        library_name="lrm_hf",
        pipeline_tag="image-to-3d",
        license=told["license"],
        base_model=base_model,
        tags=tags,
        **relation,
    )
    limits = _limits(config) + ([told["limits"]] if told["limits"] else [])
    sections = [
        f"---\n{data.to_yaml()}\n---",
        MARK.format(digest="0" * 16),
        f"# {_title(name)}\n\n{summary}",
        f"## How to use\n\n{use}\n\n{_INSTALL}",
        "## What it is\n\n| | |\n|---|---|\n" + "\n".join(f"| {key} | {value} |" for key, value in facts.items()),
        f"## Training data\n\n{told['training_data'] or UNTOLD}",
        f"## Measurements\n\n{told['metrics'] or UNTOLD}",
        "## Limits\n\n" + "\n".join(limits),
    ]
    return "\n\n".join(sections) + "\n"


def _model_facts(directory: Path, config: dict[str, Any]) -> dict[str, str]:
    encoder, field = config.get("encoder_config") or {}, config.get("field_config") or {}
    side = 2 * config.get("triplane_low_res", 0) * (config.get("lift_upscale", 1) if config.get("lift_samples") else 1)
    layers, width = config.get("num_hidden_layers"), config.get("hidden_size")
    blocks = str(config.get("decoder_block", config.get("model_type"))).replace("_", " + ")
    facts = {
        "parameters": f"{_parameters(directory):,}",
        "picture": f"{config.get('image_size')} × {config.get('image_size')} pixels",
        "encoder": f"{encoder.get('model_type')}, {encoder.get('num_hidden_layers')} layers of width "
        f"{encoder.get('hidden_size')}",
        "decoder": f"{layers} {blocks} blocks of width {width}",
        "planes": f"3 × {side} × {side}, {field.get('channels')} channels",
    }
    return {key: value for key, value in facts.items() if "None" not in value}


def _adapter_facts(directory: Path, adapter: dict[str, Any], kind: str) -> dict[str, str]:
    return {
        "method": kind,
        "rank, alpha": f"{adapter.get('r')}, {adapter.get('lora_alpha')}",
        "parameters": f"{_parameters(directory):,}",
        "size": f"{sum(path.stat().st_size for path in directory.glob('*.safetensors')) / 1e6:.2f} MB",
    }


def _parameters(directory: Path) -> int:
    """Counted in the files' headers."""
    total = 0
    for path in sorted(directory.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                total += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
        except SafetensorError as error:
            raise OSError(f"{os.fspath(path)!r} can't be read: {error}") from error
    return total


def _limits(config: dict[str, Any] | None) -> list[str]:
    lines = [
        "- One object per picture, cut out or on a plain background.",
        "- The sides that the picture does not show are a guess, and softer than the side that it shows.",
    ]
    if config is not None and "source_camera_elevation" in config:
        lines.append(
            f"- Pictures are taken to be seen from {config['source_camera_elevation']:g} degrees above the horizon, "
            "unless their cameras are given."
        )
    return lines


def _metrics_table(metrics: str | os.PathLike[str] | Mapping[str, Any] | None) -> str | None:
    if metrics is None:
        return None
    if not isinstance(metrics, Mapping):
        metrics = read_json(metrics)
    protocol, numbers = metrics.get("protocol"), metrics.get("metrics")
    if not isinstance(protocol, str) or not protocol.strip():
        raise ValueError("`metrics` must say how they were measured: a text under 'protocol'.")
    if not isinstance(numbers, Mapping) or not numbers:
        raise ValueError("`metrics` must have numbers by name under 'metrics'.")
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"`metrics` must have numbers, got {value!r} for {key!r}.")
    rows = [f"| {key} | {value:.4g} |" for key, value in numbers.items()]
    return "\n".join([protocol.strip(), "", "| metric | value |", "|---|---|", *rows])
