# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`lrm-hf info`: what a model is, and what it will take."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from .common import DONE, choose_device, quiet


if TYPE_CHECKING:
    from ..model_info import ModelInfo


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "info",
        help="architecture, size, licence and memory of a model",
        description="Looks at a model without loading it: architecture, parameters by part, files, licence, and what "
        "memory it will take on this machine. Of a Hub repository only small files are downloaded.",
    )
    command.set_defaults(run=info)
    add = command.add_argument
    add("model", nargs="?", metavar="DIR_OR_REPO", help="directory or Hub repository; default: the bundled model")
    add("--revision", help="branch, tag or commit of a Hub repository")
    add("--device", default="auto", help="whose memory to look at (default: a CUDA device if there is one)")
    add("--json", action="store_true", help="print JSON")
    add("--debug", action="store_true", help="show tracebacks")


def info(arguments: argparse.Namespace) -> int:
    """Prints what is known of a model."""
    from .. import bundled_model
    from ..model_info import model_info

    quiet(arguments.debug)
    found = model_info(
        arguments.model or bundled_model(), device=choose_device(arguments.device), revision=arguments.revision
    )
    print(json.dumps(found.to_dict(), indent=2) if arguments.json else _table(found))
    return DONE


def _table(found: ModelInfo) -> str:
    from ..memory import in_words
    from ..model_info import MESH_RESOLUTION

    _, channels, height, width = found.planes
    memory = found.memory
    sizes = [f"{name} ({in_words(size)})" for name, size in found.files.items()]
    rows = [
        ("model", found.source),
        ("layout", found.layout),
        ("architecture", f"{found.architecture}, encoder {found.encoder}"),
        ("pictures", f"{found.image_size} x {found.image_size} pixels"),
        ("planes", f"3 x {channels} x {height} x {width}, {in_words(memory['planes'])} an object"),
        ("parameters", f"{sum(found.parameters.values()):,}"),
        *((f"  {part}", f"{count:,}") for part, count in found.parameters.items()),
        ("files", ", ".join(sizes) or "not known: the Hub could not be asked"),
        *([("types", ", ".join(found.dtypes))] if found.dtypes else []),
        ("licence", found.licence or "not stated"),
        (f"memory, {found.device}", f"{in_words(memory['free'])} free of {in_words(memory['total'])}"),
        ("  weights", f"{in_words(memory['weights'])} in float32"),
        ("  reconstruct", f"about {in_words(memory['reconstruct'])} more"),
        ("  render", f"up to {in_words(memory['render'])} more"),
        ("  mesh", f"about {in_words(memory['mesh'])} more at a resolution of {MESH_RESOLUTION}"),
    ]
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:<{width}}{text}" for name, text in rows)
