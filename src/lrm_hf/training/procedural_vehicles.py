# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Cars, cycles, engines, boats and planes, composed from primitives: the floor is z = 0, the front is towards -y."""

from __future__ import annotations

from . import procedural_primitives as shapes
from .procedural_assembly import Assembly, bowl_inside, turn
from .procedural_textures import black, grey, metal, paint, patterned, saturated, white, wood


def _wheels(a: Assembly, places: list[tuple[float, float]], radius: float, width: float) -> None:
    """Upright wheels with hubs; (x, y) of each, rolling along y."""
    tyre, hub = black(a.random), metal(a.random)
    for x, y in places:
        a.disc(radius, width, (x, y, radius), tyre, (1, 0, 0))
        a.disc(radius * 0.55, width * 1.08, (x, y, radius), hub, (1, 0, 0))


def car(a: Assembly) -> None:
    """Cars, vans, buses, trucks: built along y with the bonnet at -y, then often turned to show a side."""
    colour, glass = a.pick(saturated, saturated, white, grey, black, paint)(a.random), grey(a.random, 0.1, 0.45)
    lights, dark = white(a.random), black(a.random)
    kind = a.pick("car", "car", "car", "suv", "van", "bus", "truck", "pickup")
    x, y, r = a.uniform(0.36, 0.44), a.uniform(0.8, 1.05), a.uniform(0.14, 0.19)
    clear = r * a.uniform(0.7, 1.0)
    if kind in ("car", "suv", "pickup"):
        half = a.uniform(0.12, 0.17) * (1.25 if kind == "suv" else 1)
        soft = shapes.cushion(a.uniform(2.0, 2.5)) if a.chance(0.6) else shapes.BOX
        a.add(soft, (x, y, half), (0, 0, clear + half), colour)
        tall = a.uniform(0.13, 0.19)
        long, back = (0.3, -0.1) if kind == "pickup" else (a.uniform(0.45, 0.7), a.uniform(0, 0.25))
        slope = a.uniform(0.5, 0.8)
        level = clear + 2 * half + tall * 0.8
        # the prism narrows along its x, which the quarter turn lays along the car
        quarter = turn(z=90)
        cabin = shapes.prism(slope)
        a.add(cabin, (y * long, x * 0.9, tall), (0, back * y, level), colour, quarter)
        a.add(cabin, (y * long * 0.86, x * 0.92, tall * 0.62), (0, back * y, level), glass, quarter)
        a.add(cabin, (y * long * 1.02, x * 0.76, tall * 0.66), (0, back * y, level), glass, quarter)
        if kind == "pickup":
            a.box((x * 0.92, y * 0.35, 0.09), (0, y * 0.6, clear + 2 * half), colour)
            a.box((x * 0.8, y * 0.3, 0.05), (0, y * 0.6, clear + 2 * half + 0.05), dark)
    elif kind in ("van", "bus"):
        y, half = (y * 1.25, a.uniform(0.34, 0.45)) if kind == "bus" else (y, a.uniform(0.3, 0.4))
        quadric = a.pick(shapes.BOX, shapes.cushion(2.6))
        a.add(quadric, (x, y, half), (0, 0, clear + half), colour)
        level = clear + half * 1.35
        panes = a.count(3, 5) if kind == "bus" else 2
        for i in range(panes):
            a.box((x * 1.01, y * 0.8 / panes, half * 0.32), (0, (2 * i - panes + 1) * y * 0.95 / panes, level), glass)
        a.box((x * 0.88, y * 1.005, half * 0.33), (0, 0, level), glass)
        a.box((x * 1.012, y * 1.012, 0.03), (0, 0, clear + half * 0.7), paint(a.random))
    else:
        y *= 1.1
        a.box((x * 0.9, y, 0.06), (0, 0, clear + 0.08), dark)
        half = a.uniform(0.22, 0.3)
        a.box((x, y * 0.26, half), (0, -y * 0.74, clear + half + 0.1), colour)
        a.box((x * 0.85, y * 0.27, half * 0.35), (0, -y * 0.745, clear + half * 1.4 + 0.1), glass)
        cargo = a.pick(white, paint, patterned)(a.random)
        tall = a.uniform(0.15, 0.45)
        if a.chance(0.3):
            a.rod((0, -y * 0.4, clear + 0.42), (0, y, clear + 0.42), x * 0.8, cargo)
        else:
            a.box((x * 1.02, y * 0.7, tall), (0, y * 0.28, clear + tall + 0.12), cargo)
    wheel = [(sx * x * 0.92, sy * y * a.pick(0.58, 0.62)) for sx in (-1, 1) for sy in (-1, 1)]
    _wheels(a, wheel, r, 0.07)
    for side in (-1, 1):
        a.ball((0.07, 0.03, 0.05), (side * x * 0.65, -y * 0.97, clear + 0.14), lights)
    a.box((x * 0.5, y * 1.005, 0.03), (0, 0, clear + 0.05), dark)
    a.moved(0, (0, 0, 0), turn(z=a.pick(0, a.uniform(-40, 40), 90, -90, a.uniform(-150, 150))))


def cycle(a: Assembly) -> None:
    """Bicycles, motorcycles, scooters and tricycles, seen from the side."""
    frame, dark, steel = a.pick(saturated, paint)(a.random), black(a.random), metal(a.random)
    motor = a.chance(0.4)
    r, half = a.uniform(0.28, 0.36), a.uniform(0.45, 0.6)
    tube = 0.085 if motor else a.uniform(0.022, 0.04)
    upright = turn(x=90)
    for side in (-1, 1):
        a.ring(r, tube, (side * half, 0, r), dark, upright)
        a.disc(r * 0.45 if motor else 0.05, 0.035, (side * half, 0, r), steel)
        if not motor:
            for angle in (0, 60, 120):
                spoke = turn(y=angle) @ (r * 0.97, 0, 0)
                a.rod(spoke * -1 + (side * half, 0, r), spoke + (side * half, 0, r), 0.007, steel)
    seat, crank, head = (half * 0.35, 0, r * 2.5), (half * 0.1, 0, r), (-half * 0.72, 0, r * 2.5)
    thin = 0.03 if motor else 0.022
    a.rod((-half, 0, r), (head[0], 0, r * 2.9), thin, steel if motor else frame)
    if motor:
        a.ball((0.26, 0.11, 0.13), (-half * 0.25, 0, r * 2.3), frame)
        a.add(shapes.cushion(2.0), (0.28, 0.1, 0.06), (half * 0.5, 0, r * 2.25), dark)
        a.box((0.18, 0.1, 0.15), (0, 0, r * 1.1), steel)
        a.rod((0, -0.1, r * 0.8), (half * 1.2, -0.12, r * 0.9), 0.045, steel)
        a.add(shapes.cushion(2.2), (0.2, 0.09, 0.06), (half * 0.95, 0, r * 2.2), frame, turn(y=-15))
        a.disc(0.08, 0.05, (head[0] - 0.08, 0, r * 2.6), white(a.random), (1, 0, 0))
    else:
        for start, end in ((crank, seat), (crank, head), (seat, head), (crank, (half, 0, r)), ((half, 0, r), seat)):
            a.rod(start, end, thin, frame)
        a.add(shapes.cushion(1.8), (0.12, 0.06, 0.03), (seat[0], 0, seat[2] + 0.08), dark)
        a.disc(0.08, 0.02, crank, steel)
    a.rod((head[0], -0.24, r * 2.95), (head[0], 0.24, r * 2.95), 0.02, dark)
    a.moved(0, (0, 0, 0), turn(z=a.pick(0, 180, a.uniform(-50, 50), a.uniform(0, 360))))


def train(a: Assembly) -> None:
    """Steam engines and wagons of a toy railway, boats, and planes: what is neither car nor cycle."""
    body, accent, dark = saturated(a.random), paint(a.random), black(a.random)
    kind = a.pick("engine", "boat", "plane")
    if kind == "engine":
        a.box((0.26, 0.8, 0.06), (0, 0, 0.26), dark)
        a.rod((0, -0.75, 0.52), (0, 0.3, 0.52), 0.22, body)
        a.rod((0, -0.8, 0.52), (0, -0.74, 0.52), 0.17, dark)
        a.box((0.28, 0.25, 0.3), (0, 0.5, 0.58), accent)
        a.box((0.33, 0.31, 0.03), (0, 0.5, 0.9), body)
        a.box((0.285, 0.14, 0.1), (0, 0.5, 0.7), grey(a.random, 0.1, 0.4))
        a.tube(0.07, 0.15, (0, -0.55, 0.82), dark, a.uniform(1.0, 1.6))
        a.add(shapes.DOME, (0.1, 0.1, 0.07), (0, -0.15, 0.78), metal(a.random))
        _wheels(a, [(sx * 0.26, y) for sx in (-1, 1) for y in (-0.5, 0.0, 0.5)], a.uniform(0.14, 0.19), 0.04)
    elif kind == "boat":
        hull = a.pick(wood, paint, white)(a.random)
        a.add(shapes.BOWL, (0.35, 1.0, 0.2), (0, 0, 0.2), hull, cavity=bowl_inside(0.88))
        for y in (-0.3, 0.25):
            a.box((0.28, 0.07, 0.02), (0, y, 0.32), wood(a.random))
        if a.chance(0.5):
            a.rod((0, 0, 0.1), (0, 0, 1.5), 0.025, wood(a.random))
            a.add(shapes.prism(0.02), (0.4, 0.01, 0.5), (0, 0.42, 0.95), white(a.random), turn(z=90))
        else:
            for side in (-1, 1):
                a.rod((side * 0.25, 0, 0.45), (side * 0.9, a.uniform(-0.3, 0.3), 0.1), 0.02, wood(a.random))
    else:
        a.add(shapes.ELLIPSOID, (0.14, 0.9, 0.15), (0, 0, 0.4), body)
        wing = a.pick(accent, body)
        a.box((1.0, 0.16, 0.02), (0, -0.1, a.pick(0.36, 0.5)), wing)
        if a.chance(0.35):
            a.box((0.95, 0.15, 0.02), (0, -0.12, 0.75), wing)
            for side in (-1, 1):
                a.rod((side * 0.6, -0.1, 0.38), (side * 0.6, -0.1, 0.75), 0.02, dark)
        a.box((0.35, 0.1, 0.015), (0, 0.78, 0.45), wing)
        a.box((0.015, 0.12, 0.16), (0, 0.78, 0.56), wing)
        a.ball((0.09, 0.2, 0.1), (0, -0.25, 0.5), grey(a.random, 0.1, 0.5))
        a.box((0.3, 0.01, 0.03), (0, -0.91, 0.4), dark, turn(y=a.uniform(0, 180)))
        for side in (-1, 1):
            a.disc(0.08, 0.03, (side * 0.2, -0.2, 0.12), dark, (1, 0, 0))
            a.rod((side * 0.2, -0.2, 0.12), (side * 0.08, -0.2, 0.35), 0.02, dark)
    a.moved(0, (0, 0, 0), turn(z=a.pick(0, 90, -90, a.uniform(0, 360))))
