# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What happens on the page, and what a script calls: one method per endpoint, each with the page's values as arguments.

A list of pictures is what `gr.Gallery` hands over, `[(path, caption), ...]`. What is kept between calls of one session
is a tuple of keys of `Results`.
"""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..memory import in_words, memory_of
from .limits import read_picture
from .results import Made
from .studio import MeshSettings, PictureSettings, Studio, file_stem, parse_adapters


if TYPE_CHECKING:
    import PIL.Image


Pictures = Sequence[tuple[str, str | None]] | None
Keys = tuple[str, ...]

# what can be asked for besides
EXTRAS = ("largest_component", "smooth", "watertight", "ground")
SMOOTHING = 10  # rounds
# what bad input raises; anything else is a defect
EXPECTED_ERRORS = (ValueError, TypeError, OSError, ImportError, MemoryError)


def readable(method: Callable[..., Any]) -> Callable[..., Any]:
    """Shows errors of the input as they are, and of anything else only that something is wrong; the traceback goes to
    standard error."""

    @functools.wraps(method)
    def action(*args: Any, **kwargs: Any) -> Any:
        import gradio as gr

        try:
            return method(*args, **kwargs)
        except EXPECTED_ERRORS as error:
            message = " ".join(str(error).split()) or type(error).__name__
            raise gr.Error(message, print_exception=False) from error
        except gr.Error:
            raise
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            message = "Something went wrong; whoever runs this page finds it in the log."
            raise gr.Error(message, print_exception=False) from error

    return action


class Actions:
    """The endpoints of a page.

    Args:
        studio: does the work.
        formats: of the files to download.
    """

    def __init__(self, studio: Studio, formats: Sequence[str]):
        self.studio = studio
        self.formats = tuple(formats)

    @readable
    def see(
        self, pictures: Pictures, model: str, cut_out: str, foreground_ratio: float, background: str
    ) -> list[PIL.Image.Image]:
        """The pictures as the model would see them."""
        settings = _picture_settings(cut_out, foreground_ratio, background)
        return [self.studio.see(picture, model or None, settings) for _, picture in self._read(pictures or [])]

    @readable
    def generate(
        self,
        pictures: Pictures,
        model: str,
        adapters: str,
        cut_out: str,
        foreground_ratio: float,
        background: str,
        mesh: MeshSettings,
        kept: Keys,
        report: Callable[[float, str], None],
    ) -> tuple[Keys, Path, str]:
        """Runs the model on each picture, and makes the first object's mesh: keys, the mesh's GLB, and what it took.
        What the session had is forgotten then."""
        mesh.check(self.studio.limits)
        if not pictures:
            raise ValueError("There is no picture yet: drop one, or choose an example.")
        settings = _picture_settings(cut_out, foreground_ratio, background)
        wanted = parse_adapters(adapters or "")
        read = self._read(pictures)
        made: list[Made] = []
        # one by one: memory does not grow with their number
        for index, (name, picture) in enumerate(read):
            share = _part(report, 0.6 * index / len(read), 0.6 * (index + 1) / len(read))
            made.append(self.studio.make(picture, name, model or None, wanted, settings, share))
        keys = tuple(self.studio.results.add(one) for one in made)
        path, text = self._mesh(made[0], mesh, _part(report, 0.6, 1.0))
        self.studio.results.drop(kept)
        return keys, path, text

    @readable
    def names(self, kept: Keys) -> list[str]:
        """Of the session's objects."""
        return [self.studio.results.get(key).name for key in kept]

    @readable
    def mesh(
        self, kept: Keys, number: int, mesh: MeshSettings, report: Callable[[float, str], None]
    ) -> tuple[Path, str]:
        """The mesh of one of the session's objects, without running the model: GLB, and what it took."""
        mesh.check(self.studio.limits)
        return self._mesh(self._made(kept, number), mesh, report)

    @readable
    def turntable(self, kept: Keys, number: int, report: Callable[[float, str], None]) -> Path:
        """A video of one of the session's objects, all around."""
        made = self._made(kept, number)
        path = made.directory / f"{made.name}.mp4"
        return path if path.exists() else self.studio.turntable(made, report)

    @readable
    def files(self, kept: Keys, number: int, report: Callable[[float, str], None]) -> list[Path]:
        """One of the session's objects in every format: its mesh as it was made last, and the turntable if there is
        one."""
        made = self._made(kept, number)
        if made.mesh is None:
            raise ValueError("There is no mesh yet: make it first.")
        paths = []
        for index, suffix in enumerate(self.formats):
            report(index / len(self.formats), f"writing {suffix}")
            paths.append(self.studio.write(made, suffix))
        video = made.directory / f"{made.name}.mp4"
        return [*paths, video] if video.exists() else paths

    def _mesh(self, made: Made, settings: MeshSettings, report: Callable[[float, str], None]) -> tuple[Path, str]:
        mesh = self.studio.mesh(made, settings, report)
        report(0.9, "writing glb")
        path = self.studio.write(made, "glb")
        return path, f"{made.name}: {len(mesh.vertices):,} vertices, {len(mesh.faces):,} faces. {self._took(made)}"

    def _took(self, made: Made) -> str:
        steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in made.seconds.items())
        memory = memory_of(self.studio.device)
        return (
            f"{steps[:1].upper()}{steps[1:]}. Memory of the {self.studio.device.type.upper()}: this process has "
            f"{in_words(memory.used)}, {in_words(memory.free)} of {in_words(memory.total)} are free."
        )

    def _read(self, pictures: Sequence[tuple[str, str | None]]) -> list[tuple[str, PIL.Image.Image]]:
        limit = self.studio.limits.pictures
        if len(pictures) > limit:
            raise ValueError(f"{len(pictures)} pictures at a time; at most {limit} are allowed.")
        read: list[tuple[str, PIL.Image.Image]] = []
        for path, _ in pictures:
            stem, number = file_stem(path), 1
            while stem in [name for name, _ in read]:  # two pictures of one name
                number += 1
                stem = f"{file_stem(path)}_{number}"
            read.append((stem, read_picture(path, self.studio.limits)))
        return read

    def _made(self, kept: Keys, number: int) -> Made:
        if not kept:
            raise ValueError("There is no object yet: generate one first.")
        if not isinstance(number, int) or not 0 <= number < len(kept):
            raise ValueError(f"`number` must be from 0 to {len(kept) - 1}, got {number!r}.")
        return self.studio.results.get(kept[number])


def _picture_settings(cut_out: str, foreground_ratio: float, background: str) -> PictureSettings:
    """0 stands for the model's own ratio: a slider can't be empty."""
    return PictureSettings(foreground_ratio or None, background, cut_out)


def mesh_settings(resolution: float, target_faces: float, texture: int, extras: Sequence[str]) -> MeshSettings:
    """From what the page gives: 0 stands for no budget of faces, and for no texture; `extras` are of `EXTRAS`."""
    unknown = sorted(set(extras) - set(EXTRAS))
    if unknown:
        raise ValueError(f"`extras` must be of {', '.join(EXTRAS)}, got {', '.join(unknown)}.")
    return MeshSettings(
        resolution=_whole("resolution", resolution),
        target_faces=_whole("target_faces", target_faces) or None,
        texture=_whole("texture", texture) or None,
        largest_component="largest_component" in extras,
        smooth=SMOOTHING if "smooth" in extras else 0,
        watertight="watertight" in extras,
        ground="ground" in extras,
    )


def _whole(name: str, value: float) -> int:
    if value is None or value != int(value):
        raise ValueError(f"`{name}` must be a whole number, got {value!r}.")
    return int(value)


def _part(report: Callable[[float, str], None], start: float, end: float) -> Callable[[float, str], None]:
    """Progress within a part of the work."""
    return lambda share, step: report(start + (end - start) * share, step)
