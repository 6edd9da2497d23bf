# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`lrm-hf generate`: pictures to meshes, contact sheets and turntable videos."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import number, whole
from .inputs import Source, Written, add_input_options, for_each_picture
from .mesh_options import MESH_FORMATS, add_mesh_options, check_mesh_options, describe, make_mesh


if TYPE_CHECKING:
    from ..pipelines import LRMPipeline


TURN_SECONDS = 2.0


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "generate",
        help="pictures to meshes, contact sheets and turntable videos",
        description="For each picture NAME.png, writes NAME.glb (the mesh), NAME_views.png (the picture as the model "
        "saw it, and views from all around) and with --video NAME.mp4, and prints their paths.",
    )
    command.set_defaults(run=generate)
    add_input_options(command, fields=False)
    add = command.add_argument
    add("--format", choices=MESH_FORMATS, default="glb", help="of the mesh (default: %(default)s)")
    add("--views", type=whole(1, 360), default=8, metavar="N", help="views on the contact sheet (default: %(default)s)")
    add("--view-size", type=whole(16, 4096), default=256, metavar="PX", help="side of a view (default: %(default)s)")
    add("--elevation", type=number(-90, 90), metavar="DEG", help="of the views (default: the model's source camera's)")
    add("--video", action="store_true", help="a turntable video as well")
    add("--frames", type=whole(2, 1000), default=40, metavar="N", help="of the video, a turn (default: %(default)s)")
    add_mesh_options(command)


def generate(arguments: argparse.Namespace) -> int:
    """Turns each picture into a mesh, a contact sheet and, if asked for, a turntable video."""
    check_mesh_options(arguments)
    suffixes = [f".{arguments.format}", "_views.png"] + ([".mp4"] if arguments.video else [])

    def work(source: Source, stem: Path, written: Written) -> None:
        _generate_one(source, stem, written, arguments)

    return for_each_picture(arguments, suffixes, work)


def _generate_one(source: Source, stem: Path, written: Written, arguments: argparse.Namespace) -> None:
    from ..visualization import contact_sheet, write_image, write_video

    pipe: LRMPipeline = source.pipe  # type: ignore[assignment]  # there is one where there are pictures
    size = {"height": arguments.view_size, "width": arguments.view_size, "elevation": arguments.elevation}

    views: Any = pipe.render(source.field, num_views=arguments.views, **size).frames
    seen = source.image.resize((arguments.view_size, arguments.view_size))
    path = stem.with_name(f"{stem.name}_views.png")
    write_image(path, contact_sheet([seen, *views[0]]))
    written.add(path)

    mesh = make_mesh(source, arguments)
    path = stem.with_name(f"{stem.name}.{arguments.format}")
    mesh.export(path)
    written.add(path)
    written.details["mesh"] = describe(mesh)

    if arguments.video:
        path = stem.with_name(f"{stem.name}.mp4")
        turn: Any = pipe.render(source.field, num_views=arguments.frames, **size).frames
        write_video(path, turn[0], fps=arguments.frames / TURN_SECONDS)
        written.add(path)
