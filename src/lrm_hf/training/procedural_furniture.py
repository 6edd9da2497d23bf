# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Tables, beds, cupboards, lamps and baths from primitives, in metres: the floor is z = 0, the front is towards -y."""

from __future__ import annotations

from . import procedural_primitives as shapes
from .procedural_assembly import Assembly, open_front, shell, tube_shell, turn
from .procedural_seating import four_legs
from .procedural_textures import (
    Material,
    black,
    books,
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


def table(a: Assembly) -> None:
    x, y, height = a.uniform(0.35, 1.0), a.uniform(0.3, 0.55), a.uniform(0.3, 0.8)
    top, frame = surface_material(a.random), frame_material(a.random)
    frame = top if a.chance(0.4) else frame
    thick = a.uniform(0.012, 0.04)
    if a.chance(0.35):
        radius = a.uniform(0.3, 0.6)
        oval = a.pick(1.0, 1.0, a.uniform(1.2, 1.7))
        a.add(shapes.CYLINDER, (radius * oval, radius, thick), (0, 0, height), top)
        if a.chance(0.65):
            a.tube(a.uniform(0.03, 0.07), height / 2, (0, 0, height / 2), frame, a.uniform(0.6, 1.2))
            if a.chance(0.5):
                a.tube(radius * a.uniform(0.4, 0.7), 0.025, (0, 0, 0.025), frame, a.uniform(0.4, 1))
            else:
                for px, py in a.four(radius * 0.5, radius * 0.5):
                    a.rod((0, 0, 0.15), (px, py, 0.02), 0.025, frame)
        else:
            four_legs(a, radius * 0.7, radius * 0.7, height, frame)
    else:
        quadric = a.pick(shapes.BOX, shapes.BOX, shapes.BOX, shapes.rounded_slab(a.uniform(1.3, 1.8)))
        a.add(quadric, (x, y, thick), (0, 0, height), top)
        style = a.pick("legs", "legs", "legs", "trestle", "panels", "crossed")
        if style == "legs":
            four_legs(a, x * 0.96, y * 0.95, height, frame)
            if a.chance(0.5):
                a.box((x * 0.9, y * 0.88, a.uniform(0.03, 0.06)), (0, 0, height - 0.06), frame)
            if a.chance(0.35):
                a.box((x * 0.9, y * 0.9, 0.012), (0, 0, height * a.uniform(0.15, 0.4)), a.pick(top, frame))
        elif style == "panels":
            for side in (-1, 1):
                a.box((0.02, y * 0.9, height / 2), (side * x * a.uniform(0.8, 0.97), 0, height / 2), frame)
            if a.chance(0.6):
                a.box((x * 0.9, 0.012, height * 0.25), (0, y * 0.5, height * 0.65), frame)
        else:
            for side in (-1, 1):
                px = side * x * 0.8
                if style == "trestle":
                    a.box((0.035, 0.035, height / 2), (px, 0, height / 2), frame)
                    a.box((0.04, y * 0.85, 0.03), (px, 0, 0.03), frame)
                    a.box((0.04, y * 0.75, 0.025), (px, 0, height - 0.04), frame)
                else:
                    for end in (-1, 1):
                        a.rod((px, end * y * 0.8, 0), (px, -end * y * 0.8, height), 0.025, frame, square=True)
            a.box((x * 0.8, 0.025, 0.025), (0, 0, height * a.uniform(0.2, 0.6)), frame)
    if a.chance(0.3):
        _clutter(a, min(x, 0.3), height + thick)


def _clutter(a: Assembly, reach: float, level: float) -> None:
    """One or two small things on a table."""
    for side in a.pick((-1,), (1,), (-1, 1)):
        at = side * reach * a.uniform(0.2, 0.8)
        kind, look = a.pick("vase", "books", "bowl", "box"), paint(a.random)
        if kind == "vase":
            a.add(shapes.barrel(a.uniform(0.3, 0.8)), (0.06, 0.06, 0.11), (at, 0, level + 0.11), look)
        elif kind == "bowl":
            a.add(shapes.BOWL, (0.13, 0.13, 0.05), (at, 0, level + 0.05), look)
        elif kind == "books":
            a.box((0.1, 0.07, 0.035), (at, 0, level + 0.035), look, turn(z=a.uniform(-30, 30)))
        else:
            a.box((0.08, 0.08, a.uniform(0.05, 0.15)), (at, 0, level + 0.1), look)


def desk(a: Assembly) -> None:
    x, y, height = a.uniform(0.5, 0.8), a.uniform(0.28, 0.4), a.uniform(0.68, 0.78)
    top, body = surface_material(a.random), surface_material(a.random)
    body = top if a.chance(0.6) else body
    a.box((x, y, 0.02), (0, 0, height), top)
    side = a.pick(-1, 1)
    block = a.uniform(0.16, 0.24)
    handle = a.pick(metal, black)(a.random)
    both = a.chance(0.25)
    for where in (side, -side):
        if where == side or both:
            a.box((block, y * 0.9, height / 2 - 0.02), (where * (x - block), 0, height / 2), body)
            _drawers(a, where * (x - block), -y * 0.9, block, 0.05, height - 0.04, a.count(2, 3), body, handle)
        else:
            a.box((0.02, y * 0.9, height / 2), (where * (x - 0.03), 0, height / 2), body)
    if a.chance(0.6):
        a.box((x * 0.95, 0.012, height * 0.3), (0, y * 0.7, height * 0.65), body)
    choice = a.pick("monitor", "lamp", "shelf", "none")
    if choice == "monitor":
        dark = black(a.random)
        a.box((0.25, 0.015, 0.16), (0, y * 0.3, height + 0.28), dark)
        a.box((0.23, 0.005, 0.14), (0, y * 0.3 - 0.015, height + 0.28), paint(a.random))
        a.box((0.02, 0.015, 0.08), (0, y * 0.35, height + 0.09), dark)
        a.box((0.12, 0.08, 0.01), (0, y * 0.3, height + 0.03), dark)
    elif choice == "shelf":
        a.box((x, y * 0.35, 0.2), (0, y * 0.65, height + 0.22), top, cavity=open_front(0.06, 0.1, 0.12))


def _drawers(
    a: Assembly,
    x: float,
    y: float,
    half: float,
    low: float,
    high: float,
    rows: int,
    front: Material,
    handle: Material,
) -> None:
    """Drawer fronts with handles on a face at depth `y`."""
    step = (high - low) / rows
    knob = a.chance(0.5)
    for i in range(rows):
        level = low + (i + 0.5) * step
        a.box((half * 0.9, 0.012, step * 0.44), (x, y - 0.006, level), front.darker(0.88))
        if knob:
            a.ball((0.02, 0.02, 0.02), (x, y - 0.03, level), handle)
        else:
            a.box((half * 0.35, 0.012, 0.012), (x, y - 0.03, level + step * 0.15), handle)


def bed(a: Assembly) -> None:
    x, y = a.pick(a.uniform(0.42, 0.55), a.uniform(0.65, 0.95)), a.uniform(0.9, 1.1)
    frame, sheet = surface_material(a.random), a.pick(white, white, fabric)(a.random)
    blanket = fabric(a.random)
    level = a.uniform(0.2, 0.4)
    first = len(a.parts)
    a.box((x, y, level * 0.3), (0, 0, level * 0.7), frame)
    for px, py in a.four(x * 0.93, y * 0.95):
        a.box((0.04, 0.04, level / 2), (px, py, level / 2), frame)
    a.add(shapes.cushion(a.uniform(2.3, 2.9)), (x * 0.97, y * 0.97, 0.12), (0, 0, level + 0.08), sheet)
    cover = a.uniform(0.5, 0.8)
    a.add(shapes.cushion(2.75), (x * 1.0, y * cover, 0.125), (0, -y * (1 - cover) * 0.97, level + 0.085), blanket)
    head = a.uniform(0.3, 0.7)
    quadric = a.pick(shapes.BOX, shapes.BOX, shapes.cushion(2.2))
    a.add(quadric, (x, 0.035, head), (0, y, level * 0.4 + head * 0.8), a.pick(frame, fabric(a.random)))
    if a.chance(0.5):
        a.box((x, 0.03, head * a.uniform(0.3, 0.6)), (0, -y, level), frame)
    pillow = a.pick(sheet, fabric(a.random))
    sides = (0,) if x < 0.6 else (-0.5, 0.5)
    for side in sides:
        at = (side * x, y * 0.76, level + 0.22)
        a.add(shapes.cushion(1.8), (min(x * 0.42, 0.33), 0.2, 0.08), at, pillow, turn(x=12))
    if len(sides) == 1 and a.chance(0.2):
        # a bunk bed: the same again above, on four posts
        rise = a.uniform(0.9, 1.1)
        a.box((x, y, 0.05), (0, 0, level + rise), frame)
        a.add(shapes.cushion(2.6), (x * 0.95, y * 0.95, 0.1), (0, 0, level + rise + 0.1), blanket)
        a.box((x, 0.02, 0.12), (0, y, level + rise + 0.15), frame)
        for px, py in a.four(x, y):
            a.box((0.03, 0.03, (level + rise + 0.3) / 2), (px, py, (level + rise + 0.3) / 2), frame)
    if a.chance(0.75):
        # mostly seen from the foot or from a long side
        a.moved(first, (0, 0, 0), turn(z=a.pick(0, 90, -90)))


def shelf(a: Assembly) -> None:
    x, y, z = a.uniform(0.25, 0.7), a.uniform(0.12, 0.22), a.uniform(0.4, 1.1)
    body, rows = surface_material(a.random), a.count(2, 5)
    wall = 0.018
    if a.chance(0.8):
        a.box((x, y, z), (0, 0, z), body, cavity=open_front(wall / x, a.pick(wall / y, -1.02), wall / z))
    else:
        for px, py in a.four(x, y):
            a.box((0.015, 0.015, z), (px, py, z), body)
        a.box((x, y, wall), (0, 0, 2 * z - wall), body)
        a.box((x, y, wall), (0, 0, 0.1), body)
    step = 2 * z / rows
    for i in range(1, rows):
        a.box((x - 0.01, y * 0.95, 0.01), (0, 0.005, i * step), body)
    if a.chance(0.3):
        a.box((0.01, y * 0.9, z - 0.02), (a.uniform(-0.4, 0.4) * x, 0.005, z), body)
    if a.chance(0.65):
        for i in range(rows):
            if a.chance(0.8):
                half = (x - 0.04) * a.uniform(0.3, 0.98)
                tall = step * a.uniform(0.25, 0.42)
                at = (a.pick(-1, 1) * (x - 0.03 - half), 0.02, i * step + 0.012 + tall)
                if a.chance(0.75):
                    a.box((half, y * 0.7, tall), at, books(a.random))
                else:
                    thing = a.pick(shapes.ELLIPSOID, shapes.barrel(0.5), shapes.BOX)
                    a.add(thing, (min(tall, y), min(tall, y) * 0.8, tall), at, paint(a.random))


def cabinet(a: Assembly) -> None:
    """Wardrobes, dressers, sideboards, bedside tables, kitchen units."""
    x, y, z = a.pick((0.5, 0.3, 1.0), (0.6, 0.25, 0.45), (0.25, 0.22, 0.28), (0.8, 0.25, 0.35), (0.35, 0.3, 0.42))
    x, y, z = x * a.uniform(0.75, 1.3), y * a.uniform(0.8, 1.2), z * a.uniform(0.8, 1.2)
    body, front, handle = surface_material(a.random), surface_material(a.random), a.pick(metal, black, wood)(a.random)
    front = body.darker(a.uniform(0.8, 0.95)) if a.chance(0.55) else front
    legs = a.uniform(0.05, 0.18) if a.chance(0.4) else 0.0
    if legs:
        four_legs(a, x * 0.95, y * 0.9, legs + 0.02, frame_material(a.random))
    a.box((x, y, z), (0, 0, legs + z), body)
    if a.chance(0.45):
        a.box((x * 1.04, y * 1.06, 0.015), (0, 0, legs + 2 * z), a.pick(body, surface_material(a.random)))
    low, high = legs + 0.04, legs + 2 * z - 0.04
    columns = max(1, round(x / 0.3))
    drawers = a.count(1, 3) if columns <= 2 else 1
    split = low + (high - low) * a.pick(0.0, 0.3, 0.6, 1.0) if z < 0.7 else low + (high - low) * a.pick(0.0, 0.25)
    half = (x - 0.02) / columns
    for i in range(columns):
        px = (2 * i - columns + 1) * half
        if split > low:
            _drawers(a, px, -y, half, low, split, drawers, front, handle)
        if split < high:
            a.box((half * 0.95, 0.012, (high - split) * 0.48), (px, -y - 0.006, (split + high) / 2), front)
            side = 1 if i % 2 == 0 else -1
            a.box((0.01, 0.015, 0.06), (px + side * half * 0.75, -y - 0.03, (split + high) / 2), handle)
    if z < 0.6 and len(a.parts) < 22 and a.chance(0.25):
        a.box((x * 0.6, 0.012, 0.3), (0, y * 0.9, legs + 2 * z + 0.32), body)
        a.box((x * 0.55, 0.008, 0.27), (0, y * 0.9 - 0.012, legs + 2 * z + 0.32), grey(a.random, 0.7, 0.95))


def lamp(a: Assembly) -> None:
    shade, stand = a.pick(white, fabric, paint, patterned)(a.random), a.pick(metal, black, wood, paint)(a.random)
    radius, height = a.uniform(0.15, 0.3), a.uniform(0.3, 1.2)
    kind = a.pick("floor", "floor", "table", "hanging", "desk")
    top = a.pick(a.uniform(0.3, 0.95), 1.0)
    half = radius * a.uniform(0.45, 1.0)
    if kind == "desk":
        joint = (0, 0.12, 0.3)
        a.tube(0.1, 0.015, (0, 0.05, 0.015), stand)
        a.rod((0, 0.05, 0.02), joint, 0.012, stand)
        a.rod(joint, (0, -0.1, 0.5), 0.012, stand)
        a.ball((0.02, 0.02, 0.02), joint, stand)
        a.tube(0.09, 0.07, (0, -0.14, 0.46), shade, 0.4, turn(x=-35), tube_shell(0.4, 0.9, 0, True))
        a.moved(0, (0, 0, 0), turn(z=a.uniform(-90, 90)))
        return
    style = a.pick("cone", "cone", "cone", "dome", "ball")
    if style == "cone":
        a.tube(radius, half, (0, 0, height), shade, top, cavity=tube_shell(top, 0.93, through=True))
        a.ball((0.04, 0.04, 0.05), (0, 0, height), white(a.random))
    elif style == "dome":
        a.add(shapes.DOME, (radius, radius, half), (0, 0, height), shade)
    else:
        a.ball((radius, radius, radius * a.uniform(0.7, 1.1)), (0, 0, height), shade)
    if kind == "hanging":
        a.tube(0.012, 0.3, (0, 0, height + half + 0.28), stand)
        a.tube(0.06, 0.02, (0, 0, height + half + 0.58), stand)
    elif kind == "table":
        low = height - half - radius * a.uniform(0.9, 1.6)
        mid = (height - half + low) / 2
        body = a.pick(shapes.ELLIPSOID, shapes.barrel(0.6), shapes.vase(0.4), shapes.frustum(0.4), shapes.CYLINDER)
        wide = radius * a.uniform(0.3, 0.6)
        a.add(body, (wide, wide, (height - half - low) / 2), (0, 0, mid), stand)
        a.tube(wide * 1.1, 0.015, (0, 0, low), stand)
        a.tube(0.012, half + 0.02, (0, 0, height - half), stand)
    elif a.chance(0.75):
        low = height - a.uniform(0.9, 1.4)
        a.tube(0.015, (height - low) / 2, (0, 0, (height + low) / 2), stand)
        a.tube(radius * a.uniform(0.5, 0.9), 0.02, (0, 0, low), stand, a.uniform(0.3, 1))
    else:
        for i in range(3):
            foot = turn(z=90 + 120 * i) @ (radius * 1.1, 0, height - 1.1)
            a.rod((0, 0, height), foot, 0.016, stand)


def bath(a: Assembly) -> None:
    """Bath tubs, wash basins, toilets."""
    ceramic, steel = a.pick(white, white, paint)(a.random), metal(a.random)
    kind = a.pick("tub", "basin", "toilet")
    if kind == "tub":
        x, y, z = a.uniform(0.7, 0.9), a.uniform(0.35, 0.42), a.uniform(0.22, 0.32)
        quadric = a.pick(shapes.BOX, shapes.rounded_slab(a.uniform(1.15, 1.7)), shapes.BOWL)
        a.add(quadric, (x, y, z), (0, 0, z + 0.02), ceramic, cavity=shell(quadric, 0.86, 0.12))
        a.rod((x * 0.9, 0, 2 * z), (x * 0.9, 0, 2 * z + 0.15), 0.02, steel)
        a.rod((x * 0.9, 0, 2 * z + 0.15), (x * 0.75, 0, 2 * z + 0.13), 0.016, steel)
    elif kind == "basin":
        x = a.uniform(0.25, 0.4)
        quadric = a.pick(shapes.BOWL, shapes.BOX, shapes.rounded_slab(1.4))
        a.add(quadric, (x, 0.22, 0.09), (0, 0, 0.85), ceramic, cavity=shell(quadric, 0.82, 0.15))
        if a.chance(0.5):
            a.box((x * 1.05, 0.23, 0.38), (0, 0.01, 0.385), surface_material(a.random))
            for side in (-1, 1):
                a.box((x * 0.48, 0.012, 0.3), (side * x * 0.52, -0.23, 0.4), a.pick(white, wood)(a.random))
        else:
            a.tube(0.09, 0.39, (0, 0.02, 0.39), ceramic, a.uniform(0.7, 1))
        a.rod((0, 0.17, 0.9), (0, 0.17, 1.06), 0.015, steel)
        a.rod((0, 0.18, 1.05), (0, 0.05, 1.03), 0.013, steel)
    else:
        a.add(shapes.BOWL, (0.19, 0.27, 0.2), (0, -0.05, 0.24), ceramic, cavity=shell(shapes.BOWL, 0.8, 0.4))
        a.tube(0.12, 0.13, (0, 0.02, 0.13), ceramic, 0.8)
        a.box((0.2, 0.09, 0.2), (0, 0.28, 0.58), ceramic)
        a.box((0.21, 0.1, 0.015), (0, 0.28, 0.79), ceramic)
        up = a.chance(0.5)
        at, tilt = ((0, 0.17, 0.66), turn(x=80)) if up else ((0, -0.05, 0.455), None)
        a.add(shapes.CYLINDER, (0.19, 0.25, 0.015), at, a.pick(ceramic, paint(a.random)), tilt)
