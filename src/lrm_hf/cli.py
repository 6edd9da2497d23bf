# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The command line: `lrm-hf generate` and `lrm-hf convert`.

Thin: it calls what a program would call. Paths of what was written go to standard output, all else to standard error.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit


if TYPE_CHECKING:
    from .pipelines import LRMPipeline


DONE, SOME_FAILED, NOTHING_DONE = 0, 1, 2
MESH_FORMATS = ("glb", "obj", "ply", "stl")
TURN_SECONDS = 2.0
# What bad input, a bad checkpoint or a missing extra raise; anything else is a defect, and shows its traceback.
EXPECTED_ERRORS = (ValueError, TypeError, OSError, ImportError)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: arguments without the program's name; default those of the process.

    Returns:
        0: all done. 1: pictures failed, the others are done. 2: nothing could be started: bad arguments, or a model
        that can't be loaded.
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse's way to say that it has printed a message
        return int(stop.code or 0)
    try:
        return arguments.run(arguments)
    except EXPECTED_ERRORS as error:
        if arguments.debug:
            raise
        _say(f"lrm-hf: error: {_line(error)}")
        return NOTHING_DONE


def generate(arguments: argparse.Namespace) -> int:
    """Turns each picture into a mesh, a contact sheet and, if asked for, a turntable video."""
    output = Path(arguments.output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {str(output)!r} is not a directory.")
    suffixes = [f".{arguments.format}", "_views.png"] + ([".mp4"] if arguments.video else [])
    names = output_names(arguments.pictures, output, suffixes)
    pipe = _load_pipeline(arguments)
    output.mkdir(parents=True, exist_ok=True)

    failures: list[tuple[str, str]] = []
    # one by one, so that a picture that fails does not take others with it, and results are there as they are made
    for picture, name in zip(arguments.pictures, names, strict=True):
        try:
            _generate_one(pipe, picture, output / name, arguments)
        except Exception as error:  # out of memory included: the others may be smaller
            if arguments.debug:
                raise
            failures.append((picture, _line(error)))
    if failures:
        _say(f"lrm-hf: {len(failures)} of {len(names)} pictures failed:")
        for picture, message in failures:
            _say(f"  {picture}: {message}")
    return SOME_FAILED if failures else DONE


def convert(arguments: argparse.Namespace) -> int:
    """Writes an original checkpoint as a pipeline of ours."""
    destination = Path(arguments.destination)
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ValueError(f"{str(destination)!r} exists and is not an empty directory.")
    from .modeling.original_checkpoints import load_original_components

    _quiet(arguments.debug)
    model, image_processor = load_original_components(arguments.source, revision=arguments.revision)
    from .pipelines import LRMPipeline

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
    from .visualization import contact_sheet, write_image, write_video

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


def _load_pipeline(arguments: argparse.Namespace) -> LRMPipeline:
    import torch

    from . import bundled_model

    name = arguments.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {arguments.device}: {_line(error)}") from error
    _quiet(arguments.debug)
    from .pipelines import LRMPipeline

    pipe = LRMPipeline.from_pretrained(arguments.model or bundled_model())
    pipe.set_progress_bar_config(disable=None)  # on a terminal only
    return pipe.to(device)


def _quiet(debug: bool) -> None:
    """Without the libraries' own chatter about loading."""
    if not debug:
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        for logging in (diffusers_logging, transformers_logging):
            logging.set_verbosity_error()
            logging.disable_progress_bar()


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = argparse.ArgumentParser(prog="lrm-hf", description="One picture in, a coloured mesh and novel views out.")
    parser.add_argument("--version", action="version", version=f"lrm-hf {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

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
        type=_whole(16, 1024),
        default=256,
        metavar="N",
        help="mesh grid per axis (default: %(default)s)",
    )
    add(
        "--threshold",
        type=_number(0, math.inf),
        metavar="D",
        help="density of the mesh's surface (default: the model's)",
    )
    add("--largest-component", action="store_true", help="keep only the mesh's largest connected piece")
    add(
        "--views", type=_whole(1, 360), default=8, metavar="N", help="views on the contact sheet (default: %(default)s)"
    )
    add("--view-size", type=_whole(16, 4096), default=256, metavar="PX", help="side of a view (default: %(default)s)")
    add("--elevation", type=_number(-90, 90), metavar="DEG", help="of the views (default: the model's source camera's)")
    add("--video", action="store_true", help="a turntable video as well")
    add("--frames", type=_whole(2, 1000), default=40, metavar="N", help="of the video, a turn (default: %(default)s)")
    add("--foreground-ratio", type=_number(0, 1), metavar="R", help="object's share of the frame the model sees")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps ... (default: a CUDA device if there is one)")
    add("--debug", action="store_true", help="stop at the first error, with its traceback")

    command = commands.add_parser(
        "convert",
        help="an original OpenLRM checkpoint to a pipeline directory",
        description="Writes an OpenLRM 1.0 or 1.1 checkpoint as a directory that LRMPipeline.from_pretrained loads.",
    )
    command.set_defaults(run=convert)
    add = command.add_argument
    add("source", metavar="SRC", help="directory or Hub repository of the original")
    add("destination", metavar="DST", help="directory to write; must not exist, or be empty")
    add("--revision", help="branch, tag or commit of a Hub repository")
    add("--debug", action="store_true", help="show tracebacks")
    return parser


def _whole(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text) if re.fullmatch(r"[+-]?\d+", text) else minimum - 1
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {minimum} to {maximum}")
        return value

    return parse


def _number(low: float, high: float) -> Callable[[str], float]:
    """Numbers between two limits; 0 as the lower one is excluded, as are infinities."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and low <= value <= high and (value > 0 or low != 0)):
            limits = (
                f"from {low:g} to {high:g}" if low else "above 0" + (f", up to {high:g}" if high < math.inf else "")
            )
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {limits}")
        return value

    return parse


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
