# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`lrm-hf generate`: pictures to meshes, contact sheets and turntable videos."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from .common import DONE, SOME_FAILED, load_pipeline, number, one_line, say, whole


if TYPE_CHECKING:
    from ..pipelines import LRMPipeline


MESH_FORMATS = ("glb", "obj", "ply", "stl")
TURN_SECONDS = 2.0


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "generate",
        help="pictures to meshes, contact sheets and turntable videos",
        description="For each picture NAME.png, writes NAME.glb (the mesh), NAME_views.png (the picture as the model "
        "saw it, and views from all around) and with --video NAME.mp4, and prints their paths.",
    )
    command.set_defaults(run=generate)
    add = command.add_argument
    add("pictures", nargs="+", metavar="PICTURE", help="picture files or URLs; cut-outs with an alpha channel are best")
    add("-o", "--output", required=True, metavar="DIR", help="directory to write to; made if it does not exist")
    add("--model", metavar="DIR_OR_REPO", help="directory or Hub repository; default: the bundled model")
    add("--format", choices=MESH_FORMATS, default="glb", help="of the mesh (default: %(default)s)")
    add(
        "--resolution",
        type=whole(16, 1024),
        default=256,
        metavar="N",
        help="mesh grid per axis (default: %(default)s)",
    )
    add(
        "--threshold",
        type=number(0, math.inf),
        metavar="D",
        help="density of the mesh's surface (default: the model's)",
    )
    add("--largest-component", action="store_true", help="keep only the mesh's largest connected piece")
    add("--views", type=whole(1, 360), default=8, metavar="N", help="views on the contact sheet (default: %(default)s)")
    add("--view-size", type=whole(16, 4096), default=256, metavar="PX", help="side of a view (default: %(default)s)")
    add("--elevation", type=number(-90, 90), metavar="DEG", help="of the views (default: the model's source camera's)")
    add("--video", action="store_true", help="a turntable video as well")
    add("--frames", type=whole(2, 1000), default=40, metavar="N", help="of the video, a turn (default: %(default)s)")
    add("--foreground-ratio", type=number(0, 1), metavar="R", help="object's share of the frame the model sees")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps ... (default: a CUDA device if there is one)")
    add("--debug", action="store_true", help="stop at the first error, with its traceback")


def generate(arguments: argparse.Namespace) -> int:
    """Turns each picture into a mesh, a contact sheet and, if asked for, a turntable video."""
    output = Path(arguments.output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {str(output)!r} is not a directory.")
    suffixes = [f".{arguments.format}", "_views.png"] + ([".mp4"] if arguments.video else [])
    names = output_names(arguments.pictures, output, suffixes)
    pipe = load_pipeline(arguments)
    output.mkdir(parents=True, exist_ok=True)

    failures: list[tuple[str, str]] = []
    # one by one, so that a picture that fails does not take others with it, and results are there as they are made
    for picture, name in zip(arguments.pictures, names, strict=True):
        try:
            _generate_one(pipe, picture, output / name, arguments)
        except Exception as error:  # out of memory included: the others may be smaller
            if arguments.debug:
                raise
            failures.append((picture, one_line(error)))
    if failures:
        say(f"lrm-hf: {len(failures)} of {len(names)} pictures failed:")
        for picture, message in failures:
            say(f"  {picture}: {message}")
    return SOME_FAILED if failures else DONE


def output_names(pictures: Sequence[str], directory: Path, suffixes: Sequence[str]) -> list[str]:
    """A name for each picture's files: its own without suffix, with a number where two would be the same file, or where
    an output would replace one of the pictures."""
    inputs = {os.path.realpath(picture) for picture in pictures}
    taken: set[str] = set()
    names = []
    for picture in pictures:
        if picture.lower().startswith(("http://", "https://")):
            stem = re.sub(r"[^\w.-]+", "_", Path(unquote(urlsplit(picture).path)).stem)
        else:
            stem = Path(picture).stem
        stem = stem.lstrip(".") or "picture"
        name, number = stem, 1
        # some file systems do not tell Owl from owl
        while name.lower() in taken or any(
            os.path.realpath(directory / f"{name}{suffix}") in inputs for suffix in suffixes
        ):
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.lower())
        names.append(name)
    return names


def _generate_one(pipe: LRMPipeline, picture: str, stem: Path, arguments: argparse.Namespace) -> None:
    from ..visualization import contact_sheet, write_image, write_video

    overrides = {}
    if arguments.foreground_ratio is not None:
        overrides = {"foreground_ratio": arguments.foreground_ratio, "do_recenter": True}
    out: Any = pipe(picture, output_type="field", **overrides)
    size = {"height": arguments.view_size, "width": arguments.view_size, "elevation": arguments.elevation}

    views: Any = pipe.render(out.field, num_views=arguments.views, **size).frames
    seen = out.images[0].resize((arguments.view_size, arguments.view_size))
    path = stem.with_name(f"{stem.name}_views.png")
    write_image(path, contact_sheet([seen, *views[0]]))
    print(path, flush=True)

    (mesh,) = pipe.extract_mesh(out.field, arguments.resolution, arguments.threshold, arguments.largest_component)
    path = stem.with_name(f"{stem.name}.{arguments.format}")
    mesh.export(path)
    print(path, flush=True)

    if arguments.video:
        path = stem.with_name(f"{stem.name}.mp4")
        turn: Any = pipe.render(out.field, num_views=arguments.frames, **size).frames
        write_video(path, turn[0], fps=arguments.frames / TURN_SECONDS)
        print(path, flush=True)
