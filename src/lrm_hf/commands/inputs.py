# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What the commands that go from pictures to files share: their options, and the way through a list of pictures."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from .common import DONE, SOME_FAILED, complain, load_pipeline, number, one_line, print_json, say


if TYPE_CHECKING:
    from ..modeling.field import TriplaneField
    from ..pipelines import LRMPipeline


SAVED_FIELD = ".safetensors"


@dataclass(frozen=True)
class Source:
    """What a picture, or a saved field, comes to.

    Attributes:
        field: of one object.
        image: the picture as the model saw it; None for a saved field.
        pipe: None where only saved fields are worked on and no model is named.
    """

    field: TriplaneField
    image: Any
    pipe: LRMPipeline | None


class Written:
    """Files of one picture, told as they are written (or together, as JSON)."""

    def __init__(self, quiet: bool) -> None:
        self.files: list[str] = []
        self.details: dict[str, Any] = {}
        self._quiet = quiet

    def add(self, path: Path) -> None:
        self.files.append(str(path))
        if not self._quiet:
            print(path, flush=True)


def add_input_options(command: argparse.ArgumentParser, fields: bool = True) -> None:
    add = command.add_argument
    also = "; or fields that TriplaneField.save wrote" if fields else ""
    text = f"picture files or URLs; cut-outs with an alpha channel are best{also}"
    add("pictures", nargs="+", metavar="PICTURE", help=text)
    add("-o", "--output", required=True, metavar="DIR", help="directory to write to; made if it does not exist")
    add("--model", metavar="DIR_OR_REPO", help="directory or Hub repository; default: the bundled model")
    add("--foreground-ratio", type=number(0, 1), metavar="R", help="object's share of the frame the model sees")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps ... (default: a CUDA device if there is one)")
    add("--json", action="store_true", help="print what was done as JSON, instead of paths")
    add("--debug", action="store_true", help="stop at the first error, with its traceback")


def for_each_picture(
    arguments: argparse.Namespace, suffixes: Sequence[str], work: Callable[[Source, Path, Written], None]
) -> int:
    """Calls `work` with each picture's field, and the path of its files without suffix.

    One by one, so that a picture that fails does not take others with it, and results are there as they are made.

    Args:
        suffixes: of the files that will be written, so that none of them replaces a picture.

    Returns:
        An exit code.
    """
    output = Path(arguments.output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {str(output)!r} is not a directory.")
    names = output_names(arguments.pictures, output, suffixes)
    saved = [picture.lower().endswith(SAVED_FIELD) for picture in arguments.pictures]
    pipe = None if all(saved) and not arguments.model else load_pipeline(arguments)
    output.mkdir(parents=True, exist_ok=True)

    results: list[dict[str, Any]] = []
    failures: list[tuple[str, str]] = []
    for picture, is_saved, name in zip(arguments.pictures, saved, names, strict=True):
        written, start = Written(arguments.json), time.perf_counter()
        try:
            work(_source(pipe, picture, is_saved, arguments), output / name, written)
        except Exception as error:  # out of memory included: the others may be smaller
            if arguments.debug:
                raise
            failures.append((picture, one_line(error)))
            continue
        seconds = round(time.perf_counter() - start, 3)
        results.append({"picture": picture, "files": written.files, "seconds": seconds, **written.details})
    if arguments.json:
        print_json({"done": results, "failed": [{"picture": name, "error": text} for name, text in failures]})
    if failures:
        complain(f"lrm-hf: {len(failures)} of {len(names)} pictures failed:")
        for picture, message in failures:
            say(f"  {picture}: {message}")
    return SOME_FAILED if failures else DONE


def _source(pipe: LRMPipeline | None, picture: str, is_saved: bool, arguments: argparse.Namespace) -> Source:
    if is_saved or pipe is None:
        from ..modeling.field import TriplaneField
        from .common import choose_device

        field = TriplaneField.load(picture, choose_device(arguments.device))
        if len(field) != 1:
            raise ValueError(f"holds {len(field)} fields; save them one by one, as field[i].save(...).")
        return Source(field, None, pipe)
    overrides = {}
    if arguments.foreground_ratio is not None:
        overrides = {"foreground_ratio": arguments.foreground_ratio, "do_recenter": True}
    out: Any = pipe(picture, output_type="field", **overrides)
    return Source(out.field, out.images[0], pipe)


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
