# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`lrm-hf mesh`: pictures to mesh files, with all that can be done to them."""

from __future__ import annotations

import argparse
from pathlib import Path

from .inputs import Source, Written, add_input_options, for_each_picture
from .mesh_options import MESH_FORMATS, add_mesh_options, check_mesh_options, describe, make_mesh


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "mesh",
        help="pictures to meshes: simplified, closed, textured, in any format",
        description="For each picture NAME.png (or saved field NAME.safetensors), writes NAME.glb, or what --format "
        "says, and prints the paths. Steps are done in the order of their options below.",
    )
    command.set_defaults(run=mesh)
    add_input_options(command)
    text = "one or more of %(choices)s (default: glb)"
    command.add_argument("--format", choices=MESH_FORMATS, nargs="+", default=["glb"], metavar="FORMAT", help=text)
    add_mesh_options(command)


def mesh(arguments: argparse.Namespace) -> int:
    """Turns each picture into a mesh, and writes it in each of the formats."""
    check_mesh_options(arguments)
    formats = list(dict.fromkeys(arguments.format))

    def work(source: Source, stem: Path, written: Written) -> None:
        made = make_mesh(source, arguments)
        for name in formats:
            path = stem.with_name(f"{stem.name}.{name}")
            made.export(path)
            written.add(path)
        written.details["mesh"] = describe(made)

    # beside an obj with a texture lie files that it names
    beside = ["_color.png", "_normal.png", ".mtl"] if "obj" in formats and arguments.texture is not None else []
    return for_each_picture(arguments, [*(f".{name}" for name in formats), *beside], work)
