# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Sweet Home 3D's furniture libraries (`.sh3f`) as folders of GLB files to train on.

A library is a zip archive: OBJ models, and a catalogue in `PluginFurnitureCatalog.properties` that says which file each
object is, who made it, and whether it is a door or a window.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..files import replacing
from .mesh_objects import MESH_SUFFIXES


CATALOGUE = "PluginFurnitureCatalog.properties"
ATTRIBUTION = "ATTRIBUTION.tsv"
COLUMNS = ("object", "name", "creator", "library", "licence")
ENTRY = re.compile(r"(\w+)#(\d+)\s*=\s*(.*)")
TEXTURE_SIDE = 256  # pixels; training pictures have 128


@dataclass(frozen=True)
class FurnitureEntry:
    """One object of a library.

    Attributes:
        stem: of its model's file.
        model: path of the model within the archive.
        name, creator: as the catalogue has them; empty where it has none.
        opening: whether it is a door or a window.
        rotation: `(3, 3)`, turns the model to y up, front towards +z.
        licence: as the archive has it; empty where it says none.
    """

    stem: str
    model: str
    name: str
    creator: str
    opening: bool
    rotation: np.ndarray
    licence: str


def read_catalogue(archive: zipfile.ZipFile) -> list[FurnitureEntry]:
    """The objects of an opened library, in the catalogue's order.

    Raises:
        OSError: if the archive holds no catalogue.
        ValueError: if a model's rotation isn't one of nine numbers.
    """
    try:
        text = archive.read(CATALOGUE).decode("latin-1")
    except KeyError as error:
        raise OSError(f"{archive.filename!r} is no furniture library: it holds no {CATALOGUE}.") from error
    properties: dict[int, dict[str, str]] = {}
    licence = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("license="):
            licence = _unescape(line.partition("=")[2])
        elif found := ENTRY.fullmatch(line):
            properties.setdefault(int(found[2]), {})[found[1]] = _unescape(found[3])
    entries = []
    for number in sorted(properties):
        values = properties[number]
        if "model" not in values:
            continue
        rotation = np.array(values.get("modelRotation", "1 0 0 0 1 0 0 0 1").split(), dtype=np.float64)
        if rotation.size != 9:
            raise ValueError(f"`modelRotation` of {values['model']!r} must have 9 numbers, got {rotation.size}.")
        entries.append(
            FurnitureEntry(
                stem=PurePosixPath(values["model"]).stem,
                model=values["model"].lstrip("/"),
                name=values.get("name", ""),
                creator=values.get("creator", ""),
                opening=values.get("doorOrWindow") == "true",
                rotation=rotation.reshape(3, 3),
                licence=licence,
            )
        )
    return entries


def convert_library(
    library: Path,
    output: Path,
    leave_out: Sequence[str] = (),
    thinnest: float = 0.0,
    taken: frozenset[str] = frozenset(),
) -> Iterator[FurnitureEntry]:
    """Writes a library's objects as `{stem}.glb`, one after the other: y up, front towards +z, centred, half the
    diagonal of the bounding box 1, opaque, textures at most 256 pixels wide and high.

    Args:
        library: `.sh3f` file.
        output: directory that exists.
        leave_out: shell patterns of stems. Doors and windows are left out in any case.
        thinnest: objects are left out whose box is thinner than this share of its longest side.
        taken: stems that are left out.

    Yields:
        Those that were written.

    Raises:
        OSError: if the library can't be read.
        ValueError: of a library whose catalogue can't be understood.
    """
    if not zipfile.is_zipfile(library):
        raise OSError(f"{str(library)!r} is no furniture library: not a zip archive.")
    with zipfile.ZipFile(library) as archive, tempfile.TemporaryDirectory() as temporary:
        entries = read_catalogue(archive)
        archive.extractall(temporary)
        for entry in entries:
            left_out = entry.opening or entry.stem in taken or any(fnmatchcase(entry.stem, p) for p in leave_out)
            if not left_out and _convert(Path(temporary) / entry.model, output / f"{entry.stem}.glb", entry, thinnest):
                yield entry


def _convert(source: Path, target: Path, entry: FurnitureEntry, thinnest: float) -> bool:
    """False if the object is too thin."""
    import trimesh

    if not source.is_file():
        raise OSError(f"the catalogue names {entry.model!r}, which the library does not hold.")
    scene = trimesh.load_scene(source, process=False)
    turn = np.eye(4)
    turn[:3, :3] = entry.rotation
    scene.apply_transform(turn)
    low, high = scene.bounds
    extents = high - low
    if extents.min() < thinnest * extents.max():
        return False
    scale = 2 / np.linalg.norm(extents)
    place = np.eye(4) * [scale, scale, scale, 1]
    place[:3, 3] = -scale * (low + high) / 2
    scene.apply_transform(place)
    for mesh in scene.geometry.values():
        if hasattr(mesh.visual, "material"):
            mesh.visual.material = _opaque(mesh.visual.material)
    with replacing(target) as temporary:
        temporary.write_bytes(scene.export(file_type="glb"))
    return True


def _opaque(material: Any) -> Any:
    pbr = material.to_pbr()
    pbr.alphaMode = "OPAQUE"
    if pbr.baseColorTexture is not None:
        picture = pbr.baseColorTexture.convert("RGB")
        picture.thumbnail((TEXTURE_SIDE, TEXTURE_SIDE))
        pbr.baseColorTexture = picture
    return pbr


def _unescape(text: str) -> str:
    """Java's properties write characters beyond latin-1 as four hexadecimal digits."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text).replace("\\", "").strip()


def main(arguments: list[str] | None = None) -> int:
    """Unpacks furniture libraries into a folder of GLB files with an ATTRIBUTION.tsv.

    Returns:
        0; bad arguments end with 2.
    """
    parser = argparse.ArgumentParser(prog="python -m lrm_hf.training.furniture_library", description=main.__doc__)
    parser.add_argument("libraries", nargs="+", type=Path, help=".sh3f files")
    parser.add_argument("output", type=Path, help="folder for the .glb files, made if missing")
    parser.add_argument(
        "--leave-out", nargs="+", default=[], metavar="PATTERN", help="objects' file names that are left out"
    )
    parser.add_argument(
        "--without", nargs="+", type=Path, default=[], metavar="DIR", help="leave out what these folders hold by name"
    )
    parser.add_argument(
        "--thinnest",
        type=float,
        default=0.05,
        help="leave out objects thinner than this share of their longest side (default 0.05)",
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.thinnest <= 1:
        parser.error(f"--thinnest must lie in [0, 1], got {options.thinnest}")
    taken = set()
    for folder in options.without:
        if not folder.is_dir():
            parser.error(f"--without {str(folder)!r} is not a folder")
        taken |= {path.stem for path in folder.iterdir() if path.suffix.lower() in MESH_SUFFIXES}
    options.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for library in options.libraries:
        try:
            for entry in convert_library(
                library, options.output, options.leave_out, options.thinnest, frozenset(taken)
            ):
                taken.add(entry.stem)
                rows.append((entry.stem, entry.name, entry.creator, library.stem, entry.licence))
        except (OSError, ValueError) as error:
            parser.error(f"{library}: {error}")
        print(f"{library.stem}: {len(rows)} objects so far", flush=True)
    with (
        replacing(options.output / ATTRIBUTION) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
