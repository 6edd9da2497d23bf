# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""A folder of meshes to a data set on disk: in OpenLRM's layout, or as shards. Stopped runs go on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ..cameras import DEFAULT_DISTANCE, DEFAULT_FOCAL
from ..files import read_json, replacing


SETTINGS_FILE = "render.json"


@dataclass(frozen=True)
class RenderSettings:
    """What the pictures depend on, beside the meshes. Written to `render.json` of the data set.

    Attributes:
        size: side of the pictures in pixels.
        views: per object.
        sources: of these, from the front (azimuth 0), where the others stand all around.
        antialias: rays per pixel along each axis.
        distance: of the cameras from the origin, in world units; objects fit the unit ball.
        focal: focal length over the picture's size.
        seed: of the cameras.
        depth: write depth as well.
        shard_objects: objects per tar archive; 0: a directory for each.
    """

    size: int = 512
    views: int = 16
    sources: int = 4
    antialias: int = 2
    distance: float = DEFAULT_DISTANCE
    focal: float = DEFAULT_FOCAL
    seed: int = 0
    depth: bool = False
    shard_objects: int = 0

    def __post_init__(self) -> None:
        for name, least in (("size", 1), ("views", 1), ("sources", 1), ("antialias", 1), ("shard_objects", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"`{name}` must be a whole number of at least {least}, got {value!r}.")
        if self.sources > self.views:
            raise ValueError(f"`sources` must be at most `views`, got {self.sources} of {self.views}.")
        if not self.distance > 1:
            raise ValueError(f"`distance` must be above 1, or cameras stand inside the objects; got {self.distance}.")
        if not self.focal > 0:
            raise ValueError(f"`focal` must be positive, got {self.focal}.")


@dataclass
class RenderReport:
    """What a run did: names of objects, and of those that failed why."""

    written: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def render_dataset(
    paths: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    settings: RenderSettings | None = None,
    *,
    workers: int = 1,
    progress: Callable[[str], None] | None = None,
) -> RenderReport:
    """Ray casts mesh files into `output`. What is there is kept, so that a stopped run goes on; each object (or shard)
    appears complete or not at all. A mesh that can't be rendered is reported and does not stop the others.

    Args:
        paths: mesh files of different names.
        output: directory, made if missing.
        settings: of cameras and pictures.
        workers: processes.
        progress: called with the name of each object that is done, present or failed.

    Raises:
        OSError: if `output` can't be written.
        ValueError: if `output` was begun with other settings, or holds shards of other objects.
    """
    settings = settings or RenderSettings()
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    _agree(output, settings)
    files = [Path(path) for path in paths]
    groups = _groups(files, output, settings)
    report = RenderReport()
    told = progress or (lambda name: None)
    todo: list[tuple[Path, list[Path]]] = []
    for target, members in groups:
        if target.exists():
            present = _names_in(target, settings)
            report.present += present
            for name in present:
                told(name)
        else:
            todo.append((target, members))
    for written, failed in _run(todo, settings, workers):
        report.written += written
        report.failed.update(failed)
        for name in [*written, *failed]:
            told(name)
    report.written.sort()
    return report


def _agree(output: Path, settings: RenderSettings) -> None:
    """One data set, one set of settings: a directory of mixed ones would be of no use to anybody."""
    path = output / SETTINGS_FILE
    wanted = asdict(settings)
    if path.exists():
        found = read_json(path)
        other = {name: found.get(name) for name in wanted if found.get(name) != wanted[name]}
        if other:
            differences = ", ".join(f"{name} {value!r} there, {wanted[name]!r} now" for name, value in other.items())
            raise ValueError(f"{os.fspath(output)!r} was begun with other settings ({differences}).")
        return
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")


def _groups(files: list[Path], output: Path, settings: RenderSettings) -> list[tuple[Path, list[Path]]]:
    """Each file or directory to write, and the meshes in it."""
    from .view_shards import read_index, shard_name

    if not settings.shard_objects:
        return [(output / file.stem, [file]) for file in files]
    groups = []
    for number, start in enumerate(range(0, len(files), settings.shard_objects)):
        members = files[start : start + settings.shard_objects]
        target = output / f"{number:06d}.tar"
        names = {shard_name(file.stem) for file in members}
        if target.exists() and not set(read_index(target)) <= names:
            other = sorted(set(read_index(target)) - names)
            raise ValueError(
                f"{str(target)!r} holds other objects ({', '.join(other[:3])} ...): use another directory."
            )
        groups.append((target, members))
    return groups


def _names_in(target: Path, settings: RenderSettings) -> list[str]:
    from .view_shards import read_index

    return list(read_index(target)) if settings.shard_objects else [target.name]


def _run(
    todo: list[tuple[Path, list[Path]]], settings: RenderSettings, workers: int
) -> Iterator[tuple[list[str], dict[str, str]]]:
    if workers == 1:
        for target, members in todo:
            yield _render(target, members, settings)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures: list[Future[Any]] = [pool.submit(_render_alone, *job, settings) for job in todo]
        for future in as_completed(futures):
            yield future.result()


def _render_alone(target: Path, members: list[Path], settings: RenderSettings) -> tuple[list[str], dict[str, str]]:
    import torch

    torch.set_num_threads(1)  # the processes are the parallelism
    return _render(target, members, settings)


def _render(target: Path, members: list[Path], settings: RenderSettings) -> tuple[list[str], dict[str, str]]:
    """Names written, and errors by name."""
    from .mesh_views import render_training_views
    from .openlrm_layout import write_object
    from .view_shards import shard_name, write_shard
    from .views import ObjectViews

    written: list[str] = []
    failed: dict[str, str] = {}

    def rendered() -> Iterator[tuple[str, ObjectViews]]:
        for file in members:
            try:
                views = render_training_views(
                    file,
                    0,
                    size=settings.size,
                    antialias=settings.antialias,
                    sources=settings.sources,
                    targets=settings.views - settings.sources,
                    seed=settings.seed,
                    distance=settings.distance,
                    focal=settings.focal,
                )
            except (OSError, ValueError, MemoryError) as error:
                failed[file.stem] = " ".join(str(error).split()) or type(error).__name__
                continue
            written.append(file.stem)
            yield (shard_name(file.stem) if settings.shard_objects else file.stem), views

    if not settings.shard_objects:
        for _, views in rendered():
            write_object(target, views, settings.depth)
        return written, failed
    try:
        write_shard(target, rendered(), settings.depth)
    except ValueError:
        if written:  # else the shard would be empty, since all its meshes failed
            raise
    return written, failed
