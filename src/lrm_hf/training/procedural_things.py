# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Containers, tools, food and other things, composed from primitives: the floor is z = 0, the front is towards -y."""

from __future__ import annotations

from dataclasses import replace

from . import procedural_primitives as shapes
from .procedural_assembly import Assembly, bowl_inside, shell, tube_shell, turn
from .procedural_textures import (
    BANDS,
    SPECKLE,
    banded,
    black,
    earthy,
    grey,
    metal,
    paint,
    pastel,
    patterned,
    saturated,
    white,
    wood,
)


def container(a: Assembly) -> None:
    """Boxes, crates, baskets, bins, suitcases, presents."""
    look = a.pick(earthy, wood, paint, patterned, metal)(a.random)
    kind = a.pick("open", "crate", "bin", "suitcase", "gift", "chest", "bag")
    x, y, z = a.uniform(0.3, 0.6), a.uniform(0.25, 0.45), a.uniform(0.2, 0.5)
    if kind == "open":
        a.box((x, y, z), (0, 0, z), look, cavity=shell(shapes.BOX, 0.94, 0.05))
        if a.chance(0.7):
            for side in (-1, 1):
                angle = a.uniform(15, 70)
                offset = turn(y=side * angle) @ (0, 0, y * 0.4)
                a.box(
                    (0.012, y, y * 0.4),
                    (side * x + offset[0], 0, 2 * z + offset[2]),
                    look.darker(0.9),
                    turn(y=side * angle),
                )
    elif kind == "crate":
        rows = a.count(2, 4)
        for i in range(rows):
            level, half = (2 * i + 1) * z / rows, z / rows * 0.75
            cavity = shell(shapes.BOX, 0.93, 0, through=True)
            a.box((x, y, half), (0, 0, level), look, cavity=cavity)
        for px, py in a.four(x * 0.9, y * 0.9):
            a.box((0.03, 0.03, z), (px, py, z), look.darker(0.8))
        a.box((x * 0.95, y * 0.95, 0.02), (0, 0, 0.04), look)
    elif kind == "bin":
        top = a.uniform(0.9, 1.4)
        closed = a.chance(0.4)
        radius = a.uniform(0.2, 0.3)
        a.tube(radius, 0.4, (0, 0, 0.4), look, top, cavity=None if closed else tube_shell(top, 0.92, 0.05))
        if closed:
            a.add(
                shapes.DOME,
                (radius * top * 1.05, radius * top * 1.05, 0.08),
                (0, 0, 0.88),
                a.pick(look, metal(a.random)),
            )
            a.box((0.08, 0.02, 0.03), (0, -radius * top, 0.75), black(a.random))
        else:
            a.ring(radius * top * 1.05, 0.025, (0, 0, 0.8), look.darker(0.8))
    elif kind == "suitcase":
        y *= 0.5
        quadric = a.pick(shapes.BOX, shapes.cushion(2.5))
        a.add(quadric, (x, y, z), (0, 0, z + 0.05), look)
        strap = a.pick(black, metal, earthy)(a.random)
        for side in (-1, 1):
            a.box((0.03, y * 1.02, z * 1.02), (side * x * 0.55, 0, z + 0.05), strap)
            a.rod((side * 0.1, 0, 2 * z), (side * 0.1, 0, 2 * z + 0.15), 0.02, strap)
            a.ball((0.05, 0.05, 0.05), (side * x * 0.8, 0, 0.04), black(a.random))
        a.rod((-0.12, 0, 2 * z + 0.14), (0.12, 0, 2 * z + 0.14), 0.025, strap)
    elif kind == "gift":
        ribbon = saturated(a.random)
        a.box((x, y, z), (0, 0, z), a.pick(patterned, paint)(a.random))
        a.box((x * 1.01, 0.06, z * 1.01), (0, 0, z), ribbon)
        a.box((0.06, y * 1.01, z * 1.01), (0, 0, z), ribbon)
        if a.chance(0.6):
            a.box((x * 1.05, y * 1.05, 0.08), (0, 0, 2 * z), a.parts[0].material)
        for side in (-1, 1):
            a.ball((0.16, 0.05, 0.09), (side * 0.13, 0, 2 * z + 0.14), ribbon, turn(y=-side * 25))
    elif kind == "chest":
        band = a.pick(metal, black)(a.random)
        a.box((x, y, z), (0, 0, z), look)
        a.rod((-x, 0, 2 * z), (x, 0, 2 * z), y, look)
        for side in (-1, 0, 1):
            a.rod((side * x * 0.85 - 0.04, 0, 2 * z), (side * x * 0.85 + 0.04, 0, 2 * z), y * 1.02, band)
            a.box((0.04, y * 1.02, z), (side * x * 0.85, 0, z), band)
        a.box((0.06, 0.03, 0.08), (0, -y, 2 * z), metal(a.random))
    else:
        a.add(shapes.cushion(a.uniform(1.5, 2.2)), (0.3, 0.18, 0.4), (0, 0, 0.4), look)
        a.add(shapes.cushion(2.0), (0.2, 0.08, 0.15), (0, -0.17, 0.26), look.darker(0.75))
        a.ring(0.1, 0.02, (0, 0.05, 0.78), black(a.random), turn(x=90))
        for side in (-1, 1):
            a.ring(0.25, 0.03, (side * 0.16, 0.18, 0.42), black(a.random), turn(y=90))


def tool(a: Assembly) -> None:
    """Hammers, screwdrivers, shovels, knives, torches, brushes; standing, lying or leaning."""
    handle, steel = a.pick(wood, saturated, black)(a.random), a.pick(metal, metal, grey)(a.random)
    kind = a.pick("hammer", "screwdriver", "shovel", "knife", "torch", "brush", "drill")
    length, r = a.uniform(0.6, 1.0), a.uniform(0.04, 0.07)
    if kind == "hammer":
        a.tube(r, length, (0, 0, length), handle, a.uniform(0.7, 1))
        a.box((0.3, 0.1, 0.1), (0, 0, 2 * length), steel)
        a.rod((0.28, 0, 2 * length), (0.42, 0, 2 * length), 0.13, steel)
        a.add(shapes.prism(0.2), (0.1, 0.1, 0.12), (-0.4, 0, 2 * length), steel, turn(y=-90))
    elif kind == "screwdriver":
        a.add(shapes.barrel(0.4), (r * 2.2, r * 2.2, 0.35), (0, 0, 1.3), handle)
        a.tube(r * 1.6, 0.06, (0, 0, 0.95), black(a.random))
        a.tube(0.03, 0.45, (0, 0, 0.5), steel)
        a.add(shapes.prism(1.0, 0.2), (0.04, 0.015, 0.08), (0, 0, 0.02), steel)
    elif kind == "shovel":
        a.tube(0.035, length, (0, 0, length + 0.4), handle)
        a.add(a.pick(shapes.BOX, shapes.prism(1.0, 0.6), shapes.ELLIPSOID), (0.22, 0.03, 0.3), (0, 0, 0.3), steel)
        if a.chance(0.6):
            a.ring(0.14, 0.03, (0, 0, 2 * length + 0.48), handle, turn(x=90))
    elif kind == "knife":
        a.add(shapes.cushion(2.2), (0.06, 0.03, 0.25), (0, 0, 0.25), handle)
        a.add(shapes.prism(0.15), (0.09, 0.012, 0.45), (0.02, 0, 0.93), steel)
        a.box((0.1, 0.035, 0.025), (0, 0, 0.5), steel)
    elif kind == "torch":
        a.tube(0.1, 0.5, (0, 0, 0.5), handle)
        a.tube(0.1, 0.13, (0, 0, 1.12), handle.darker(0.8), a.uniform(1.4, 2.0))
        a.tube(0.15, 0.02, (0, 0, 1.26), white(a.random))
        a.box((0.03, 0.02, 0.08), (0, -0.1, 0.8), saturated(a.random))
    elif kind == "brush":
        a.tube(0.04, 0.6, (0, 0, 1.2), handle, 0.7)
        a.box((0.22, 0.07, 0.12), (0, 0, 0.55), metal(a.random))
        a.add(shapes.prism(0.85), (0.24, 0.06, 0.25), (0, 0, 0.25), replace(earthy(a.random), texture=SPECKLE))
    else:
        a.rod((-0.25, 0, 0.6), (0.35, 0, 0.6), 0.13, handle)
        a.box((0.08, 0.07, 0.26), (-0.15, 0, 0.32), handle, turn(y=10))
        a.box((0.14, 0.1, 0.07), (-0.2, 0, 0.07), black(a.random))
        a.rod((0.35, 0, 0.6), (0.47, 0, 0.6), 0.07, black(a.random), 0.6)
        a.rod((0.45, 0, 0.6), (0.8, 0, 0.6), 0.02, steel)
        a.moved(0, (0, 0, 0), turn(z=a.uniform(0, 360)))
    pose = a.pick("stand", "lie", "lean")
    if pose != "stand":
        tilt = turn(y=90) if pose == "lie" else turn(y=a.uniform(-60, 60))
        a.moved(0, (0, 0, 0), turn(z=a.uniform(0, 360)) @ tilt)


def food(a: Assembly) -> None:
    """Cakes, burgers, fruit, ice creams, toast."""
    kind = a.pick("cake", "burger", "fruit", "cone", "plate")
    if kind == "cake":
        radius, level = a.uniform(0.5, 0.7), 0.0
        a.tube(radius * 1.2, 0.03, (0, 0, 0), a.pick(white, metal)(a.random))
        for _ in range(a.count(1, 3)):
            half = a.uniform(0.1, 0.2)
            a.tube(radius, half, (0, 0, level + half), a.pick(pastel, earthy, banded)(a.random))
            a.tube(radius * 1.03, 0.03, (0, 0, level + 2 * half), a.pick(white, pastel, saturated)(a.random))
            level, radius = level + 2 * half + 0.02, radius * a.uniform(0.6, 1.0)
        number, on_top = a.count(3, 8), saturated(a.random)
        for i in range(number):
            at = turn(z=360 * i / number) @ (radius * 0.7, 0, level + 0.07)
            if a.chance(0.5):
                a.ball((0.07, 0.07, 0.07), at, on_top)
            else:
                a.tube(0.025, 0.12, at, on_top)
    elif kind == "burger":
        bun = earthy(a.random)
        a.add(shapes.DOME, (0.55, 0.55, 0.2), (0, 0, 0.72), bun)
        level = 0.55
        for _ in range(a.count(2, 4)):
            half = a.uniform(0.03, 0.08)
            r = a.uniform(0.54, 0.62)
            quadric = a.pick(shapes.CYLINDER, shapes.BOX, shapes.cushion(2))
            r = r * 0.85 if quadric is shapes.BOX else r
            a.add(
                quadric,
                (r, r, half),
                (0, 0, level - half),
                a.pick(saturated, earthy)(a.random),
                turn(z=a.uniform(0, 90)),
            )
            level -= 2 * half
        a.add(shapes.cushion(2.2), (0.57, 0.57, 0.12), (0, 0, level - 0.08), bun)
    elif kind == "fruit":
        skin = a.pick(saturated, earthy)(a.random)
        for i in range(a.pick(1, 1, 3, 4)):
            r = a.uniform(0.3, 0.4)
            at = turn(z=i * 100 + 20) @ (0.4 if i else 0.0, 0, 0)
            a.ball((r, r, r * a.uniform(0.8, 1.1)), (at[0], at[1], r), skin)
            a.rod((at[0], at[1], r * 1.8), (at[0] + 0.05, at[1], r * 2.3), 0.025, earthy(a.random))
    elif kind == "cone":
        a.tube(0.25, 0.45, (0, 0, 0.45), patterned(a.random, earthy(a.random)), 1.0)
        a.parts[-1] = replace(a.parts[-1], quadric=shapes.frustum(1.0, 0.05))
        for i in range(a.count(1, 3)):
            r = 0.27 - 0.03 * i
            a.ball((r, r, r), (a.uniform(-0.05, 0.05), a.uniform(-0.05, 0.05), 1.0 + 0.28 * i), pastel(a.random))
        if a.chance(0.5):
            a.ball((0.08, 0.08, 0.08), (0, 0, 1.35), saturated(a.random))
    else:
        a.tube(0.55, 0.04, (0, 0, 0.04), a.pick(white, banded)(a.random), 1.25, cavity=tube_shell(1.25, 0.9, 0.3))
        for i in range(a.count(2, 5)):
            at = turn(z=i * 80) @ (a.uniform(0.05, 0.3), 0, 0.1)
            quadric = a.pick(shapes.ELLIPSOID, shapes.cushion(1.8), shapes.DOME)
            size = (a.uniform(0.1, 0.25), a.uniform(0.08, 0.16), a.uniform(0.06, 0.12))
            a.add(quadric, size, at, a.pick(earthy, saturated)(a.random), turn(z=a.uniform(0, 180)))


def instrument(a: Assembly) -> None:
    """Pianos, clocks, globes and sports gear: things with one telling detail."""
    body = a.pick(wood, black, white, paint)(a.random)
    kind = a.pick("piano", "clock", "trophy", "dumbbell", "radiator", "umbrella")
    if kind == "piano":
        a.box((0.7, 0.2, 0.55), (0, 0.1, 0.6), body)
        a.box((0.7, 0.16, 0.06), (0, -0.2, 0.68), body)
        keys = replace(white(a.random), second=(0.02, 0.02, 0.02), texture=BANDS, frequency=9.0)
        a.box((0.62, 0.12, 0.02), (0, -0.23, 0.745), keys)
        for side in (-1, 1):
            a.box((0.05, 0.05, 0.32), (side * 0.62, -0.28, 0.32), body)
        if a.chance(0.5):
            a.box((0.3, 0.14, 0.03), (0, -0.7, 0.45), fabric_top := a.pick(black, earthy)(a.random))
            for px, py in a.four(0.26, 0.1):
                a.box((0.025, 0.025, 0.22), (px, py - 0.7, 0.22), fabric_top)
    elif kind == "clock":
        face = white(a.random)
        if a.chance(0.5):
            a.box((0.24, 0.16, 0.75), (0, 0, 0.8), body)
            a.box((0.3, 0.2, 0.08), (0, 0, 0.08), body)
            a.add(shapes.prism(0.2), (0.3, 0.2, 0.1), (0, 0, 1.65), body)
            level, r, y = 1.3, 0.18, 0.17
            a.box((0.14, 0.02, 0.38), (0, -0.16, 0.62), body.darker(0.5))
        else:
            level, r, y = 0.5, 0.45, 0.06
            a.disc(0.5, 0.05, (0, 0, 0.5), body)
        a.disc(r, 0.02, (0, -y, level), face)
        for angle, long in ((a.uniform(0, 360), 0.55), (a.uniform(0, 360), 0.8)):
            end = turn(y=angle) @ (0, 0, r * long)
            a.rod((0, -y - 0.03, level), (end[0], -y - 0.03, level + end[2]), 0.02, black(a.random), square=True)
    elif kind == "trophy":
        gold = metal(a.random)
        a.box((0.22, 0.22, 0.1), (0, 0, 0.1), a.pick(black, wood)(a.random))
        a.tube(0.05, 0.2, (0, 0, 0.4), gold, 0.7)
        a.add(shapes.BOWL, (0.3, 0.3, 0.25), (0, 0, 0.8), gold, cavity=bowl_inside(0.9))
        for side in (-1, 1):
            a.ring(0.15, 0.03, (side * 0.3, 0, 0.85), gold, turn(x=90))
    elif kind == "dumbbell":
        a.rod((-0.6, 0, 0.3), (0.6, 0, 0.3), 0.05, metal(a.random))
        for side in (-1, 1):
            for i in range(a.count(1, 3)):
                r = 0.3 - 0.06 * i
                a.disc(r, 0.05, (side * (0.4 + 0.12 * i), 0, 0.3), a.pick(black, paint)(a.random), (1, 0, 0))
    elif kind == "radiator":
        number = a.count(5, 10)
        for i in range(number):
            px = (2 * i - number + 1) * 0.09
            a.add(
                shapes.cushion(2.3), (0.07, 0.09, a.parts[0].size[2] if i else a.uniform(0.35, 0.6)), (px, 0, 0.6), body
            )
        for level in (0.3, 0.9):
            a.rod((-number * 0.09, 0, level), (number * 0.09, 0, level), 0.04, body)
    else:
        cloth = a.pick(saturated, patterned)(a.random)
        height, radius = a.uniform(1.2, 1.8), a.uniform(0.6, 1.0)
        cavity = tube_shell(0.08, 0.95, 0, True) if a.chance(0.7) else None
        a.tube(radius, radius * 0.22, (0, 0, height), cloth, 0.08, cavity=cavity)
        a.tube(0.03, height / 2, (0, 0, height / 2), a.pick(wood, metal, white)(a.random))
        a.tube(radius * 0.35, 0.04, (0, 0, 0.04), grey(a.random))
        if a.chance(0.4):
            a.tube(radius * 0.6, 0.025, (0, 0, height * 0.45), body)
