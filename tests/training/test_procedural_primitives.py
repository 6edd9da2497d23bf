# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Rays against primitives: hand-worked hits, and marched occupancy."""

from __future__ import annotations

import math

import pytest
import torch

from lrm_hf.training import procedural_assembly
from lrm_hf.training import procedural_primitives as shapes


NO_CAVITY = procedural_assembly.Cavity((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), shapes.BOX)


def columns(values) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor(values, dtype=torch.float32).reshape(-1, 1))


def first_hit(quadric, origin, direction, cavity=None) -> float:
    # as the renderer does: no component of a direction is exactly zero
    direction = [value or 1e-7 for value in direction]
    if cavity is None:
        return float(shapes.hit_solid(columns(origin), columns(direction), columns(quadric)))
    boxes = columns(cavity.low), columns(cavity.high), columns(cavity.quadric)
    return float(shapes.hit_hollow(columns(origin), columns(direction), columns(quadric), *boxes))


@pytest.mark.parametrize(
    ("quadric", "origin", "direction", "expected"),
    [
        (shapes.BOX, (0.3, -3, 0.2), (0, 1, 0), 2.0),
        (shapes.BOX, (1.1, -3, 0), (0, 1, 0), math.inf),
        (shapes.ELLIPSOID, (0.6, -3, 0), (0, 1, 0), 2.2),  # y = -sqrt(1 - 0.36)
        (shapes.ELLIPSOID, (0, -3, 0), (0, 2, 0), 1.0),  # the parameter counts directions, not lengths
        (shapes.CYLINDER, (0.6, -3, 0.9), (0, 1, 0), 2.2),
        (shapes.CYLINDER, (0.6, 0, 3), (0, 0, -1), 2.0),
        (shapes.CYLINDER, (0.8, 0.8, 3), (0, 0, -1), math.inf),
        (shapes.frustum(0.5), (0, -3, 0), (0, 1, 0), 2.25),  # radius 0.75 half way up
        (shapes.frustum(0.5), (0.6, 0, 3), (0, 0, -1), 2.4),  # radius 0.6 at z = 0.6
        (shapes.frustum(1.0, 0.5), (0, -3, 1 - 1e-6), (0, 1, 0), 2.0),
        (shapes.prism(0.0), (-3, 0.5, 0), (1, 0, 0), 2.5),
        (shapes.prism(0.0), (0.25, 0.5, 3), (0, 0, -1), 2.5),
        (shapes.vase(0.5), (0, -3, 0), (0, 1, 0), 2.5),
        (shapes.barrel(0.64), (0, -3, 1 - 1e-6), (0, 1, 0), 2.4),  # end radius 0.6
        (shapes.DOME, (0.6, 0, 3), (0, 0, -1), 2.4),  # 0.36 + ((z + 1) / 2)^2 = 1 at z = 0.6
        (shapes.DOME, (0, 0, -3), (0, 0, 1), 2.0),
        (shapes.BOWL, (0.6, 0, -3), (0, 0, 1), 2.4),
        (shapes.PARABOLOID, (0, -3, 0), (0, 1, 0), 3 - math.sqrt(0.5)),
        (shapes.cushion(2.0), (0, -3, 0), (0, 1, 0), 2.0),
        (shapes.cushion(2.0), (0.9, -3, 0.9), (0, 1, 0), 3 - math.sqrt(2 - 2 * 0.81)),
        (shapes.rounded_slab(1.5), (0.9, -3, 0), (0, 1, 0), 3 - math.sqrt(1.5 - 0.81)),
    ],
)
def test_hits_of_solids(quadric, origin, direction, expected):
    assert first_hit(quadric, origin, direction) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    ("quadric", "cavity", "origin", "direction", "expected"),
    [
        # a cup: wall 0.2, floor at z = -0.5
        (shapes.CYLINDER, procedural_assembly.shell(shapes.CYLINDER, 0.8, 0.25), (0, 0, 3), (0, 0, -1), 3.5),
        (shapes.CYLINDER, procedural_assembly.shell(shapes.CYLINDER, 0.8, 0.25), (0.9, 0, 3), (0, 0, -1), 2.0),
        (shapes.CYLINDER, procedural_assembly.shell(shapes.CYLINDER, 0.8, 0.25), (0, -3, 0), (0, 1, 0), 2.0),
        # over the rim to the far wall: z falls from 3 at y = -2 by 1.25 per unit, 0.8 is reached at z = -0.5
        (shapes.CYLINDER, procedural_assembly.shell(shapes.CYLINDER, 0.8, 0.1), (0, -2, 3), (0, 1, -1.25), 2.8),
        # a pipe has no floor
        (shapes.CYLINDER, procedural_assembly.shell(shapes.CYLINDER, 0.8, 0, True), (0, 0, 3), (0, 0, -1), math.inf),
        # a shelf, open at -y: its back wall is 0.1 thick
        (shapes.BOX, procedural_assembly.open_front(0.2, 0.1), (0, -3, 0), (0, 1, 0), 3.9),
        (shapes.BOX, procedural_assembly.open_front(0.2, 0.1), (0.9, -3, 0), (0, 1, 0), 2.0),
        (shapes.BOX, procedural_assembly.open_front(0.2, 0.1), (0, 3, 0), (0, -1, 0), 2.0),
        # a bowl of radius 1 with inner radius 0.8 about (0, 0, 1): the bottom is at 1 - 2 * 0.8
        (shapes.BOWL, procedural_assembly.bowl_inside(0.8), (0, 0, 3), (0, 0, -1), 3.6),
        # a funnel: outer radius 0.75 half way up, inner half of it
        (
            shapes.frustum(0.5),
            procedural_assembly.shell(shapes.frustum(0.5), 0.5, 0, True),
            (0.45, 0, 3),
            (0, 0, -1),
            2.0,
        ),
    ],
)
def test_hits_of_hollow_primitives(quadric, cavity, origin, direction, expected):
    assert first_hit(quadric, origin, direction, cavity) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    ("origin", "direction", "expected"),
    [
        ((0, -3, 0), (0, 1, 0), 2.0),
        ((0.75, 0, 3), (0, 0, -1), 2.75),
        ((0, 0, 3), (0, 0, -1), math.inf),
        ((0.75 + 0.15, 0, 3), (0, 0, -1), 2.8),  # 0.15 and 0.2 make 0.25
        ((0, -3, 0.26), (0, 1, 0), math.inf),
    ],
)
def test_hits_of_a_torus(origin, direction, expected):
    direction = [value or 1e-7 for value in direction]
    hit = shapes.hit_torus(columns(origin), columns(direction), torch.tensor([0.25]))
    assert float(hit) == pytest.approx(expected, abs=1e-4)


SOLIDS = {
    "box": (shapes.SOLID, shapes.BOX, NO_CAVITY),
    "ellipsoid": (shapes.SOLID, shapes.ELLIPSOID, NO_CAVITY),
    "cylinder": (shapes.SOLID, shapes.CYLINDER, NO_CAVITY),
    "cone": (shapes.SOLID, shapes.frustum(0.0), NO_CAVITY),
    "prism": (shapes.SOLID, shapes.prism(0.3), NO_CAVITY),
    "vase": (shapes.SOLID, shapes.vase(0.4), NO_CAVITY),
    "dome": (shapes.SOLID, shapes.DOME, NO_CAVITY),
    "cushion": (shapes.SOLID, shapes.cushion(1.7), NO_CAVITY),
    "cup": (shapes.HOLLOW, shapes.CYLINDER, procedural_assembly.shell(shapes.CYLINDER, 0.8)),
    "shade": (shapes.HOLLOW, shapes.frustum(0.4), procedural_assembly.tube_shell(0.4, 0.85, through=True)),
    "bowl": (shapes.HOLLOW, shapes.BOWL, procedural_assembly.bowl_inside(0.8)),
    "shelf": (shapes.HOLLOW, shapes.BOX, procedural_assembly.open_front(0.15, 0.1)),
    "torus": (shapes.TORUS, shapes.BOX, NO_CAVITY),
}


def _random_rays(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    origin = torch.nn.functional.normalize(torch.randn(3, count, generator=generator), dim=0) * 3
    aim = torch.rand(3, count, generator=generator) * 2 - 1
    return origin, torch.nn.functional.normalize(aim - origin, dim=0)


@pytest.mark.parametrize("name", SOLIDS)
def test_hits_and_normals_agree_with_marched_occupancy(name):
    kind, quadric, cavity = SOLIDS[name]
    tube = torch.tensor([0.3])
    hollow = columns(cavity.low), columns(cavity.high), columns(cavity.quadric)
    origin, direction = _random_rays(400)

    def occupied(points):
        return shapes.inside(torch.tensor(kind), tuple(points), columns(quadric), *hollow, tube)

    if kind == shapes.TORUS:
        t = shapes.hit_torus(tuple(origin), tuple(direction), tube)
    elif kind == shapes.HOLLOW:
        t = shapes.hit_hollow(tuple(origin), tuple(direction), columns(quadric), *hollow)
    else:
        t = shapes.hit_solid(tuple(origin), tuple(direction), columns(quadric))
    step = 4e-3
    marks = torch.arange(1.0, 5.0, step)
    marched = occupied(origin[:, :, None] + direction[:, :, None] * marks)
    any_marched = marched.any(1)
    first = marks[marched.float().argmax(1)]
    hit = torch.isfinite(t)
    assert hit.float().mean() > 0.2
    # what the march meets, the closed form meets at most one step earlier
    assert bool(hit[any_marched].all())
    gap = (first - t)[any_marched]
    assert float(gap.min()) > -1e-3
    # a corner grazed between two marks is the only way to a larger gap, or to a hit without a marched one
    assert float((gap > step + 1e-4).float().mean()) < 0.02
    assert float((hit & ~any_marched).float().mean()) < 0.02

    point = (origin + direction * t)[:, hit]
    normal = shapes.outward_gradient(
        torch.tensor(kind), tuple(point), tuple(direction[:, hit]), columns(quadric), *hollow, tube
    )
    normal = torch.nn.functional.normalize(torch.stack(normal), dim=0)
    assert bool(((normal * direction[:, hit]).sum(0) < 0).all())
    # within 0.004 of an edge the surface turns away under the step
    assert float((~occupied(point + 4e-3 * normal)).float().mean()) > 0.97
    assert float(occupied(point - 4e-3 * normal).float().mean()) > 0.97


def test_normals_inside_a_cup_point_to_its_axis():
    cavity = procedural_assembly.shell(shapes.CYLINDER, 0.8)
    hollow = columns(cavity.low), columns(cavity.high), columns(cavity.quadric)
    kind, tube = torch.tensor(shapes.HOLLOW), torch.tensor([0.25])
    point, direction = columns((0.0, 0.8, 0.0)), columns((0.0, 0.8, -0.6))
    normal = torch.cat(shapes.outward_gradient(kind, point, direction, columns(shapes.CYLINDER), *hollow, tube))
    assert torch.allclose(normal / normal.norm(), torch.tensor([0.0, -1.0, 0.0]), atol=1e-6)
