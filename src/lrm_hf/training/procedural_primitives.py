# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Closed-form geometry of the procedural objects' primitives.

A primitive lives in its own frame, where it is the box [-1, 1]^3 cut by one quadric

    q(p) = qx x^2 + qy y^2 + c2 z^2 + c1 z + c0 <= 0,

so that box, ellipsoid, cylinder, frustum, prism, barrel, dome, cushion and vase share one ray intersection. A *hollow*
primitive loses a cavity of the same form, with its own box. A *torus* about the local z axis has tube radius `tube` and
outer radius 1. Every function works on columns: a point is a tuple (x, y, z) of tensors of one shape.
"""

from __future__ import annotations

import torch
from torch import Tensor


INACTIVE, SOLID, HOLLOW, TORUS = range(4)

Columns = tuple[Tensor, ...]
Quadric = tuple[float, float, float, float, float]

BOX: Quadric = (0.0, 0.0, 0.0, 0.0, -1.0)
ELLIPSOID: Quadric = (1.0, 1.0, 1.0, 0.0, -1.0)
CYLINDER: Quadric = (1.0, 1.0, 0.0, 0.0, -1.0)
DOME: Quadric = (1.0, 1.0, 0.25, 0.5, -0.75)  # half an ellipsoid, its flat side at z = -1
BOWL: Quadric = (1.0, 1.0, 0.25, -0.5, -0.75)  # half an ellipsoid, its flat side at z = +1
PARABOLOID: Quadric = (1.0, 1.0, 0.0, 0.5, -0.5)  # radius 1 at z = -1, pointed at z = +1


def frustum(top: float, bottom: float = 1.0) -> Quadric:
    """A cone of radius `bottom` at z = -1 and `top` at z = +1; the larger of them should be 1."""
    mean, slope = (top + bottom) / 2, (top - bottom) / 2
    return (1.0, 1.0, -slope * slope, -2 * mean * slope, -mean * mean)


def prism(top: float, bottom: float = 1.0) -> Quadric:
    """A box whose half width in x goes from `bottom` at z = -1 to `top` at z = +1; the larger should be 1."""
    mean, slope = (top + bottom) / 2, (top - bottom) / 2
    return (1.0, 0.0, -slope * slope, -2 * mean * slope, -mean * mean)


def cushion(fullness: float) -> Quadric:
    """A box with all corners rounded: `fullness` between 1 (an ellipsoid) and 3 (the whole box)."""
    return (1.0, 1.0, 1.0, 0.0, -fullness)


def rounded_slab(fullness: float) -> Quadric:
    """A box with its vertical edges rounded: `fullness` between 1 (a cylinder) and 2 (the whole box)."""
    return (1.0, 1.0, 0.0, 0.0, -fullness)


def barrel(bulge: float) -> Quadric:
    """A cylinder whose ends are narrower: their squared radius is 1 - `bulge`."""
    return (1.0, 1.0, bulge, 0.0, -1.0)


def vase(waist: float) -> Quadric:
    """A hyperboloid of radius 1 at both ends and `waist` in the middle."""
    return (1.0, 1.0, waist * waist - 1.0, 0.0, -waist * waist)


def quadric_value(quadric: Columns, point: Columns) -> Tensor:
    qx, qy, c2, c1, c0 = quadric
    x, y, z = point
    return qx * x * x + qy * y * y + (c2 * z + c1) * z + c0


def _slabs(origin: Columns, direction: Columns, low: Columns | float, high: Columns | float) -> tuple[Tensor, Tensor]:
    """Where a ray enters and leaves an axis-aligned box."""
    near, far = [], []
    for axis in range(3):
        inverse = direction[axis].reciprocal()
        first = ((low if isinstance(low, float) else low[axis]) - origin[axis]) * inverse
        last = ((high if isinstance(high, float) else high[axis]) - origin[axis]) * inverse
        near.append(torch.minimum(first, last))
        far.append(torch.maximum(first, last))
    x, y, z = near
    enter = torch.maximum(torch.maximum(x, y), z)
    x, y, z = far
    return enter, torch.minimum(torch.minimum(x, y), z)


def _intervals(
    origin: Columns, direction: Columns, quadric: Columns, low: Columns | float, high: Columns | float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The up to two stretches of a ray inside box and quadric: (start, end) of each, empty where start >= end."""
    near, far = _slabs(origin, direction, low, high)
    qx, qy, c2, c1, c0 = quadric
    (dx, dy, dz), (ox, oy, oz) = direction, origin
    a = qx * dx * dx + qy * dy * dy + c2 * dz * dz
    a = torch.where(a.abs() < 1e-9, torch.full_like(a, -1e-9), a)
    b = (qx * ox) * dx + (qy * oy) * dy + (c2 * oz + 0.5 * c1) * dz
    c = qx * ox * ox + qy * oy * oy + (c2 * oz + c1) * oz + c0
    discriminant = b * b - a * c
    # the root that does not cancel first, the other one from their product
    stable = b + torch.copysign(discriminant.clamp(min=0).sqrt(), b)
    stable = torch.where(stable.abs() < 1e-20, torch.full_like(stable, 1e-20), stable)
    one, two = -stable / a, -c / stable
    small, large = torch.minimum(one, two), torch.maximum(one, two)
    inside_between = a > 0
    crossed = discriminant >= 0
    # a > 0: inside between the roots. a < 0: inside before the first and after the second, or everywhere without roots
    start = torch.where(inside_between, torch.maximum(near, small), near)
    end = torch.minimum(far, torch.where(inside_between, large, torch.where(crossed, small, far)))
    end = torch.where(inside_between & ~crossed, near, end)
    second = torch.where(inside_between | ~crossed, far, torch.maximum(near, large))
    return start, end, second, far


def hit_solid(origin: Columns, direction: Columns, quadric: Columns) -> Tensor:
    """Ray parameter of the first entry into box and quadric, infinite without one. The ray starts outside."""
    start, end, second, far = _intervals(origin, direction, quadric, -1.0, 1.0)
    infinite = torch.full_like(start, torch.inf)
    second = torch.where((second < far) & (second > 0), second, infinite)
    return torch.where((start < end) & (start > 0), start, second)


def hit_hollow(
    origin: Columns, direction: Columns, quadric: Columns, low: Columns, high: Columns, cavity: Columns
) -> Tensor:
    """As `hit_solid`, without what lies in the cavity: the box [`low`, `high`] cut by `cavity`, together convex."""
    start, end, second, far = _intervals(origin, direction, quadric, -1.0, 1.0)
    enter, leave, other, last = _intervals(origin, direction, cavity, low, high)
    behind = enter >= leave
    enter, leave = torch.where(behind, other, enter), torch.where(behind, last, leave)
    infinite = torch.full_like(start, torch.inf)
    start = torch.where((enter <= start) & (start < leave), leave, start)
    second = torch.where((enter <= second) & (second < leave), leave, second)
    second = torch.where((second < far) & (second > 0), second, infinite)
    return torch.where((start < end) & (start > 0), start, second)


def hit_torus(origin: Columns, direction: Columns, tube: Tensor, steps: int = 40) -> Tensor:
    """Ray parameter of the first hit of a torus, by sphere tracing between its bounds, infinite without one."""
    ones = torch.ones_like(tube)
    near, far = _slabs(origin, direction, (-ones, -ones, -tube), (ones, ones, tube))
    length = (direction[0].square() + direction[1].square() + direction[2].square()).sqrt()
    t = near.clamp(min=0)
    gap = torch.zeros_like(t)
    for _ in range(steps):
        x, y, z = (o + t * d for o, d in zip(origin, direction, strict=True))
        gap = (((x * x + y * y).sqrt() - (1 - tube)).square() + z * z).sqrt() - tube
        t = torch.where(gap > 1e-5, t + gap / length, t)
    found = (near < far) & (far > 0) & (gap < 3e-3) & (t <= far + 1e-3 / length)
    return torch.where(found, t, torch.full_like(t, torch.inf))


def inside(
    kind: Tensor, point: Columns, quadric: Columns, low: Columns, high: Columns, cavity: Columns, tube: Tensor
) -> Tensor:
    """Whether local points lie in their primitive."""
    x, y, z = point
    solid = (x.abs() <= 1) & (y.abs() <= 1) & (z.abs() <= 1) & (quadric_value(quadric, point) <= 0)
    removed = quadric_value(cavity, point) < 0
    for axis in range(3):
        removed = removed & (point[axis] > low[axis]) & (point[axis] < high[axis])
    ring = ((x * x + y * y).sqrt() - (1 - tube)).square() + z * z <= tube * tube
    solid = solid & ~(removed & (kind == HOLLOW))
    return torch.where(kind == TORUS, ring, solid) & (kind != INACTIVE)


def outward_gradient(
    kind: Tensor,
    point: Columns,
    direction: Columns,
    quadric: Columns,
    low: Columns,
    high: Columns,
    cavity: Columns,
    tube: Tensor,
) -> Columns:
    """Unnormalised outward normal, in the local frame, of the surface that a ray along `direction` hit at `point`.

    Of the surfaces that bound the primitive, it is the nearest one that faces the ray.
    """
    candidates: list[tuple[Tensor, Columns]] = []
    zero = torch.zeros_like(point[0])

    def along(axis: int, value: Tensor) -> Columns:
        return tuple(value if other == axis else zero for other in range(3))

    def gradient(coefficients: Columns, sign: float) -> tuple[Tensor, Columns]:
        qx, qy, c2, c1, _ = coefficients
        x, y, z = point
        slope = (2 * sign * qx * x, 2 * sign * qy * y, sign * (2 * c2 * z + c1))
        steepness = (slope[0].square() + slope[1].square() + slope[2].square()).sqrt()
        return quadric_value(coefficients, point).abs() / steepness.clamp(min=1e-9), slope

    for axis in range(3):
        candidates.append(((point[axis].abs() - 1).abs(), along(axis, point[axis].sign())))
    candidates.append(gradient(quadric, 1.0))
    not_hollow = torch.where(kind == HOLLOW, 0.0, torch.inf)
    for axis in range(3):
        below, above = (point[axis] - low[axis]).abs(), (point[axis] - high[axis]).abs()
        candidates.append((torch.minimum(below, above) + not_hollow, along(axis, (above - below).sign())))
    distance, slope = gradient(cavity, -1.0)
    candidates.append((distance + not_hollow, slope))

    best = torch.full_like(zero, torch.inf)
    normal: Columns = (zero, zero, zero)
    for distance, slope in candidates:
        facing = slope[0] * direction[0] + slope[1] * direction[1] + slope[2] * direction[2]
        distance = torch.where(facing < 0, distance, distance + 1e3)
        closer = distance < best
        best = torch.where(closer, distance, best)
        normal = tuple(torch.where(closer, new, old) for new, old in zip(slope, normal, strict=True))
    x, y, z = point
    shrink = 1 - (1 - tube) / (x * x + y * y).sqrt().clamp(min=1e-6)
    ring = (x * shrink, y * shrink, z)
    return tuple(torch.where(kind == TORUS, new, old) for new, old in zip(ring, normal, strict=True))


def surface_points(
    kind: Tensor, quadric: Tensor, tube: Tensor, angles: int = 48, levels: int = 25
) -> tuple[Tensor, Tensor]:
    """Points on the outer surfaces of primitives, dense enough for bounds to within 1 % of their size.

    Args:
        kind, tube: `(n,)`. quadric: `(n, 5)`.

    Returns:
        points: `(n, angles * levels, 3)` in the local frames; valid: `(n, angles * levels)`.
    """
    device, dtype = quadric.device, quadric.dtype
    turn = torch.arange(angles, device=device, dtype=dtype) * (2 * torch.pi / angles)
    cos, sin = turn.cos(), turn.sin()
    rise = torch.arange(levels, device=device, dtype=dtype) * (torch.pi / (levels - 1))
    z = -rise.cos()
    qx, qy, c2, c1, c0 = (column[:, None, None] for column in quadric.unbind(-1))
    height = z[:, None]
    room = -((c2 * height + c1) * height + c0)
    width = (qx * cos.square() + qy * sin.square()).clamp(min=1e-9)
    box = 1 / torch.maximum(cos.abs(), sin.abs())
    radius = torch.minimum((room.clamp(min=0) / width).sqrt(), box)
    points = torch.stack([radius * cos, radius * sin, height.expand_as(radius)], dim=-1)
    valid = (room >= -1e-6).expand_as(radius)
    # a torus takes the same two angles around its ring and around its tube
    minor = tube[:, None, None]
    ring = (1 - minor) - minor * (2 * rise).cos()[:, None]
    torus = torch.stack([ring * cos, ring * sin, (minor * (2 * rise).sin()[:, None]).expand_as(ring * cos)], dim=-1)
    is_torus = (kind == TORUS)[:, None, None]
    points = torch.where(is_torus[..., None], torus, points)
    valid = (valid | is_torus) & (kind != INACTIVE)[:, None, None]
    return points.flatten(1, 2), valid.flatten(1, 2)
