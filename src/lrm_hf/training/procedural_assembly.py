# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The workbench on which one procedural object is put together from primitives.

Objects stand upright (z up) with their front towards -y, in any unit; they are centred and scaled afterwards. Sizes are
half extents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np

from . import procedural_primitives as primitives
from .procedural_primitives import HOLLOW, SOLID, TORUS, Quadric
from .procedural_textures import Material


MAX_PRIMITIVES = 24

Vector = Sequence[float] | np.ndarray
_OPEN = 1.02  # a cavity reaches this far beyond a face that it opens


@dataclass(frozen=True)
class Cavity:
    """What a hollow primitive lacks: a box in the primitive's frame, cut by a quadric."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    quadric: Quadric


@dataclass(frozen=True)
class Part:
    """One primitive: its local frame maps p to `rotation @ (size * p) + centre`."""

    kind: int
    quadric: Quadric
    size: tuple[float, float, float]
    centre: tuple[float, float, float]
    rotation: np.ndarray
    material: Material
    cavity: Cavity | None = None
    tube: float = 0.0


def turn(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """The rotation about x, then y, then z, in degrees."""
    result = np.eye(3)
    for axis, degrees in enumerate((x, y, z)):
        if degrees:
            cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
            step = np.eye(3)
            first, second = ((1, 2), (2, 0), (0, 1))[axis]
            step[first, first], step[first, second], step[second, first], step[second, second] = cos, -sin, sin, cos
            result = step @ result
    return result


def upwards_to(direction: Vector) -> np.ndarray:
    """A rotation that takes +z to `direction`, keeping x horizontal where it can."""
    z = np.asarray(direction, dtype=float)
    z = z / np.linalg.norm(z)
    reference = np.array([0.0, 1.0, 0.0]) if abs(z[1]) < 0.95 else np.array([1.0, 0.0, 0.0])
    x = np.cross(reference, z)
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def shell(quadric: Quadric, inner: float, floor: float = 0.1, through: bool = False) -> Cavity:
    """The inside of a vessel that is open at its top: radius `inner` of the outer one, `floor` of the height closed."""
    qx, qy, c2, c1, c0 = quadric
    squared = inner * inner
    low = -_OPEN if through else -1 + 2 * floor
    return Cavity((-inner, -inner, low), (inner, inner, _OPEN), (qx / squared, qy / squared, c2, c1, c0))


def tube_shell(top: float, inner: float, floor: float = 0.1, through: bool = False) -> Cavity:
    """The inside of `Assembly.tube` with the same `top`."""
    quadric = primitives.frustum(1.0, 1 / top) if top > 1 else primitives.frustum(top)
    return shell(quadric, inner, floor, through)


def bowl_inside(inner: float) -> Cavity:
    """The inside of a `BOWL`, concentric with it."""
    squared = inner * inner
    quadric = (1 / squared, 1 / squared, 0.25 / squared, -0.5 / squared, 0.25 / squared - 1)
    return Cavity((-1.0, -1.0, -1.0), (1.0, 1.0, _OPEN), quadric)


def open_front(side: float, back: float, height: float | None = None) -> Cavity:
    """The inside of a box without its front (-y): wall thicknesses as fractions of the half extents."""
    height = side if height is None else height
    return Cavity((-1 + side, -_OPEN, -1 + height), (1 - side, 1 - back, 1 - height), primitives.BOX)


def _triple(vector: Vector) -> tuple[float, float, float]:
    x, y, z = vector
    return float(x), float(y), float(z)


class Assembly:
    """Collects the parts of one object. All randomness comes from the object's own stream, `random`."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.parts: list[Part] = []

    # draws
    def uniform(self, low: float, high: float) -> float:
        return self.random.uniform(low, high)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def pick(self, *options: Any) -> Any:
        return self.random.choice(options)

    def count(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    # parts
    def add(
        self,
        quadric: Quadric,
        size: Vector,
        at: Vector,
        material: Material,
        rotation: np.ndarray | None = None,
        cavity: Cavity | None = None,
    ) -> None:
        """Any box cut by a quadric, with half extents `size` about `at`."""
        kind = SOLID if cavity is None else HOLLOW
        rotation = np.eye(3) if rotation is None else rotation
        self.parts.append(Part(kind, quadric, _triple(size), _triple(at), rotation, material, cavity))

    def box(
        self,
        size: Vector,
        at: Vector,
        material: Material,
        rotation: np.ndarray | None = None,
        cavity: Cavity | None = None,
    ) -> None:
        self.add(primitives.BOX, size, at, material, rotation, cavity)

    def ball(self, size: Vector, at: Vector, material: Material, rotation: np.ndarray | None = None) -> None:
        self.add(primitives.ELLIPSOID, size, at, material, rotation)

    def tube(
        self,
        radius: float,
        half_height: float,
        at: Vector,
        material: Material,
        top: float = 1.0,
        rotation: np.ndarray | None = None,
        cavity: Cavity | None = None,
    ) -> None:
        """A cylinder, or a frustum whose top radius is `top` times the lower one (over 1: the wide end is up)."""
        if top > 1:
            quadric, radius = primitives.frustum(1.0, 1 / top), radius * top
        else:
            quadric = primitives.CYLINDER if top == 1 else primitives.frustum(top)
        self.add(quadric, (radius, radius, half_height), at, material, rotation, cavity)

    def ring(
        self, radius: float, thickness: float, at: Vector, material: Material, rotation: np.ndarray | None = None
    ) -> None:
        """A torus about the local z axis: outer `radius`, tube radius `thickness`."""
        rotation = np.eye(3) if rotation is None else rotation
        size = (radius, radius, radius)
        tube = min(thickness / radius, 0.49)
        self.parts.append(Part(TORUS, primitives.BOX, size, _triple(at), rotation, material, None, tube))

    def rod(
        self,
        start: Vector,
        end: Vector,
        radius: float,
        material: Material,
        top: float = 1.0,
        square: bool = False,
        quadric: Quadric | None = None,
    ) -> None:
        """A bar from `start` to `end`: round, tapered to `top`, square, or of any quadric."""
        first, last = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
        length = float(np.linalg.norm(last - first))
        rotation = upwards_to(last - first)
        middle = (first + last) / 2
        if quadric is None and not square:
            self.tube(radius, length / 2, middle, material, top, rotation)
            return
        self.add(quadric or primitives.BOX, (radius, radius, length / 2), middle, material, rotation)

    def disc(self, radius: float, thickness: float, at: Vector, material: Material, axis: Vector = (0, 1, 0)) -> None:
        """A flat cylinder about `axis`: wheels, dials, lids."""
        self.add(primitives.CYLINDER, (radius, radius, thickness), at, material, upwards_to(axis))

    def four(self, x: float, y: float) -> list[tuple[float, float]]:
        """The corners (+-x, +-y) of a rectangle."""
        return [(sx * x, sy * y) for sx in (-1, 1) for sy in (-1, 1)]

    def moved(self, first: int, offset: Vector, rotation: np.ndarray | None = None) -> None:
        """Turns all parts from number `first` on about the origin, then shifts them."""
        rotation = np.eye(3) if rotation is None else rotation
        for index in range(first, len(self.parts)):
            part = self.parts[index]
            centre = _triple(rotation @ np.asarray(part.centre) + np.asarray(offset))
            self.parts[index] = replace(part, centre=centre, rotation=rotation @ part.rotation)
