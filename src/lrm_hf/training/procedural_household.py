# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Vessels, bottles and appliances, composed from primitives: the floor is z = 0, the front is towards -y."""

from __future__ import annotations

from . import procedural_primitives as shapes
from .procedural_assembly import Assembly, bowl_inside, tube_shell, turn
from .procedural_textures import banded, black, earthy, grey, metal, paint, pastel, patterned, saturated, white, wood


def vessel(a: Assembly) -> None:
    """Cups, mugs, bowls, pots, teapots, vases, buckets."""
    clay = a.pick(white, paint, banded, patterned, earthy)(a.random)
    kind = a.pick("mug", "mug", "bowl", "vase", "pot", "teapot", "bucket", "goblet")
    radius, half = a.uniform(0.3, 0.45), a.uniform(0.3, 0.5)
    if kind == "mug":
        top = a.pick(1.0, a.uniform(0.85, 1.3))
        a.tube(radius, half, (0, 0, half), clay, top, cavity=tube_shell(top, 0.88, 0.08))
        if a.chance(0.8):
            side, tall = a.pick(-1, 1), half * a.uniform(0.5, 0.7)
            at = (side * radius * (1 + top) / 2, 0, half)
            a.ring(tall, tall * a.uniform(0.13, 0.24), at, a.pick(clay, paint(a.random)), turn(x=90))
        if a.chance(0.5):
            drink = a.pick(earthy, black, white)(a.random)
            a.tube(radius * 0.9 * min(top, 1), 0.01, (0, 0, half * a.uniform(1.2, 1.8)), drink)
        if a.chance(0.4):
            a.tube(radius * a.uniform(1.5, 1.9), 0.03, (0, 0, -0.02), a.pick(clay, white(a.random)), 1.25)
    elif kind == "bowl":
        a.add(shapes.BOWL, (0.6, 0.6, half * 0.6), (0, 0, half * 0.6), clay, cavity=bowl_inside(0.92))
        a.tube(0.25, 0.03, (0, 0, 0.02), clay)
        if a.chance(0.55):
            fruit = a.pick(saturated, earthy)(a.random)
            for i in range(a.count(3, 6)):
                r = a.uniform(0.13, 0.19)
                spot = turn(z=i * 70) @ (a.uniform(0.1, 0.32), 0, half * 0.9 + 0.05 * (i % 2))
                a.ball((r, r, r), spot, fruit if a.chance(0.6) else saturated(a.random))
    elif kind == "vase":
        neck = a.uniform(0.3, 0.7)
        belly = a.pick(shapes.barrel(a.uniform(0.4, 0.8)), shapes.ELLIPSOID, shapes.frustum(1.0, neck), shapes.BOWL)
        a.add(belly, (radius, radius, half), (0, 0, half), clay)
        throat = radius * neck * 0.9
        flare = a.uniform(0.9, 1.6)
        a.tube(throat, half * 0.45, (0, 0, half * 2.1), clay, flare, cavity=tube_shell(flare, 0.85, 0.3))
        if a.chance(0.4):
            for side in (-1, 1):
                a.ring(half * 0.4, 0.05, (side * radius * 0.9, 0, half * 1.5), clay, turn(x=90))
        if a.chance(0.5):
            a.tube(radius * 0.7, 0.03, (0, 0, 0.02), clay, 0.8)
    elif kind == "pot":
        steel = a.pick(metal, black, paint)(a.random)
        open_top = a.chance(0.5)
        cavity = tube_shell(1.0, 0.93, 0.08) if open_top else None
        a.tube(radius * 1.2, half * 0.6, (0, 0, half * 0.6), steel, cavity=cavity)
        if not open_top:
            a.add(shapes.DOME, (radius * 1.22, radius * 1.22, 0.06), (0, 0, half * 1.2 + 0.06), steel.darker(0.9))
            a.ball((0.07, 0.07, 0.06), (0, 0, half * 1.2 + 0.16), black(a.random))
        if a.chance(0.5):
            end = turn(z=a.uniform(0, 360)) @ (radius * 3, 0, half)
            a.rod((0, 0, half), end, 0.05, black(a.random))
        else:
            for side in (-1, 1):
                a.ring(0.14, 0.035, (side * radius * 1.2, 0, half), black(a.random))
    elif kind == "teapot":
        a.ball((radius * 1.1, radius * 1.1, radius * 0.9), (0, 0, radius * 0.85), clay)
        side = a.pick(-1, 1)
        a.rod((side * radius * 0.8, 0, radius * 0.6), (side * radius * 1.9, 0, radius * 1.5), 0.11, clay, 0.5)
        a.ring(radius * 0.65, 0.06, (-side * radius * 1.15, 0, radius * 0.9), clay, turn(x=90))
        a.add(shapes.DOME, (radius * 0.5, radius * 0.5, 0.06), (0, 0, radius * 1.68), a.pick(clay, paint(a.random)))
        a.ball((0.06, 0.06, 0.06), (0, 0, radius * 1.68 + 0.1), clay)
        a.tube(radius * 0.6, 0.04, (0, 0, 0.03), clay)
    elif kind == "bucket":
        top = a.uniform(1.0, 1.4)
        look = a.pick(paint, metal, wood)(a.random)
        a.tube(radius, half, (0, 0, half), look, top, cavity=tube_shell(top, 0.93, 0.06))
        a.ring(radius * top * 1.04, 0.03, (0, 0, 2 * half), look)
        if a.chance(0.6):
            a.ring(radius * top, 0.02, (0, 0, 2 * half), metal(a.random), turn(x=a.uniform(50, 120)))
    else:
        glass = a.pick(grey, pastel, metal)(a.random)
        a.add(shapes.BOWL, (radius, radius, half * 0.8), (0, 0, 1.2 + half * 0.8), glass, cavity=bowl_inside(0.9))
        a.tube(0.04, 0.55, (0, 0, 0.65), glass)
        a.tube(radius * 0.9, 0.04, (0, 0, 0.04), glass, 0.3)
        if a.chance(0.5):
            a.tube(radius * 0.8, 0.01, (0, 0, 1.2 + half * 1.3), saturated(a.random))


def bottle(a: Assembly) -> None:
    """Bottles, jars, cans, spray cans, tubes."""
    look = a.pick(paint, saturated, white, pastel)(a.random)
    radius, half = a.uniform(0.18, 0.34), a.uniform(0.35, 0.6)
    kind = a.pick("wine", "wine", "jar", "can", "flask")
    if kind == "wine":
        body = a.pick(shapes.CYLINDER, shapes.CYLINDER, shapes.barrel(0.25), shapes.rounded_slab(1.4))
        a.add(body, (radius, radius, half), (0, 0, half), look)
        shoulder, neck, long = a.uniform(0.08, 0.2), radius * a.uniform(0.25, 0.45), a.uniform(0.1, 0.25)
        quadric = a.pick(shapes.DOME, shapes.frustum(neck / radius))
        a.add(quadric, (radius, radius, shoulder), (0, 0, 2 * half + shoulder * 0.95), look)
        level = 2 * half + shoulder * 1.5
        a.tube(neck, long, (0, 0, level + long), look)
        a.tube(neck * 1.15, a.uniform(0.04, 0.1), (0, 0, level + 2 * long), paint(a.random))
        if a.chance(0.8):
            tall = half * a.uniform(0.25, 0.6)
            a.add(
                body,
                (radius * 1.02, radius * 1.02, tall),
                (0, 0, half * a.uniform(0.8, 1.1)),
                a.pick(white, paint, patterned, banded)(a.random),
            )
    elif kind == "jar":
        a.add(
            a.pick(shapes.barrel(0.3), shapes.CYLINDER, shapes.rounded_slab(1.5)),
            (radius, radius, half * 0.7),
            (0, 0, half * 0.7),
            look,
        )
        a.tube(radius * a.uniform(0.75, 1.02), 0.08, (0, 0, half * 1.4 + 0.06), paint(a.random))
        if a.chance(0.6):
            a.tube(radius * 1.01, half * 0.35, (0, 0, half * 0.6), patterned(a.random))
        if a.chance(0.3):
            a.ball((0.06, 0.06, 0.06), (0, 0, half * 1.4 + 0.18), paint(a.random))
    elif kind == "can":
        a.tube(radius, half, (0, 0, half), a.pick(metal, paint, banded)(a.random))
        a.tube(radius * 1.005, half * a.uniform(0.4, 0.9), (0, 0, half), a.pick(paint, patterned, banded)(a.random))
        a.tube(radius * 0.9, 0.03, (0, 0, 2 * half + 0.02), metal(a.random), 0.9)
        if a.chance(0.5):
            a.tube(radius * 0.4, 0.08, (0, 0, 2 * half + 0.1), paint(a.random), a.uniform(0.5, 1))
    else:
        a.add(shapes.cushion(a.uniform(1.6, 2.4)), (radius * 1.2, radius * 0.6, half), (0, 0, half), look)
        a.tube(0.09, 0.1, (0, 0, 2 * half), look)
        cap = paint(a.random)
        a.box((0.07, 0.15, 0.07), (0, -0.08, 2 * half + 0.16), cap)
        a.rod((0, -0.16, 2 * half + 0.12), (0, -0.14, 2 * half - 0.08), 0.03, cap)


def appliance(a: Assembly) -> None:
    """Fridges, washing machines, ovens, microwaves, toasters, boilers."""
    body = a.pick(white, white, grey, metal, paint)(a.random)
    dark, steel = black(a.random), metal(a.random)
    kind = a.pick("fridge", "washer", "oven", "microwave", "toaster", "coffee")
    if kind == "fridge":
        x, y, z = a.uniform(0.28, 0.42), a.uniform(0.28, 0.36), a.uniform(0.6, 0.95)
        a.box((x, y, z), (0, 0, z), body)
        split = 2 * z * a.uniform(0.3, 0.75)
        side = a.pick(-1, 1)
        for low, high in ((0.03, split - 0.01), (split + 0.01, 2 * z - 0.01)):
            a.box((x * 0.98, 0.025, (high - low) / 2), (0, -y - 0.02, (low + high) / 2), body.darker(0.95))
            a.box((0.015, 0.025, (high - low) * 0.25), (side * x * 0.8, -y - 0.06, (low + high) / 2), steel)
    elif kind == "washer":
        x, y, z = 0.3, a.uniform(0.25, 0.32), a.uniform(0.4, 0.45)
        a.box((x, y, z), (0, 0, z), body)
        r = a.uniform(0.16, 0.22)
        a.disc(r, 0.02, (0, -y, z * 0.95), a.pick(steel, dark, grey(a.random)))
        a.disc(r * 0.75, 0.03, (0, -y, z * 0.95), dark)
        a.box((x * 0.95, 0.01, 0.05), (0, -y, 2 * z - 0.08), grey(a.random))
        a.disc(0.035, 0.03, (a.uniform(-0.1, 0.25), -y, 2 * z - 0.08), steel)
        a.box((0.08, 0.015, 0.03), (-x * 0.65, -y, 2 * z - 0.08), dark)
    elif kind == "oven":
        x, y, z = a.uniform(0.28, 0.4), 0.3, 0.43
        a.box((x, y, z), (0, 0, z), body)
        a.box((x * 0.9, 0.02, z * 0.5), (0, -y, z * 0.75), dark)
        a.box((x * 0.7, 0.025, z * 0.3), (0, -y, z * 0.75), grey(a.random, 0.2, 0.5))
        a.rod((-x * 0.8, -y - 0.05, z * 1.32), (x * 0.8, -y - 0.05, z * 1.32), 0.015, steel)
        for i in range(4):
            a.disc(0.03, 0.03, ((i - 1.5) * x * 0.45, -y, z * 1.7), a.pick(dark, steel))
        for px, py in a.four(x * 0.45, y * 0.45):
            a.tube(a.uniform(0.07, 0.11), 0.01, (px, py, 2 * z + 0.01), dark)
        if a.chance(0.3):
            a.box((x, 0.02, 0.12), (0, y, 2 * z + 0.1), body)
    elif kind == "microwave":
        x, y, z = 0.27, 0.19, a.uniform(0.14, 0.18)
        a.box((x, y, z), (0, 0, z), body)
        a.box((x * 0.65, 0.012, z * 0.8), (-x * 0.28, -y, z), dark)
        a.box((x * 0.22, 0.012, z * 0.8), (x * 0.72, -y, z), grey(a.random))
        a.box((0.012, 0.025, z * 0.7), (x * 0.42, -y - 0.02, z), steel)
        for i in range(3):
            a.disc(0.022, 0.02, (x * 0.72, -y, z * (0.5 + 0.45 * i)), a.pick(steel, dark))
    elif kind == "toaster":
        a.add(shapes.cushion(a.uniform(2.0, 2.6)), (0.17, 0.1, 0.11), (0, 0, 0.12), body)
        for side in (-1, 1):
            a.box((0.12, 0.015, 0.01), (0, side * 0.035, 0.225), dark)
            if a.chance(0.5):
                a.box((0.1, 0.012, 0.06), (0, side * 0.035, 0.24), earthy(a.random))
        a.box((0.02, 0.03, 0.012), (0.18, 0, 0.17), dark)
        a.box((0.17, 0.1, 0.02), (0, 0, 0.02), dark)
    else:
        x, y = 0.14, 0.18
        a.box((x, y, 0.03), (0, 0, 0.03), body)
        a.box((x, y * 0.4, 0.2), (0, y * 0.6, 0.2), body)
        a.box((x, y, 0.05), (0, 0, 0.4), a.pick(body, dark))
        a.tube(0.09, 0.09, (0, -0.05, 0.16), a.pick(grey(a.random), dark), 0.85, cavity=tube_shell(0.85, 0.9))
        a.ring(0.07, 0.012, (a.pick(-1, 1) * 0.1, -0.05, 0.17), dark, turn(x=90))


def electronics(a: Assembly) -> None:
    """Televisions, monitors, laptops, loudspeakers, cameras, phones."""
    case, dark = a.pick(black, black, grey, white, paint)(a.random), black(a.random)
    screen = a.pick(black, saturated, patterned, pastel)(a.random)
    kind = a.pick("tv", "tv", "laptop", "speaker", "camera", "crt", "phone")
    if kind == "tv":
        x, z = a.uniform(0.4, 0.6), a.uniform(0.22, 0.36)
        a.box((x, 0.03, z), (0, 0, z + 0.12), case)
        a.box((x * 0.94, 0.01, z * 0.9), (0, -0.03, z + 0.12), screen)
        if a.chance(0.7):
            a.box((0.05, 0.02, 0.08), (0, 0.02, 0.1), case)
            a.add(a.pick(shapes.BOX, shapes.CYLINDER), (x * 0.4, 0.12, 0.015), (0, 0, 0.015), case)
        else:
            for side in (-1, 1):
                a.rod((side * x * 0.7, 0, 0.13), (side * x * 0.75, -0.1, 0), 0.015, case)
                a.rod((side * x * 0.7, 0, 0.13), (side * x * 0.75, 0.1, 0), 0.015, case)
    elif kind == "laptop":
        x, y = 0.18, a.uniform(0.11, 0.14)
        a.box((x, y, 0.01), (0, 0, 0.01), case)
        a.box((x * 0.88, y * 0.5, 0.003), (0, y * 0.35, 0.02), dark)
        a.box((x * 0.3, y * 0.25, 0.003), (0, -y * 0.55, 0.02), grey(a.random))
        lean = a.uniform(5, 35)
        tilt = turn(x=-lean)
        up = tilt @ (0, 0, y)
        a.box((x, 0.007, y), (0, y + up[1], 0.02 + up[2]), case, tilt)
        a.box((x * 0.92, 0.004, y * 0.88), (0, y + up[1] - 0.007, 0.02 + up[2]), screen, tilt)
    elif kind == "speaker":
        x, y, z = a.uniform(0.12, 0.2), a.uniform(0.12, 0.18), a.uniform(0.2, 0.5)
        a.box((x, y, z), (0, 0, z), a.pick(case, wood(a.random)))
        for level, r in ((0.6, 0.85), (1.35, 0.6), (1.75, 0.3)):
            r = min(r * x, z * 0.35)
            a.disc(r, 0.01, (0, -y, level * z), grey(a.random, 0.1, 0.5))
            a.ball((r * 0.6, 0.02, r * 0.6), (0, -y - 0.005, level * z), dark)
    elif kind == "camera":
        a.box((0.16, 0.05, 0.1), (0, 0, 0.1), case)
        a.rod((0, -0.03, 0.1), (0, -a.uniform(0.12, 0.25), 0.1), 0.075, dark)
        a.rod((0, -0.1, 0.1), (0, -0.13, 0.1), 0.08, grey(a.random))
        a.add(shapes.prism(0.5), (0.06, 0.05, 0.03), (0, 0, 0.23), case)
        a.tube(0.025, 0.015, (0.11, 0, 0.21), metal(a.random))
        a.box((0.03, 0.04, 0.1), (-0.15, -0.02, 0.1), dark)
    elif kind == "crt":
        a.add(shapes.cushion(2.4), (0.24, 0.1, 0.2), (0, -0.08, 0.24), case)
        a.add(shapes.frustum(0.5), (0.2, 0.18, 0.16), (0, 0.12, 0.24), case, turn(x=-90))
        a.box((0.19, 0.02, 0.14), (0, -0.17, 0.25), screen)
        a.tube(0.12, 0.03, (0, 0, 0.03), case)
        if a.chance(0.5):
            for side in (-1, 1):
                a.rod((0, 0.1, 0.42), (side * 0.2, 0.1, 0.65), 0.008, metal(a.random))
    else:
        x, z = a.uniform(0.06, 0.1), a.uniform(0.13, 0.18)
        tilt = turn(x=-a.uniform(0, 30))
        a.add(a.pick(shapes.BOX, shapes.cushion(2.5)), (x, 0.012, z), (0, 0, z), case, tilt)
        a.box((x * 0.88, 0.003, z * 0.62), tilt @ (0, -0.012, z * 0.15) + (0, 0, z), screen, tilt)
        for i in range(6):
            key = tilt @ ((i % 3 - 1) * x * 0.55, -0.012, -z * (0.62 + 0.2 * (i // 3)))
            a.box((x * 0.2, 0.004, z * 0.06), key + (0, 0, z), grey(a.random, 0.5, 0.9), tilt)
