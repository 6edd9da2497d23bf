# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Pictures of mesh files for training and evaluation: load, ray cast, shade, write.

Ray casting is done by embree (extra `train`). As a program, it renders a folder of meshes:

    python -m lrm_hf.training.mesh_views SRC_DIR OUT_DIR --size 128 --sources 4 --targets 12 --variants 2
"""

from __future__ import annotations

import argparse
import os
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..cameras import DEFAULT_DISTANCE, DEFAULT_FOCAL, Cameras, camera_rays, orbit_cameras, project_points
from .mesh_objects import MESH_SUFFIXES, MeshObject, MeshWarp, load_object
from .views import ObjectViews, shade


MAX_LAYERS = 6  # translucent surfaces followed along one ray
# Distance by which a ray restarts behind a translucent surface: above float32 noise at unit scale, below any
# thickness that a pixel could show.
RESTART = 1e-4


def render_views(mesh_object: MeshObject, cameras: Cameras, size: int, antialias: int = 2) -> ObjectViews:
    """Ray casts the object from each camera, shaded by its geometric normals under the light of all data sets.

    Surfaces are two-sided. Translucent ones are blended front to back over up to 6 layers. Each pixel is the mean of
    `antialias` x `antialias` rays, taken on premultiplied colours.

    Args:
        mesh_object: from `load_object`.
        cameras: shape `(views,)`.
        size: height and width in pixels.
        antialias: rays per pixel along each axis.

    Returns:
        `ObjectViews`. A ray's depth is the distance to the surface at which the opacity in front reaches 0.5, a
        pixel's the lower median over its rays that have one; 0 where the pixel's opacity is below 0.5.

    Raises:
        ImportError: if the extra `train` is not installed.
        ValueError: if `cameras` is not of shape (views,), or `size` or `antialias` is not a positive integer.
    """
    if len(cameras.shape) != 1:
        raise ValueError(f"`cameras` must have shape (views,), got {tuple(cameras.shape)}.")
    for name, value in (("size", size), ("antialias", antialias)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a positive integer, got {value!r}.")
    caster = _Caster(mesh_object)
    full = size * antialias
    rgba = np.zeros((len(cameras), 4, size, size), dtype=np.uint8)
    depth = np.zeros((len(cameras), size, size), dtype=np.float16)
    windows = _windows(cameras, mesh_object.bounds, size)
    for index, (top, left, bottom, right) in enumerate(windows):  # windows differ in size: one cast per view
        height, width = bottom - top, right - left
        if height <= 0 or width <= 0:
            continue
        camera = cameras[index]
        anchor = torch.tensor([top * antialias, left * antialias], dtype=torch.float32)
        origins, directions = camera_rays(camera, height * antialias, width * antialias, anchor, (full, full))
        footprint = 1.0 / (full * float(camera.intrinsics[1, 1]))
        colour, distance = caster.cast(
            origins.reshape(-1, 3).numpy(), directions.reshape(-1, 3).numpy().astype(np.float32), footprint
        )
        colour = colour.reshape(height, antialias, width, antialias, 4).mean(axis=(1, 3))
        opacity = colour[..., 3:]
        straight = np.divide(colour[..., :3], opacity, out=np.zeros_like(colour[..., :3]), where=opacity > 1e-6)
        pixels = np.concatenate([straight, opacity], axis=-1).clip(0, 1)
        rgba[index, :, top:bottom, left:right] = np.rint(pixels * 255).astype(np.uint8).transpose(2, 0, 1)
        distance = distance.reshape(height, antialias, width, antialias).transpose(0, 2, 1, 3)
        distance = np.sort(distance.reshape(height, width, -1), axis=-1)
        middle = np.maximum(np.isfinite(distance).sum(axis=-1, keepdims=True) - 1, 0) // 2
        median = np.take_along_axis(distance, middle, axis=-1)[..., 0]
        valid = np.isfinite(median) & (opacity[..., 0] >= 0.5)
        depth[index, top:bottom, left:right] = np.where(valid, median, 0.0)
    return ObjectViews(torch.from_numpy(rgba), torch.from_numpy(depth), cameras)


def view_angles(rng: np.random.Generator, sources: int, targets: int) -> tuple[np.ndarray, np.ndarray]:
    """Azimuths and elevations in degrees, `(sources + targets,)` each, of one object's training views.

    Sources are at azimuth 0: the first at elevation 20, the others uniform in [0, 40]. Targets are stratified over the
    circle with jitter; half of them at elevation 20, the others uniform in [-15, 60].
    """
    source_elevations = rng.uniform(0, 40, sources)
    source_elevations[:1] = 20.0
    azimuths = (np.arange(targets) + rng.uniform(0, 1, targets)) * (360.0 / max(targets, 1))
    elevations = rng.uniform(-15, 60, targets)
    elevations[rng.permutation(targets)[: (targets + 1) // 2]] = 20.0
    return np.concatenate([np.zeros(sources), azimuths]), np.concatenate([source_elevations, elevations])


def training_cameras(
    path: str | os.PathLike[str],
    variant: int = 0,
    sources: int = 4,
    targets: int = 12,
    seed: int = 0,
    distance: float = DEFAULT_DISTANCE,
    focal: float = DEFAULT_FOCAL,
) -> Cameras:
    """`view_angles` at `distance` and `focal`, shape `(sources + targets,)`. Everything random follows from the file's
    name, `variant` and `seed` alone; the file is not read."""
    rng = _rng(path, variant, seed)
    rng.uniform(0, 360)  # the object's turn
    azimuths, elevations = view_angles(rng, sources, targets)
    return orbit_cameras(
        azimuths=torch.from_numpy(azimuths), elevation=torch.from_numpy(elevations), distance=distance, focal=focal
    )


def training_object(
    path: str | os.PathLike[str],
    variant: int = 0,
    sources: int = 4,
    targets: int = 12,
    seed: int = 0,
    fronts: int = 1,
    stretch: float = 0.0,
    warp: float = 0.0,
) -> MeshObject:
    """A variant of the object in a file.

    Variant 0 is the object as it is. Others are stretched along each axis by factors whose logarithms are uniform in
    `[-stretch, stretch]`, warped (`MeshWarp.draw` of strength `warp`), and, from number `fronts` on, turned about z by
    a uniform angle. `sources` and `targets` are those of `training_cameras`, which draws from the same numbers.
    """
    rng = _rng(path, variant, seed)
    yaw = rng.uniform(0, 360)
    view_angles(rng, sources, targets)
    mesh_object = load_object(path)
    if variant and stretch:
        mesh_object = mesh_object.stretch(np.exp(rng.uniform(-stretch, stretch, 3)))
    if variant and warp:
        mesh_object = mesh_object.warp(MeshWarp.draw(rng, warp))
    if variant >= fronts:
        mesh_object = mesh_object.rotate_about_z(yaw)
    return mesh_object


def render_training_views(
    path: str | os.PathLike,
    variant: int,
    size: int = 128,
    antialias: int = 2,
    sources: int = 4,
    targets: int = 12,
    seed: int = 0,
    fronts: int = 1,
    stretch: float = 0.0,
    warp: float = 0.0,
    distance: float = DEFAULT_DISTANCE,
    focal: float = DEFAULT_FOCAL,
) -> ObjectViews:
    """The training views of one file: `training_object` from `training_cameras`."""
    cameras = training_cameras(path, variant, sources, targets, seed, distance, focal)
    mesh_object = training_object(path, variant, sources, targets, seed, fronts, stretch, warp)
    return render_views(mesh_object, cameras, size, antialias)


def require_ray_caster() -> None:
    """
    Raises:
        ImportError: if embreex is not installed; it names the extra.
    """
    try:
        import embreex.mesh_construction
        import embreex.rtcore_scene  # noqa: F401
    except ImportError as error:
        raise ImportError('ray casting needs embreex: `pip install "lrm_hf[train]"`.') from error


def _rng(path: str | os.PathLike[str], variant: int, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(Path(path).stem.encode()), variant])


class _Caster:
    """Embree scene and flat colour tables of one object."""

    def __init__(self, mesh_object: MeshObject) -> None:
        require_ray_caster()
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        triangles = np.ascontiguousarray(mesh_object.triangles, dtype=np.float32)
        self.scene = EmbreeScene()
        self.mesh = TriangleMesh(self.scene, triangles)
        first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
        cross = np.cross(first.astype(np.float64), second.astype(np.float64))
        double_area = np.linalg.norm(cross, axis=-1)
        self.normals = (cross / np.maximum(double_area, 1e-30)[:, None]).astype(np.float32)
        self.uv, self.colours, self.texture_index = mesh_object.uv, mesh_object.colours, mesh_object.texture_index
        # all levels of all textures in one table of texels, so that one gather answers rays on any surface
        pyramids = [_pyramid(texture) for texture in mesh_object.textures]
        self.levels = np.array([len(pyramid) for pyramid in pyramids])
        self.shapes = np.ones((len(pyramids), int(self.levels.max()), 2), dtype=np.int64)
        self.starts = np.zeros(self.shapes.shape[:2], dtype=np.int64)
        start = 0
        for index, pyramid in enumerate(pyramids):
            for level, image in enumerate(pyramid):
                self.shapes[index, level], self.starts[index, level] = image.shape[:2], start
                start += image.shape[0] * image.shape[1]
        self.texels = np.concatenate([image.reshape(-1, 4) for pyramid in pyramids for image in pyramid])
        # log2 of texels per world unit on each face, which chooses the level at a given footprint
        edge, other = self.uv[:, 1] - self.uv[:, 0], self.uv[:, 2] - self.uv[:, 0]
        base = self.shapes[self.texture_index, 0].prod(axis=-1)
        texel_area = np.abs(edge[:, 0] * other[:, 1] - edge[:, 1] * other[:, 0]) * base
        self.texel_density = 0.5 * np.log2(np.maximum(texel_area, 1e-12) / np.maximum(double_area, 1e-12))

    def cast(self, origins: np.ndarray, directions: np.ndarray, footprint: float) -> tuple[np.ndarray, np.ndarray]:
        """Premultiplied RGBA `(rays, 4)` and distance `(rays,)`, infinite where the opacity stays below 0.5.

        `footprint` is the width that one ray stands for at distance 1.
        """
        colour = np.zeros((len(origins), 4), dtype=np.float32)
        depth = np.full(len(origins), np.inf, dtype=np.float32)
        live = np.arange(len(origins))
        travelled = np.zeros(len(origins), dtype=np.float32)
        for _ in range(MAX_LAYERS):
            direction = np.ascontiguousarray(directions[live])
            start = np.ascontiguousarray(origins[live] + direction * travelled[live, None], dtype=np.float32)
            result = self.scene.run(start, direction, output=True)
            hit = result["primID"] >= 0
            live, face = live[hit], result["primID"][hit].astype(np.int64)
            if len(live) == 0:
                break
            distance = travelled[live] + result["tfar"][hit]
            level = self.texel_density[face] + np.log2(distance * footprint)
            surface = self._albedo(face, result["u"][hit], result["v"][hit], level)
            normal = self.normals[face]
            towards = (normal * direction[hit]).sum(axis=-1, keepdims=True) > 0
            normal = np.where(towards, -normal, normal)
            surface[:, :3] = shade(torch.from_numpy(surface[:, :3]), torch.from_numpy(normal)).numpy()
            before = colour[live, 3]
            colour[live] += (1 - before)[:, None] * surface
            after = colour[live, 3]
            crossed = (before < 0.5) & (after >= 0.5)
            depth[live[crossed]] = distance[crossed]
            travelled[live] = distance + RESTART
            live = live[after < 1 - 1 / 512]
            if len(live) == 0:
                break
        return colour, depth

    def _albedo(self, face: np.ndarray, u: np.ndarray, v: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Premultiplied RGBA `(hits, 4)` at barycentric (u, v) of the faces."""
        weights = np.stack([1 - u - v, u, v], axis=-1).astype(np.float32)[..., None]
        corner = (self.colours[face] * weights).sum(axis=1)
        texture = self.texture_index[face]
        level = np.clip(np.rint(level), 0, self.levels[texture] - 1).astype(np.int64)
        start = self.starts[texture, level]
        height, width = self.shapes[texture, level].T
        uv = (self.uv[face] * weights).sum(axis=1, dtype=np.float64)
        x = uv[:, 0] * width - 0.5
        y = (1 - uv[:, 1]) * height - 0.5
        x0, y0 = np.floor(x), np.floor(y)
        fx, fy = (x - x0).astype(np.float32)[:, None], (y - y0).astype(np.float32)[:, None]
        x0, y0 = x0.astype(np.int64) % width, y0.astype(np.int64) % height
        x1, y1 = (x0 + 1) % width, (y0 + 1) % height
        upper, lower = start + y0 * width, start + y1 * width
        texels = self.texels
        sampled = (texels[upper + x0] * (1 - fx) + texels[upper + x1] * fx) * (1 - fy)
        sampled += (texels[lower + x0] * (1 - fx) + texels[lower + x1] * fx) * fy
        sampled[:, :3] *= corner[:, :3] * corner[:, 3:]
        sampled[:, 3] *= corner[:, 3]
        return sampled


def _windows(cameras: Cameras, bounds: np.ndarray, size: int) -> list[tuple[int, int, int, int]]:
    """Pixel rectangles (top, left, bottom, right) that hold the projected box; the whole picture where the box
    reaches behind the camera."""
    corners = np.stack(np.meshgrid(*bounds.T, indexing="ij"), axis=-1).reshape(-1, 3)
    uv, depth = project_points(cameras, torch.from_numpy(corners.astype(np.float32)))
    low = (uv.amin(dim=1) * size).floor().sub(1).clamp(0, size).int()
    high = (uv.amax(dim=1) * size).ceil().add(1).clamp(0, size).int()
    behind = (depth < 1e-3).any(dim=1)
    low[behind], high[behind] = 0, size
    return [(*a.flip(0).tolist(), *b.flip(0).tolist()) for a, b in zip(low, high, strict=True)]


def _pyramid(texture: np.ndarray) -> list[np.ndarray]:
    """The texture and its halvings down to one texel."""
    levels = [texture]
    while max(levels[-1].shape[:2]) > 1:
        image = torch.from_numpy(levels[-1]).permute(2, 0, 1)
        half = ((image.shape[1] + 1) // 2, (image.shape[2] + 1) // 2)
        image = torch.nn.functional.adaptive_avg_pool2d(image, half)
        levels.append(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    return levels


def _render_to_file(path: Path, target: Path, variant: int, options: dict[str, Any]) -> None:
    torch.set_num_threads(1)  # the processes are the parallelism
    render_training_views(path, variant, **options).save(target)


def _at_least(least: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    return integer


def main(arguments: list[str] | None = None) -> int:
    """Renders a folder of meshes to `{object}_{variant}.npz`. Files that exist are skipped, so a stopped run resumes.

    Returns:
        0, 1 if some files could not be rendered, 2 on bad arguments.
    """
    parser = argparse.ArgumentParser(prog="python -m lrm_hf.training.mesh_views", description=main.__doc__)
    parser.add_argument("source", type=Path, help="folder of mesh files")
    parser.add_argument("output", type=Path, help="folder for the .npz files, made if missing")
    for name, default, least, text in (
        ("size", 128, 1, "picture side in pixels"),
        ("antialias", 2, 1, "rays per pixel along each axis"),
        ("sources", 4, 0, "views at azimuth 0"),
        ("targets", 12, 0, "views around the object"),
        ("variants", 2, 1, "of each object; the first is the object as it is"),
        ("fronts", 1, 1, "variants that keep the object's own front; later ones are turned about z"),
        ("seed", 0, 0, "of angles, turns and stretches"),
        ("workers", 1, 1, "processes"),
    ):
        parser.add_argument(f"--{name}", type=_at_least(least), default=default, help=f"{text} (default {default})")
    parser.add_argument(
        "--stretch", type=float, default=0.0, help="largest logarithm of a variant's stretch along an axis (default 0)"
    )
    parser.add_argument("--warp", type=float, default=0.0, help="strength of a variant's change of shape (default 0)")
    parser.add_argument("--limit", type=_at_least(1), default=None, help="only the first N objects")
    options = parser.parse_args(arguments)
    if not 0 <= options.stretch <= 1:
        parser.error(f"--stretch must lie in [0, 1], got {options.stretch}")
    if not 0 <= options.warp < 0.5:
        parser.error(f"--warp must lie in [0, 0.5), got {options.warp}")
    if not options.source.is_dir():
        parser.error(f"SRC_DIR {os.fspath(options.source)!r} is not a folder")
    paths = sorted(path for path in options.source.iterdir() if path.suffix.lower() in MESH_SUFFIXES)
    if not paths:
        parser.error(f"SRC_DIR {os.fspath(options.source)!r} holds no mesh files ({', '.join(MESH_SUFFIXES)})")
    stems = [path.stem for path in paths]
    repeated = sorted({stem for stem in stems if stems.count(stem) > 1})
    if repeated:
        parser.error(f"objects with the same name would overwrite each other: {', '.join(repeated)}")
    options.output.mkdir(parents=True, exist_ok=True)
    jobs = [
        (path, options.output / f"{path.stem}_{variant}.npz", variant)
        for variant in range(options.variants)  # a run that is cut short covers all objects
        for path in paths[: options.limit]
    ]
    todo = [job for job in jobs if not job[1].exists()]
    print(f"{len(todo)} of {len(jobs)} files to render", flush=True)
    names = ("size", "antialias", "sources", "targets", "seed", "fronts", "stretch", "warp")
    settings = {name: getattr(options, name) for name in names}
    failed = 0
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_render_to_file, *job, settings): job for job in todo}
        for done, future in enumerate(as_completed(futures), 1):
            try:
                future.result()
            except Exception as error:  # one bad file must not stop the others; it is counted and named
                failed += 1
                print(f"{futures[future][0].name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            if done % 50 == 0 or done == len(todo):
                print(f"{done}/{len(todo)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
