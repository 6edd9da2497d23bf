# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`lrm-hf convert`: an original checkpoint to a pipeline of ours."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from .common import DONE, quiet


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "convert",
        help="an original OpenLRM or TripoSR checkpoint to a pipeline directory",
        description="Writes a checkpoint of OpenLRM 1.0, OpenLRM 1.1 or TripoSR as a directory that "
        "LRMPipeline.from_pretrained loads, with its weights as safetensors.",
    )
    command.set_defaults(run=convert)
    add = command.add_argument
    add("source", metavar="SRC", help="directory or Hub repository of the original")
    add("destination", metavar="DST", help="directory to write; must not exist, or be empty")
    add("--revision", help="branch, tag or commit of a Hub repository")
    add("--debug", action="store_true", help="show tracebacks")


def convert(arguments: argparse.Namespace) -> int:
    """Writes an original checkpoint as a pipeline of ours."""
    destination = Path(arguments.destination)
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ValueError(f"{str(destination)!r} exists and is not an empty directory.")
    from ..modeling.original_checkpoints import load_original_components

    quiet(arguments.debug)
    model, image_processor = load_original_components(arguments.source, revision=arguments.revision)
    from ..pipelines import LRMPipeline

    destination.parent.mkdir(parents=True, exist_ok=True)
    # written beside its place and moved: what is there under the final name is complete
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as temporary:
        written = Path(temporary, destination.name)
        LRMPipeline(model, image_processor).save_pretrained(written)
        if destination.exists():
            destination.rmdir()
        shutil.move(written, destination)
    print(destination)
    return DONE
