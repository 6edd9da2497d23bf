# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""One door to all layouts of training data."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from . import nerf_layout, openlrm_layout
from .generated_views import MeshViews, ProceduralViews
from .mesh_objects import MESH_SUFFIXES
from .nerf_layout import TransformsViews
from .openlrm_layout import OpenLRMViews
from .view_datasets import NpzViews, ViewDataset
from .view_shards import ShardViews


PROCEDURAL = "procedural"
RENDERED, SHARDS, MESHES = "rendered views", "shards", "meshes"
OPENLRM, NERF = "OpenLRM's layout", "NeRF's layout"
EXPECTED = (
    "expected a directory of .npz files (rendered views), of objects with rgba/, pose/ and intrinsics.npy (OpenLRM), "
    "of objects with a transforms.json (NeRF), of .tar shards (WebDataset) or of meshes "
    f"({', '.join(MESH_SUFFIXES)}), one such object or file, or the word {PROCEDURAL!r}"
)


def open_views(
    source: str | os.PathLike[str], *, size: int | None = None, limit: int | None = None, seed: int = 0
) -> ViewDataset:
    """Training data of any layout, recognised by what lies there.

    | there is | it is |
    |---|---|
    | `*.npz` | views of `ObjectViews.save`, held in memory |
    | `OBJECT/rgba`, `OBJECT/pose` | OpenLRM's layout, see `openlrm_layout` |
    | `OBJECT/transforms.json` or `transforms_train.json` | NeRF's layout, see `nerf_layout` |
    | `*.tar` | WebDataset shards, see `view_shards` |
    | `*.glb`, `*.gltf`, `*.obj`, `*.ply`, `*.stl` | meshes, rendered on the fly |
    | nothing: the word `"procedural"` | procedural objects without end |

    A directory that is itself one object, and a single file, are recognised too.

    Args:
        source: a directory, a file, or `"procedural"`.
        size: side of the pictures in pixels; default as they are, and 128 where they are rendered.
        limit: at most this many objects, the first by name.
        seed: of what is rendered on the fly.

    Raises:
        OSError: if there is nothing of that name, or it can't be read.
        ValueError: if what is there is no layout, or several at a time; the message names what was found.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"`limit` must be at least 1, got {limit}.")
    if source == PROCEDURAL:
        return ProceduralViews(size, seed=seed)
    kind, parts = find_layout(source)
    if kind == SHARDS:
        return ShardViews(parts, size, limit)  # one file holds many objects
    if kind == MESHES:
        return MeshViews(parts[:limit], size, seed=seed)
    readers: dict[str, Callable[[list[Path], int | None], ViewDataset]] = {
        RENDERED: NpzViews,
        OPENLRM: OpenLRMViews,
        NERF: TransformsViews,
    }
    return readers[kind](parts[:limit], size)


def find_layout(source: str | os.PathLike[str]) -> tuple[str, list[Path]]:
    """Which layout lies at a path, and the files or directories that hold its objects, by name; see `open_views`.

    Raises:
        OSError, ValueError: see `open_views`.
    """
    path = Path(source)
    if not path.exists():
        raise OSError(f"there is no file or directory {os.fspath(source)!r}; {EXPECTED}.")
    found = _layouts(path)
    if not found:
        raise ValueError(f"{os.fspath(source)!r} holds {_contents(path)}; {EXPECTED}.")
    if len(found) > 1:
        raise ValueError(f"{os.fspath(source)!r} may be {' or '.join(found)}; put them into directories of their own.")
    [(kind, parts)] = found.items()
    return kind, parts


def find_meshes(directory: str | os.PathLike[str], limit: int | None = None) -> list[Path]:
    """The mesh files of a directory, by name; the first `limit` of them.

    Raises:
        OSError: if there is no such directory.
        ValueError: if it holds no mesh file, or two of one name.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise OSError(f"{os.fspath(directory)!r} is not a directory.")
    paths = sorted(path for path in directory.iterdir() if path.suffix.lower() in MESH_SUFFIXES and path.is_file())
    if not paths:
        raise ValueError(f"{os.fspath(directory)!r} holds no mesh files ({', '.join(MESH_SUFFIXES)}).")
    stems = [path.stem for path in paths]
    repeated = sorted({stem for stem in stems if stems.count(stem) > 1})
    if repeated:
        raise ValueError(f"{os.fspath(directory)!r} holds several mesh files of the same name: {', '.join(repeated)}.")
    return paths[:limit]


def _layouts(path: Path) -> dict[str, list[Path]]:
    """What lies there, by layout: the files or directories of its objects, by name."""
    if path.is_file():
        files, directories = [path], []
    else:
        if openlrm_layout.is_object(path):
            return {OPENLRM: [path]}
        transforms = nerf_layout.find_file(path)
        if transforms is not None:
            return {NERF: [transforms]}
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        files = [entry for entry in entries if entry.is_file()]
        directories = [entry for entry in entries if entry.is_dir()]
    found = {
        RENDERED: [file for file in files if file.suffix == ".npz"],
        SHARDS: [file for file in files if file.suffix == ".tar"],
        MESHES: [file for file in files if file.suffix.lower() in MESH_SUFFIXES],
        OPENLRM: [directory for directory in directories if openlrm_layout.is_object(directory)],
        NERF: [file for file in map(nerf_layout.find_file, directories) if file is not None],
    }
    if path.is_file() and path.suffix == ".json":
        found[NERF] = [path]
    return {kind: parts for kind, parts in found.items() if parts}


def _contents(path: Path) -> str:
    """`3 .jpg, 1 directory` of what is there."""
    if path.is_file():
        return f"a file of type {path.suffix or 'unknown'}"
    entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    counts = Counter("directory" if entry.is_dir() else entry.suffix or "file without suffix" for entry in entries)
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common(5)) or "nothing"
