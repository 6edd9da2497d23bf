# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What a protocol needs of each object, made from its mesh file once and kept in a cache directory."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..files import replacing
from .alignment import normalising, transform
from .images import on_background
from .protocols import Protocol
from .surfaces import Scene, SurfacePoints, cells_inside, is_watertight, sample_surface


@dataclass(frozen=True)
class GroundTruth:
    """One object under one protocol.

    Attributes:
        name: the file's name without suffix.
        sha256: of the file.
        faces: triangles with an area.
        watertight: whether each edge is shared by two triangles.
        picture: `(4, height, width)` uint8, the input with straight alpha.
        views: `(views, 4, height, width)` uint8, the input's view first; none where the protocol compares none.
        surface: points as the protocol normalises them.
        placement: `(4, 4)` similarity from the protocol's normalisation to the object's frame.
        inside: `(n, n, n)` bool, cells within the object, as the protocol normalises it.
    """

    name: str
    sha256: str
    faces: int
    watertight: bool
    picture: Tensor
    views: Tensor
    surface: SurfacePoints
    placement: np.ndarray
    inside: np.ndarray

    def targets(self, background: float) -> tuple[Tensor, Tensor]:
        """The views `(views, 3, height, width)` and their opacity `(views, 1, height, width)`, both in [0, 1]."""
        return on_background(self.views, background)


def find_objects(directory: str | os.PathLike, limit: int | None = None) -> list[Path]:
    """The mesh files of a directory, by name; the first `limit` of them.

    Raises:
        OSError: if there is no such directory.
        ValueError: if it holds no mesh file, or two of one name.
    """
    from ..training.data_sources import find_meshes

    return find_meshes(directory, limit)


def load_ground_truth(
    path: str | os.PathLike, protocol: Protocol, cache: str | os.PathLike | None = None
) -> GroundTruth:
    """An object's ground truth, from the cache where that has it for this file and protocol.

    Args:
        path: mesh file.
        protocol: what to make.
        cache: directory, made if missing; None: nothing is kept.

    Raises:
        ImportError: if embreex or trimesh is not installed.
        OSError, ValueError: if the file can't be read as a mesh.
    """
    path = Path(path)
    if not path.is_file():
        raise OSError(f"no mesh file at {os.fspath(path)!r}.")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if cache is None:
        return make_ground_truth(path, protocol, sha256)
    Path(cache).mkdir(parents=True, exist_ok=True)
    kept = cache_path(path, sha256, protocol, Path(cache), "npz")
    if not kept.is_file():
        truth = make_ground_truth(path, protocol, sha256)
        _save(truth, kept)
        return truth
    return _load(path.stem, sha256, kept)


def cache_path(path: Path, sha256: str, protocol: Protocol, cache: Path, suffix: str) -> Path:
    """Where something of this file's content under this protocol is kept."""
    return cache / f"{path.stem}.{sha256[:12]}.{protocol.name}.{protocol.hash}.{suffix}"


def make_ground_truth(path: Path, protocol: Protocol, sha256: str) -> GroundTruth:
    """Renders, samples and voxelises one file."""
    from ..training.mesh_views import load_object, render_views

    mesh_object = load_object(path)
    picture = render_views(mesh_object, protocol.input_camera().reshape(1), protocol.input_size, protocol.antialias)
    if protocol.azimuths:
        views = render_views(mesh_object, protocol.cameras(), protocol.size, protocol.antialias).rgba
    else:
        views = torch.zeros(0, 4, protocol.size, protocol.size, dtype=torch.uint8)
    rng = random_numbers(protocol, path.stem, "truth")
    scene = Scene(mesh_object.triangles)
    surface = sample_surface(scene, protocol.num_points, protocol.num_directions, rng)
    placement = np.eye(4)
    if protocol.normalisation == "cube":
        matrix = normalising(surface.points)
        placement = np.linalg.inv(matrix)
        surface = SurfacePoints(transform(matrix, surface.points), surface.normals)
        scene = Scene(transform(matrix, mesh_object.triangles.astype(np.float64)))
    return GroundTruth(
        name=path.stem,
        sha256=sha256,
        faces=len(mesh_object.triangles),
        watertight=is_watertight(mesh_object.triangles),
        picture=picture.rgba[0],
        views=views,
        surface=surface,
        placement=placement,
        inside=cells_inside(scene, protocol.volume_resolution, protocol.num_directions),
    )


def random_numbers(protocol: Protocol, name: str, use: str) -> np.random.Generator:
    """A generator that depends on the protocol's seed, the object and the use alone."""
    return np.random.default_rng([protocol.seed, zlib.crc32(name.encode()), zlib.crc32(use.encode())])


def _save(truth: GroundTruth, path: Path) -> None:
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            faces=truth.faces,
            watertight=truth.watertight,
            picture=truth.picture.numpy(),
            views=truth.views.numpy(),
            points=truth.surface.points,
            normals=truth.surface.normals,
            placement=truth.placement,
            inside=np.packbits(truth.inside),
        )


def _load(name: str, sha256: str, path: Path) -> GroundTruth:
    try:
        with np.load(path, allow_pickle=False) as data:
            resolution = data["inside"].size * 8
            resolution = round(resolution ** (1 / 3))
            return GroundTruth(
                name=name,
                sha256=sha256,
                faces=int(data["faces"]),
                watertight=bool(data["watertight"]),
                picture=torch.from_numpy(data["picture"]),
                views=torch.from_numpy(data["views"]),
                surface=SurfacePoints(data["points"], data["normals"]),
                placement=data["placement"],
                inside=np.unpackbits(data["inside"]).astype(bool).reshape((resolution,) * 3),
            )
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise OSError(f"{os.fspath(path)!r} is no ground truth that can be read, delete it: {error}") from error
