# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The mixture of object families, and the free unions of primitives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from . import procedural_furniture as furniture
from . import procedural_household as household
from . import procedural_primitives as shapes
from . import procedural_scenery as scenery
from . import procedural_seating as seating
from . import procedural_things as things
from . import procedural_vehicles as vehicles
from .procedural_assembly import MAX_PRIMITIVES, Assembly, turn
from .procedural_textures import Material, earthy, grey, metal, paint, pastel, patterned, saturated, white, wood


def pile(a: Assembly) -> None:
    """A free union: each primitive grows from the surface of an earlier one."""
    palette = _palette(a)
    upright = a.chance(0.4)
    for i in range(a.count(2, 9)):
        quadric, size = _free_shape(a)
        rotation = turn(z=a.pick(0, 0, 90, a.uniform(0, 360)))
        if not upright and a.chance(0.6):
            rotation = turn(a.uniform(0, 360), a.uniform(0, 360), a.uniform(0, 360))
        at = np.zeros(3)
        if i:
            host = a.pick(*a.parts)
            direction = np.array([a.random.gauss(0, 1) for _ in range(3)])
            direction = direction / np.linalg.norm(direction)
            at = host.rotation @ (direction * host.size) * 0.95 + host.centre
        if quadric is None:
            a.ring(size[0], size[0] * a.uniform(0.12, 0.4), at, a.pick(*palette), rotation)
        else:
            a.add(quadric, size, at, a.pick(*palette), rotation)


def mirrored(a: Assembly) -> None:
    """A pile and its mirror image in x = 0."""
    pile(a)
    a.parts = a.parts[: MAX_PRIMITIVES // 2]
    reach = a.uniform(0.0, 0.5)
    flip = np.diag([-1.0, 1.0, 1.0])
    for part in list(a.parts):
        centre = (abs(part.centre[0]) + reach * part.size[0], *part.centre[1:])
        a.parts[a.parts.index(part)] = replace(part, centre=centre)
        # mirrored twice, in the world and in the primitive's own symmetric frame, a rotation stays a rotation
        a.parts.append(replace(part, centre=(-centre[0], *centre[1:]), rotation=flip @ part.rotation @ flip))


def ringed(a: Assembly) -> None:
    """Copies of a few primitives around a vertical axis, about a core."""
    palette = _palette(a)
    fold = a.count(3, 6)
    for _ in range(a.count(1, 3)):
        quadric, size = _free_shape(a)
        rotation = turn(0 if a.chance(0.5) else a.uniform(-90, 90), a.pick(0, a.uniform(-90, 90)), 0)
        at, look = (a.uniform(0.2, 0.9), 0, a.uniform(-0.5, 0.5)), a.pick(*palette)
        for i in range(fold):
            m = turn(z=360 * i / fold)
            if quadric is None:
                a.ring(size[0], size[0] * 0.25, m @ at, look, m @ rotation)
            else:
                a.add(quadric, size, m @ at, look, m @ rotation)
    # a core that reaches them
    first = len(a.parts)
    reach = max(float(np.hypot(part.centre[0], part.centre[1])) for part in a.parts)
    thick = a.uniform(0.05, 0.4)
    quadric = a.pick(shapes.CYLINDER, shapes.ELLIPSOID, shapes.barrel(0.5), shapes.DOME)
    a.add(quadric, (reach, reach, thick), (0, 0, a.parts[0].centre[2]), a.pick(*palette))
    for _ in range(a.count(0, 2)):
        _stack_one(a, a.uniform(-0.4, 0.4), a.pick(*palette))
    a.parts = a.parts[first:] + a.parts[:first]


def turned_stack(a: Assembly) -> None:
    """Round or square pieces on top of each other, as from a lathe."""
    palette, level = _palette(a), 0.0
    for _ in range(a.count(2, 8)):
        half = _stack_one(a, None, a.pick(*palette), level)
        level += 2 * half * a.uniform(0.85, 1.0)
    if a.chance(0.3):
        a.moved(0, (0, 0, 0), turn(a.uniform(0, 360), a.uniform(0, 360), 0))


def _stack_one(a: Assembly, middle: float | None, look: Material, level: float = 0.0) -> float:
    half, r = math.exp(a.uniform(math.log(0.05), math.log(0.5))), math.exp(a.uniform(math.log(0.1), math.log(0.6)))
    quadric = a.pick(
        shapes.CYLINDER,
        shapes.frustum(a.uniform(0.1, 0.9)),
        shapes.frustum(1.0, a.uniform(0.2, 0.9)),
        shapes.ELLIPSOID,
        shapes.barrel(a.uniform(0.2, 0.8)),
        shapes.vase(a.uniform(0.3, 0.8)),
        shapes.DOME,
        shapes.BOX,
        shapes.cushion(a.uniform(1.3, 2.5)),
    )
    a.add(quadric, (r, r, half), (0, 0, level + half if middle is None else middle), look)
    return half


def _free_shape(a: Assembly) -> tuple[shapes.Quadric | None, tuple[float, float, float]]:
    """Any quadric, None for a torus, with its half extents."""
    low, high = math.log(0.1), math.log(0.7)
    x, y, z = (math.exp(a.uniform(low, high)) for _ in range(3))
    if a.chance(0.3):
        y = z = x
    elif a.chance(0.4):
        y = x
    if a.chance(0.08):
        return None, (x, y, z)
    quadric = a.pick(
        shapes.BOX,
        shapes.BOX,
        shapes.ELLIPSOID,
        shapes.CYLINDER,
        shapes.frustum(a.uniform(0, 0.9)),
        shapes.prism(a.uniform(0, 0.9)),
        shapes.cushion(a.uniform(1.2, 2.6)),
        shapes.rounded_slab(a.uniform(1.1, 1.8)),
        shapes.barrel(a.uniform(0.2, 0.9)),
        shapes.DOME,
        shapes.BOWL,
        shapes.PARABOLOID,
        shapes.vase(a.uniform(0.3, 0.8)),
    )
    return quadric, (x, y, z)


def _palette(a: Assembly) -> list[Material]:
    makers = (paint, paint, saturated, pastel, earthy, wood, metal, white, grey, patterned, patterned)
    return [a.pick(*makers)(a.random) for _ in range(a.count(1, 4))]


# what a draw without a wish gives: about 65 % composed, 35 % free
FAMILIES: dict[str, tuple[Callable[[Assembly], None], float]] = {
    "chair": (seating.chair, 6.0),
    "stool": (seating.stool, 2.0),
    "office_chair": (seating.office_chair, 2.0),
    "sofa": (seating.sofa, 5.0),
    "table": (furniture.table, 5.0),
    "desk": (furniture.desk, 2.5),
    "bed": (furniture.bed, 3.0),
    "shelf": (furniture.shelf, 3.5),
    "cabinet": (furniture.cabinet, 5.0),
    "lamp": (furniture.lamp, 4.0),
    "bench": (seating.bench, 1.5),
    "bath": (furniture.bath, 2.0),
    "vessel": (household.vessel, 3.5),
    "bottle": (household.bottle, 2.0),
    "appliance": (household.appliance, 3.0),
    "electronics": (household.electronics, 3.0),
    "container": (things.container, 2.5),
    "tool": (things.tool, 1.5),
    "food": (things.food, 1.5),
    "instrument": (things.instrument, 2.0),
    "car": (vehicles.car, 4.0),
    "cycle": (vehicles.cycle, 1.5),
    "train": (vehicles.train, 1.5),
    "figure": (scenery.figure, 2.0),
    "snowman": (scenery.snowman, 0.7),
    "animal": (scenery.animal, 2.0),
    "potted_plant": (scenery.potted_plant, 3.0),
    "tree": (scenery.tree, 1.5),
    "house": (scenery.house, 2.0),
    "stairs": (scenery.stairs, 1.8),
    "pile": (pile, 18.0),
    "mirrored": (mirrored, 12.0),
    "ringed": (ringed, 5.0),
    "turned_stack": (turned_stack, 8.0),
}


def compose(a: Assembly, family: str | None = None) -> str:
    """Builds one object of `family`, or of one drawn from `FAMILIES`; returns the family's name.

    Raises:
        ValueError: if there is no such family.
    """
    if family is None:
        family = a.random.choices(list(FAMILIES), [weight for _, weight in FAMILIES.values()])[0]
    elif family not in FAMILIES:
        raise ValueError(f"`family` must be one of {sorted(FAMILIES)}, got {family!r}.")
    FAMILIES[family][0](a)
    return family
