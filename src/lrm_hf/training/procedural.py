# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Procedural objects: endless training data with exact geometry, from a seed.

    objects = sample_objects(8, torch.Generator().manual_seed(0))
    views = objects.render(orbit_cameras(4).expand(8, 4), size=128, antialias=2)

`python -m lrm_hf.training.procedural OUT_DIR --num-objects 2000` renders a pool of them to files.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..cameras import DEFAULT_DISTANCE, DEFAULT_FOCAL, Cameras, orbit_cameras
from . import procedural_rendering as rendering
from .procedural_assembly import MAX_PRIMITIVES, Assembly, Part
from .procedural_families import compose
from .procedural_primitives import BOX, INACTIVE, TORUS, inside, surface_points
from .views import ObjectViews


@dataclass
class ProceduralObjects:
    """A batch of solids, each a union of primitives in `slots` places.

    A primitive's local frame maps p to world `rotation @ (half_size * p) + centre`; what it is there is told in
    `procedural_primitives`. Objects stand upright (z up), are centred on the origin, and reach to distance 1 from it.

    Attributes:
        kind: `(objects, slots)` int64: inactive, solid, hollow or torus.
        rotation: `(objects, slots, 3, 3)`; centre, half_size: `(objects, slots, 3)`.
        quadric: `(objects, slots, 5)`.
        cavity: `(objects, slots, 11)`: low (3) and high (3) corner, quadric (5).
        tube: `(objects, slots)` tube radius of tori in their local frame.
        material: `(objects, slots, 12)`: colour (3), second colour (3), axis (3), frequency, phase, texture.
        names: the family of each object.
    """

    kind: Tensor
    rotation: Tensor
    centre: Tensor
    half_size: Tensor
    quadric: Tensor
    cavity: Tensor
    tube: Tensor
    material: Tensor
    names: list[str]

    def __len__(self) -> int:
        return self.kind.shape[0]

    @property
    def to_local(self) -> Tensor:
        """`(objects, slots, 3, 3)`: a world offset from the centre -> the local frame."""
        return self.rotation.transpose(-1, -2) / self.half_size[..., None]

    def to(self, device: torch.device | str) -> ProceduralObjects:
        return self._map(lambda value: value.to(device) if isinstance(value, Tensor) else value)

    def __getitem__(self, index: slice) -> ProceduralObjects:
        if not isinstance(index, slice):
            raise TypeError(f"`index` must be a slice, got {type(index).__name__}.")
        return self._map(lambda value: value[index])

    def _map(self, function: Callable[[Any], Any]) -> ProceduralObjects:
        return ProceduralObjects(*(function(getattr(self, field.name)) for field in fields(self)))

    def render(self, cameras: Cameras, size: int, antialias: int = 1, max_rays: int = 1 << 19) -> list[ObjectViews]:
        """Pictures with the light of `shade` and exact depth.

        Args:
            cameras: shape `(objects, views)`, outside of the objects.
            size: height and width in pixels.
            antialias: edge pixels are the mean of `antialias`^2 rays; other pixels are their centre ray.
            max_rays: pixels to hold at a time; more is faster on a GPU and takes more memory.

        Returns:
            One `ObjectViews` per object. Depth is that of the pixel's centre ray, 0 where that ray misses.

        Raises:
            ValueError: if the cameras' shape does not fit, or a number is not positive.
        """
        if len(cameras.shape) != 2 or cameras.shape[0] != len(self):
            raise ValueError(f"`cameras` must have shape ({len(self)}, views), got {tuple(cameras.shape)}.")
        for name, value in (("size", size), ("antialias", antialias)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a positive integer, got {value!r}.")
        views = cameras.shape[1]
        at_a_time = max(1, max_rays // (views * size * size))
        result = []
        for start in range(0, len(self), at_a_time):
            part, chosen = self[start : start + at_a_time], cameras[start : start + at_a_time]
            result += part._render(chosen, size, antialias)
        return result

    def _render(self, cameras: Cameras, size: int, antialias: int) -> list[ObjectViews]:
        views = cameras.shape[1]
        scene = rendering.build_scene(self.to_local, self.centre, self._table(), cameras)
        candidates = rendering.tile_candidates(self._corners(), self.kind != INACTIVE, cameras, size)
        rgb, alpha, depth = rendering.render_scene(scene, candidates, size, antialias)
        rgba = torch.cat([rgb.permute(0, 3, 1, 2), alpha[:, None]], dim=1)
        rgba = (rgba * 255).round().to(torch.uint8).unflatten(0, (len(self), views))
        depth = depth.half().unflatten(0, (len(self), views))
        return [ObjectViews(rgba[i], depth[i], cameras[i]) for i in range(len(self))]

    def occupancy(self, points: Tensor) -> Tensor:
        """Whether points lie in the solid.

        Args:
            points: `(objects, n, 3)` in world units.

        Returns:
            `(objects, n)` bool.

        Raises:
            ValueError: if the shape does not fit.
        """
        if points.ndim != 3 or points.shape[0] != len(self) or points.shape[2] != 3:
            raise ValueError(f"`points` must have shape ({len(self)}, n, 3), got {tuple(points.shape)}.")
        result = torch.zeros(points.shape[:2], dtype=torch.bool, device=points.device)
        to_local = self.to_local
        # one slot at a time bounds the memory to that of the points
        for slot in range(self.kind.shape[1]):
            local = (points - self.centre[:, slot, None]) @ to_local[:, slot].transpose(-1, -2)
            quadric = self.quadric[:, slot, :, None].unbind(1)
            cavity = self.cavity[:, slot, :, None].unbind(1)
            kind, tube = self.kind[:, slot, None], self.tube[:, slot, None]
            result |= inside(kind, local.unbind(-1), quadric, cavity[:3], cavity[3:6], cavity[6:], tube)
        return result

    def _corners(self) -> Tensor:
        """`(objects, slots, 8, 3)` world corners of the primitives' boxes."""
        sign = torch.tensor([-1.0, 1.0], device=self.centre.device)
        corners = torch.cartesian_prod(sign, sign, sign).expand(*self.kind.shape, 8, 3).clone()
        corners[..., 2] *= torch.where(self.kind == TORUS, self.tube, torch.ones_like(self.tube))[..., None]
        return self._to_world(corners)

    def _to_world(self, local: Tensor) -> Tensor:
        scaled = local * self.half_size[..., None, :]
        return scaled @ self.rotation.transpose(-1, -2) + self.centre[..., None, :]

    def _table(self) -> Tensor:
        """`(42, objects * slots)` in the rows that `procedural_rendering` names."""
        columns = [self.to_local.flatten(2), self.quadric, self.cavity, self.tube[..., None], self.half_size]
        columns += [self.material, self.kind[..., None].to(self.centre.dtype)]
        return torch.cat(columns, dim=-1).flatten(0, 1).t().contiguous()

    def normalised(self) -> ProceduralObjects:
        """Centred by the bounding box and scaled so that the farthest surface point is at distance 1."""
        # a few objects at a time: each has up to 24 primitives with over a thousand points
        pieces = [self[start : start + 16]._extent() for start in range(0, len(self), 16)]
        middle = torch.cat([piece[0] for piece in pieces])
        scale = torch.cat([piece[1] for piece in pieces]).reciprocal()[:, None, None]
        return ProceduralObjects(
            self.kind,
            self.rotation,
            (self.centre - middle) * scale,
            self.half_size * scale,
            self.quadric,
            self.cavity,
            self.tube,
            self.material,
            self.names,
        )

    def _extent(self) -> tuple[Tensor, Tensor]:
        """`(objects, 1, 3)` centres of the bounding boxes, `(objects,)` largest distances of the surface from them."""
        points, valid = surface_points(self.kind.flatten(), self.quadric.flatten(0, 1), self.tube.flatten())
        points = self._to_world(points.unflatten(0, self.kind.shape)).flatten(1, 2)
        valid = valid.unflatten(0, self.kind.shape).flatten(1, 2)[..., None]
        low = torch.where(valid, points, torch.inf).amin(1, keepdim=True)
        high = torch.where(valid, points, -torch.inf).amax(1, keepdim=True)
        middle = (low + high) / 2
        return middle, torch.where(valid[..., 0], (points - middle).norm(dim=-1), 0.0).amax(1)

    def turned(self, degrees: Tensor) -> ProceduralObjects:
        """Each object turned about z by its angle, `(objects,)` degrees counter-clockwise seen from above."""
        angle = torch.deg2rad(degrees.to(self.centre))
        cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
        matrix = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], -1).reshape(-1, 1, 3, 3)
        centre = (matrix @ self.centre[..., None])[..., 0]
        rest = (self.half_size, self.quadric, self.cavity, self.tube, self.material, self.names)
        return ProceduralObjects(self.kind, matrix @ self.rotation, centre, *rest)


def sample_objects(
    num_objects: int,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    family: str | None = None,
) -> ProceduralObjects:
    """Draws objects: about two thirds of composed families, one third of free unions of primitives.

    Half of them face the source camera, the others are turned about z by any angle. An object depends on its own draw
    from `generator` only, not on how many are drawn at a time.

    Args:
        num_objects: how many.
        generator: the source of randomness; default torch's own.
        device: where the tensors go.
        family: only objects of this family; default a weighted mixture.

    Raises:
        ValueError: if `num_objects` is not positive or `family` is unknown.
    """
    if isinstance(num_objects, bool) or not isinstance(num_objects, int) or num_objects < 1:
        raise ValueError(f"`num_objects` must be a positive integer, got {num_objects!r}.")
    where = generator.device if generator is not None else "cpu"
    seeds = torch.randint(2**62, (num_objects,), generator=generator, device=where).tolist()
    names, parts, yaws = [], [], []
    # composing is branching, not arithmetic: a loop here costs less than a millisecond per object
    for seed in seeds:
        assembly = Assembly(seed)
        names.append(compose(assembly, family))
        if not 1 <= len(assembly.parts) <= MAX_PRIMITIVES:
            raise RuntimeError(f"a {names[-1]!r} came out with {len(assembly.parts)} parts, at most {MAX_PRIMITIVES}.")
        parts.append(assembly.parts)
        yaws.append(0.0 if assembly.chance(0.5) else assembly.uniform(0, 360))
    objects = _pack(parts, names).normalised().turned(torch.tensor(yaws))
    return objects.to(device)


def _pack(objects: list[list[Part]], names: list[str]) -> ProceduralObjects:
    """Lists of parts -> batched tensors with `MAX_PRIMITIVES` slots."""
    no_cavity = (0.0,) * 6 + BOX
    idle = ([float(INACTIVE)] + [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0] + [0.0] * 3 + [1.0] * 3) + [*BOX, *no_cavity, 0.25]
    idle = idle + [0.0] * 12
    rows = []
    for parts in objects:
        for part in parts:
            cavity = part.cavity
            hollow = (*cavity.low, *cavity.high, *cavity.quadric) if cavity is not None else no_cavity
            m = part.material
            look = (*m.colour, *m.second, *m.axis, m.frequency, m.phase, float(m.texture))
            place = (*part.rotation.flatten().tolist(), *part.centre, *part.size)
            rows.append([float(part.kind), *place, *part.quadric, *hollow, part.tube or 0.25, *look])
        rows += [idle] * (MAX_PRIMITIVES - len(parts))
    table = torch.tensor(rows, dtype=torch.float64).reshape(len(objects), MAX_PRIMITIVES, -1).float()
    kind, rotation, centre, size, quadric, cavity, tube, material = table.split([1, 9, 3, 3, 5, 11, 1, 12], dim=-1)
    rotation = rotation.unflatten(-1, (3, 3))
    return ProceduralObjects(
        kind[..., 0].long(), rotation, centre, size, quadric, cavity, tube[..., 0], material, names
    )


def sample_cameras(sources: int, targets: int, generator: torch.Generator) -> Cameras:
    """The cameras of one object of a pool, shape `(sources + targets,)`.

    Sources are at azimuth 0, the first at elevation 20, the others anywhere in [0, 40]. Targets stand once in each of
    `targets` equal sectors of the circle, half of them at elevation 20, half anywhere in [-15, 60].
    """
    draw = torch.rand(4, max(sources, targets), generator=generator)
    source_elevation = draw[0, :sources] * 40
    source_elevation[:1] = 20.0
    azimuth = (torch.arange(targets) + draw[1, :targets]) * (360.0 / max(targets, 1))
    elevation = torch.where(draw[2, :targets] < 0.5, torch.full((targets,), 20.0), draw[3, :targets] * 75 - 15)
    return orbit_cameras(
        elevation=torch.cat([source_elevation, elevation]),
        azimuths=torch.cat([torch.zeros(sources), azimuth]),
        distance=DEFAULT_DISTANCE,
        focal=DEFAULT_FOCAL,
    )


def render_pool(
    out_dir: str | Path,
    num_objects: int,
    size: int = 128,
    antialias: int = 2,
    sources: int = 2,
    targets: int = 8,
    seed: int = 0,
    batch: int = 4,
    device: torch.device | str = "cpu",
) -> int:
    """Writes `{index:06d}.npz` for every index that is not there yet; file k depends on `seed` and k only.

    Returns:
        The number of files written.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    missing = [index for index in range(num_objects) if not (out_dir / f"{index:06d}.npz").exists()]
    begin, reported = time.perf_counter(), time.perf_counter()
    for start in range(0, len(missing), batch):
        chosen = missing[start : start + batch]
        drawn, cameras = [], []
        for index in chosen:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
            drawn.append(sample_objects(1, generator))
            cameras.append(sample_cameras(sources, targets, generator))
        objects = _concatenate(drawn).to(device)
        stacked = Cameras(torch.stack([c.cam2world for c in cameras]), torch.stack([c.intrinsics for c in cameras])).to(
            device
        )
        for index, views in zip(chosen, objects.render(stacked, size, antialias), strict=True):
            views.save(out_dir / f"{index:06d}.npz")
        now, done = time.perf_counter(), start + len(chosen)
        if now - reported > 30 or done == len(missing):
            rate = done * (sources + targets) / (now - begin)
            print(f"{done}/{len(missing)} objects, {rate:.1f} views/s", flush=True)
            reported = now
    return len(missing)


def _concatenate(batches: list[ProceduralObjects]) -> ProceduralObjects:
    tensors: dict[str, Any] = {
        field.name: torch.cat([getattr(batch, field.name) for batch in batches])
        for field in fields(ProceduralObjects)
        if field.name != "names"
    }
    return ProceduralObjects(**tensors, names=[name for batch in batches for name in batch.names])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m lrm_hf.training.procedural", description=render_pool.__doc__)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--num-objects", type=int, default=2000)
    parser.add_argument("--size", type=int, default=128, help="pixels of a side")
    parser.add_argument("--antialias", type=int, default=2, help="edge pixels take this number squared of rays")
    parser.add_argument("--sources", type=int, default=2, help="views from azimuth 0")
    parser.add_argument("--targets", type=int, default=8, help="views around the object")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=4, help="objects rendered together; does not change them")
    parser.add_argument("--device", default="cpu")
    render_pool(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
