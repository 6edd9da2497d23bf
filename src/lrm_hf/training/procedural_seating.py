# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Seats, composed from primitives in metres: the floor is z = 0, the front is towards -y."""

from __future__ import annotations

from . import procedural_primitives as shapes
from .procedural_assembly import Assembly, turn
from .procedural_textures import (
    Material,
    black,
    fabric,
    frame_material,
    grey,
    metal,
    paint,
    patterned,
    surface_material,
    white,
    wood,
)


def four_legs(a: Assembly, x: float, y: float, top: float, material: Material, floor: float = 0.0) -> None:
    """Four legs under the corners (+-x, +-y): round, square or tapered, upright or splayed."""
    radius, square = a.uniform(0.015, 0.04), a.chance(0.5)
    splay, taper = (a.uniform(0.03, 0.1), a.uniform(0.5, 0.8)) if a.chance(0.35) else (0.0, 1.0)
    for px, py in a.four(x - radius, y - radius):
        foot = (px + (splay if px > 0 else -splay), py + (splay if py > 0 else -splay), floor)
        if square or taper == 1:
            a.rod((px, py, top), foot, radius, material, square=square)
        else:
            a.rod((px, py, top), foot, radius * 1.3, material, taper)


def _back(a: Assembly, x: float, y: float, low: float, high: float, material: Material, posts: Material) -> None:
    """A chair's back between two posts at depth `y`: full, slatted, railed, or a rounded shell."""
    lean = a.uniform(0.0, 0.14)
    style = a.pick("full", "full", "slats", "rails", "shell", "posted")
    tilt = turn(x=-57.3 * lean)
    middle, half = (low + high) / 2, (high - low) / 2
    at = (0, y + lean * half, middle)
    if style == "full":
        a.box((x, a.uniform(0.015, 0.05), half), at, material, tilt)
    elif style == "shell":
        a.add(shapes.cushion(a.uniform(1.4, 2.2)), (x * 1.05, a.uniform(0.04, 0.08), half), at, material, tilt)
    else:
        for side in (-1, 1):
            px = side * (x - 0.02)
            a.rod((px, y, low - 0.05), (px, y + lean * 2 * half, high), 0.02, posts, square=a.chance(0.5))
        if style == "posted":
            a.box((x, 0.02, half * 0.35), (0, y + lean * 1.6 * half, high - half * 0.35), material, tilt)
        elif style == "rails":
            for i in range(a.count(2, 4)):
                level = high - 0.05 - i * a.uniform(0.08, 0.13)
                a.box((x - 0.03, 0.012, 0.025), (0, y + lean * (level - low), level), posts, tilt)
        else:
            a.box((x, 0.018, 0.035), (0, y + lean * 2 * half, high - 0.03), posts, tilt)
            number = a.count(3, 5)
            for i in range(number):
                px = (2 * (i + 1) / (number + 1) - 1) * (x - 0.02)
                a.rod((px, y, low), (px, y + lean * 2 * half, high - 0.04), 0.011, posts)


def chair(a: Assembly) -> None:
    x, y, seat = a.uniform(0.19, 0.27), a.uniform(0.19, 0.26), a.uniform(0.38, 0.5)
    frame = frame_material(a.random)
    cover = a.pick(frame, fabric(a.random), surface_material(a.random))
    thick = a.uniform(0.015, 0.045)
    if a.chance(0.4):
        a.add(shapes.cushion(a.uniform(1.8, 2.4)), (x * 1.05, y * 1.05, thick * 1.6), (0, 0, seat), cover)
    else:
        quadric = a.pick(shapes.BOX, shapes.BOX, shapes.rounded_slab(a.uniform(1.2, 1.7)))
        a.add(quadric, (x, y, thick), (0, 0, seat), cover)
    four_legs(a, x, y, seat - thick, frame)
    _back(a, x, y - 0.02, seat + thick, seat + a.uniform(0.28, 0.6), cover, frame)
    if a.chance(0.35):
        rise, reach = a.uniform(0.18, 0.26), y * a.uniform(0.6, 1)
        for side in (-1, 1):
            a.box((0.025, reach, 0.015), (side * x, y - reach, seat + rise), frame)
            front = y - 1.9 * reach
            a.rod((side * x, front, seat), (side * x, front, seat + rise), 0.016, frame)
    if a.chance(0.3):
        for side in (-1, 1):
            a.box((0.01, y - 0.03, 0.012), (side * (x - 0.02), 0, seat * 0.4), frame)


def stool(a: Assembly) -> None:
    height, radius = a.uniform(0.4, 0.8), a.uniform(0.16, 0.24)
    frame, cover = frame_material(a.random), a.pick(fabric, wood, paint)(a.random)
    if a.chance(0.5):
        a.tube(radius, a.uniform(0.02, 0.06), (0, 0, height), cover)
    else:
        a.add(shapes.cushion(a.uniform(1.5, 2.2)), (radius, radius, 0.05), (0, 0, height), cover)
    if a.chance(0.35):
        a.tube(0.025, height / 2, (0, 0, height / 2), frame)
        a.tube(radius * a.uniform(0.8, 1.1), 0.02, (0, 0, 0.02), frame, a.uniform(0.5, 1))
        a.ring(radius * 0.7, 0.012, (0, 0, height * 0.35), frame)
    else:
        four_legs(a, radius * 0.8, radius * 0.8, height - 0.02, frame)
        if a.chance(0.6):
            a.ring(radius * 0.95, 0.012, (0, 0, height * 0.4), frame)
    if a.chance(0.3):
        _back(a, radius * 0.9, radius * 0.8, height, height + a.uniform(0.15, 0.35), cover, frame)


def office_chair(a: Assembly) -> None:
    x, seat = a.uniform(0.22, 0.28), a.uniform(0.42, 0.52)
    cover, frame = a.pick(fabric, black, grey)(a.random), a.pick(black, metal, grey)(a.random)
    a.add(shapes.cushion(a.uniform(1.7, 2.3)), (x, x, a.uniform(0.04, 0.08)), (0, 0, seat), cover)
    half = a.uniform(0.2, 0.4)
    quadric = shapes.cushion(a.uniform(1.5, 2.3))
    a.add(quadric, (x * a.uniform(0.8, 1), 0.05, half), (0, x, seat + half + 0.1), cover, turn(x=-a.uniform(3, 14)))
    a.box((0.03, 0.015, 0.16), (0, x + 0.03, seat + 0.1), frame)
    a.tube(0.03, seat / 2 - 0.05, (0, 0, seat / 2), frame)
    arms, begin = a.count(4, 5), a.uniform(0, 90)
    reach = a.uniform(0.24, 0.32)
    for i in range(arms):
        m = turn(z=begin + 360 * i / arms)
        end = m @ (reach, 0, 0.05)
        a.rod((0, 0, 0.1), end, 0.02, frame)
        a.ball((0.03, 0.03, 0.03), (end[0], end[1], 0.03), black(a.random))
    if a.chance(0.65):
        for side in (-1, 1):
            a.box((0.03, 0.13, 0.015), (side * (x + 0.02), 0, seat + 0.2), frame)
            a.rod((side * (x + 0.02), 0, seat), (side * (x + 0.02), 0, seat + 0.2), 0.015, frame)


def sofa(a: Assembly) -> None:
    """Armchairs and sofas of one to three seats, sometimes with a corner piece."""
    seats = a.pick(1, 1, 1, 2, 2, 3)
    wide = a.uniform(0.26, 0.36)
    x, y, seat = wide * seats, a.uniform(0.32, 0.45), a.uniform(0.28, 0.42)
    cover = a.pick(fabric, fabric, fabric, grey, white)(a.random)
    accent = cover if a.chance(0.5) else fabric(a.random)
    soft = shapes.cushion(a.uniform(2.0, 2.7)) if a.chance(0.6) else shapes.BOX
    arm, legs = a.uniform(0.06, 0.15), a.uniform(0.02, 0.14)
    rise, back = a.uniform(0.1, 0.28), a.uniform(0.3, 0.55)
    base = (seat - legs) / 2
    a.box((x + arm, y, base * 0.8), (0, 0, legs + base * 0.8), cover)
    for i in range(seats):
        px = (2 * i - seats + 1) * wide
        a.add(soft, (wide, y * 0.95, 0.09), (px, -0.03, seat), accent)
        if a.chance(0.7):
            a.add(soft, (wide, 0.11, back / 2), (px, y * 0.6, seat + back / 2), accent, turn(x=-a.uniform(4, 14)))
    a.add(soft, (x + arm, 0.1, back / 2 + 0.1), (0, y - 0.06, seat + back / 2 - 0.08), cover, turn(x=-a.uniform(0, 8)))
    style = a.pick("box", "soft", "roll", "none") if seats > 1 else a.pick("box", "soft", "roll")
    for side in (-1, 1):
        at = (side * (x + arm), 0, (seat + rise) / 2 + legs / 2)
        if style in ("box", "soft"):
            a.add(soft if style == "soft" else shapes.BOX, (arm, y, (seat + rise - legs) / 2), at, cover)
        elif style == "roll":
            a.box((arm * 0.7, y * 0.98, (seat + rise - legs) / 2), at, cover)
            a.rod((side * (x + arm), -y, seat + rise), (side * (x + arm), y, seat + rise), arm, cover)
    if seats > 1 and a.chance(0.2):
        a.add(soft, (wide, y * 0.8, 0.09), (a.pick(-1, 1) * (x - wide), -y * 1.5, seat), accent)
        centre = a.parts[-1].centre
        a.box((wide, y * 0.8, base), (centre[0], centre[1], legs + base), cover)
    if legs > 0.05:
        foot = frame_material(a.random)
        for px, py in a.four(x * 0.95, y * 0.85):
            a.tube(0.025, legs / 2, (px, py, legs / 2), foot, a.uniform(1, 1.5))
    if a.chance(0.35):
        pillow = patterned(a.random)
        spot = (a.pick(-1, 1) * x * 0.6, y * 0.2, seat + 0.22)
        a.add(shapes.cushion(1.7), (0.17, 0.06, 0.15), spot, pillow, turn(x=-20, z=a.uniform(-15, 15)))


def bench(a: Assembly) -> None:
    x, y, seat = a.uniform(0.5, 0.9), a.uniform(0.18, 0.26), a.uniform(0.38, 0.46)
    top, frame = a.pick(wood, wood, paint, grey)(a.random), frame_material(a.random)
    slats = a.count(2, 4)
    for i in range(slats):
        py = (2 * i - slats + 1) * y / slats
        a.box((x, y / slats * 0.85, 0.02), (0, py, seat), top)
    inset, panels, arms = a.uniform(0.75, 0.9), a.chance(0.5), a.chance(0.5)
    for side in (-1, 1):
        px = side * x * inset
        if panels:
            a.box((0.04, y * 0.95, seat / 2), (px, 0, seat / 2), frame)
        else:
            for end in (-1, 1):
                a.rod((px, end * y * 0.6, seat), (px, end * y, 0), 0.025, frame, square=True)
    if a.chance(0.65):
        high, lean = a.uniform(0.3, 0.45), a.uniform(0.02, 0.12)
        for i in range(a.count(1, 3)):
            a.box((x, 0.015, 0.05), (0, y + lean * (1 - i * 0.3), seat + high - 0.13 * i), top, turn(x=-10))
        for side in (-1, 1):
            a.rod((side * x * 0.8, y, seat - 0.05), (side * x * 0.8, y + lean, seat + high), 0.02, frame, square=True)
            if arms:
                a.box((0.025, y * 0.95, 0.02), (side * x * 0.82, 0, seat + 0.2), frame)
                a.rod(
                    (side * x * 0.82, -y * 0.8, seat), (side * x * 0.82, -y * 0.8, seat + 0.2), 0.02, frame, square=True
                )
