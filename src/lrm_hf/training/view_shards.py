# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Many objects in few files: tar archives as WebDataset names them, read at any place and in any order.

A sample is an object. Its members share the name up to the first dot: `chair.intrinsics.npy`, `chair.rgba.000.png`,
`chair.pose.000.npy` and, if there is depth, `chair.depth.000.npy`, each with the content of OpenLRM's file of that
name. The library `webdataset` reads these archives too.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..files import replacing
from . import raw_views
from .openlrm_layout import encode_object
from .raw_views import RawView
from .view_datasets import RawViewDataset
from .views import ObjectViews


Member = tuple[int, int]  # where a file begins in the archive, and its length


class ShardViews(RawViewDataset):
    """Objects in tar archives. Only the list of contents is held in memory.

    Args:
        files: uncompressed `.tar` files.
        size: side of the pictures; default as they are.
        limit: at most this many objects.

    Raises:
        OSError: if an archive can't be read.
        ValueError: if one is compressed, holds something else, or two hold an object of the same name.
    """

    layout = "WebDataset shards (.tar)"

    def __init__(
        self, files: Sequence[str | os.PathLike[str]], size: int | None = None, limit: int | None = None
    ) -> None:
        self.samples: dict[str, tuple[Path, dict[str, Member]]] = {}
        for file in map(Path, files):
            for name, members in read_index(file).items():
                if name in self.samples:
                    other = self.samples[name][0]
                    raise ValueError(f"{str(other)!r} and {str(file)!r} both hold an object {name!r}.")
                self.samples[name] = (file, members)
        if not self.samples:
            raise ValueError(f"{', '.join(map(str, files))}: no objects.")
        super().__init__(list(self.samples)[:limit], size)

    def raw(self, index: int) -> list[RawView]:
        file, members = self.samples[self.names[index]]
        return _raw_object(file, self.names[index], members)


def read_index(file: str | os.PathLike[str]) -> dict[str, dict[str, Member]]:
    """Places of the files in an archive: object, then name within the object."""
    try:
        archive = tarfile.open(file, "r:")  # noqa: SIM115  (the message depends on what opening raises)
    except tarfile.ReadError as error:
        raise ValueError(f"{os.fspath(file)!r} is no uncompressed tar archive: {error}") from error
    samples: dict[str, dict[str, Member]] = {}
    try:
        with archive:
            # tarfile takes an archive that was cut between two members for a whole one
            if not _has_end(Path(file)):
                raise OSError(f"{os.fspath(file)!r} is damaged or cut short: the mark of its end is missing.")
            for member in archive:
                if not member.isfile():
                    continue
                name, dot, rest = member.name.removeprefix("./").partition(".")
                if not dot or not name or not rest.startswith(("rgba.", "pose.", "depth.", "intrinsics.npy")):
                    raise ValueError(
                        f"{os.fspath(file)!r} holds {member.name!r}, expected OBJECT.intrinsics.npy, "
                        "OBJECT.rgba.000.png, OBJECT.pose.000.npy or OBJECT.depth.000.npy."
                    )
                samples.setdefault(name, {})[rest] = (member.offset_data, member.size)
    except tarfile.ReadError as error:
        raise OSError(f"{os.fspath(file)!r} is damaged or cut short: {error}") from error
    return samples


def _has_end(file: Path) -> bool:
    """Two blocks of zeros stand at the end of each tar archive."""
    with open(file, "rb") as archive:
        if archive.seek(0, os.SEEK_END) < 1024:
            return False
        archive.seek(-1024, os.SEEK_END)
        return not any(archive.read())


def write_shard(path: str | os.PathLike[str], objects: Iterable[tuple[str, ObjectViews]], depth: bool = False) -> int:
    """Writes an archive that appears complete or not at all. The same objects give the same bytes.

    Args:
        path: ends in `.tar`.
        objects: name and views of each, taken one at a time. Names have no dot and no slash: see `shard_name`.
        depth: write the depth as well.

    Returns:
        The number of objects.

    Raises:
        ValueError: if there is no object, the suffix or a name is another, or an object does not fit the layout.
    """
    if Path(path).suffix != ".tar":
        raise ValueError(f"`path` must end in .tar, got {os.fspath(path)!r}.")
    count = 0
    with replacing(path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
            for name, views in objects:
                if name != shard_name(name) or not name:
                    raise ValueError(f"an object's name in a shard has no dot and no slash, got {name!r}.")
                for member, content in encode_object(views, depth).items():
                    info = tarfile.TarInfo(f"{name}.{member.replace('/', '.')}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
                count += 1
        if count == 0:
            raise ValueError(f"no objects to write to {os.fspath(path)!r}.")
    return count


def shard_name(name: str) -> str:
    """A name that can stand before the first dot."""
    return name.replace(".", "_").replace("/", "_")


def _raw_object(file: Path, name: str, members: dict[str, Member]) -> list[RawView]:
    stems = {key.split(".")[1] for key in members if key.startswith(("rgba.", "pose."))}
    with_depth = any(key.startswith("depth.") for key in members)

    def read(reader: Callable[..., Any], key: str) -> Any:
        where = f"{name}.{key} in {file}"
        if key not in members:
            raise OSError(f"{where} is missing.")
        begin, length = members[key]
        with open(file, "rb") as archive:
            archive.seek(begin)
            return reader(io.BytesIO(archive.read(length)), where)

    def intrinsics() -> np.ndarray:
        return raw_views.normalised_intrinsics(read(raw_views.read_array, "intrinsics.npy"), "intrinsics.npy")

    return [
        RawView(
            name=stem,
            picture=partial(read, raw_views.read_picture, f"rgba.{stem}.png"),
            size=partial(read, raw_views.read_size, f"rgba.{stem}.png"),
            pose=partial(read, raw_views.read_array, f"pose.{stem}.npy"),
            intrinsics=intrinsics,
            depth=partial(read, raw_views.read_array, f"depth.{stem}.npy") if with_depth else None,
        )
        for stem in sorted(stems)
    ]
