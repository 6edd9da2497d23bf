# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Living things, plants and buildings, composed from primitives: the floor is z = 0, the front is towards -y."""

from __future__ import annotations

from . import procedural_primitives as shapes
from .procedural_assembly import Assembly, tube_shell, turn
from .procedural_textures import (
    black,
    earthy,
    fabric,
    fur,
    grey,
    leaf,
    metal,
    paint,
    patterned,
    saturated,
    skin,
    white,
    wood,
)


def figure(a: Assembly) -> None:
    """People, dolls and robots."""
    robot = a.chance(0.3)
    flesh = a.pick(metal, paint)(a.random) if robot else skin(a.random)
    shirt, trousers = fabric(a.random), fabric(a.random)
    x, chest, leg = a.uniform(0.17, 0.25), a.uniform(0.25, 0.32), a.uniform(0.35, 0.48)
    head = a.uniform(0.12, 0.2)
    solid = (
        shapes.BOX if robot else a.pick(shapes.cushion(1.8), shapes.ELLIPSOID, shapes.barrel(0.4), shapes.frustum(0.75))
    )
    hip, shoulder = 2 * leg, 2 * leg + 2 * chest
    a.add(solid, (x, x * 0.6, chest * 1.05), (0, 0, hip + chest), shirt)
    skull = shapes.BOX if robot and a.chance(0.6) else shapes.ELLIPSOID
    a.tube(head * 0.4, 0.06, (0, 0, shoulder + 0.03), flesh)
    crown = shoulder + head * 1.2
    a.add(skull, (head * 0.85, head * 0.85, head), (0, 0, crown), flesh)
    for side in (-1, 1):
        a.ball((head * 0.14,) * 3, (side * head * 0.35, -head * 0.78, crown + head * 0.15), black(a.random))
    if a.chance(0.75):
        hair = a.pick(earthy, black, paint)(a.random)
        if a.chance(0.7):
            a.add(shapes.DOME, (head * 0.95, head * 0.95, head * 0.5), (0, head * 0.12, crown + head * 0.6), hair)
        else:
            a.tube(head * 1.4, 0.015, (0, 0, crown + head * 0.6), hair)
            a.tube(head * 0.9, head * 0.4, (0, 0, crown + head * 0.95), hair, 0.85)
    thick = a.uniform(0.045, 0.08)
    skirt = not robot and a.chance(0.25)
    stride = a.uniform(0, 0.15)
    for side in (-1, 1):
        foot = (side * x * 0.6, side * stride, 0.04)
        a.rod((side * x * 0.5, 0, hip + 0.05), foot, thick * 1.25, trousers, 0.75, square=robot)
        a.ball((thick * 1.1, thick * 1.9, 0.05), (foot[0], foot[1] - 0.05, 0.04), black(a.random))
        spread, swing = a.uniform(5, 80), a.uniform(-40, 40)
        elbow = turn(x=swing) @ turn(y=-side * spread) @ (0, 0, -chest)
        wrist = elbow + turn(x=swing - a.uniform(0, 60)) @ turn(y=-side * spread) @ (0, 0, -chest * 0.9)
        joint = (side * x * 1.02, 0, shoulder - 0.06)
        a.rod(joint, elbow + joint, thick, shirt)
        a.rod(elbow + joint, wrist + joint, thick * 0.85, a.pick(flesh, shirt))
        a.ball((thick,) * 3, wrist + joint, flesh)
    if skirt:
        a.tube(x * 1.5, leg * 0.6, (0, 0, hip - leg * 0.35), shirt, 0.6)


def snowman(a: Assembly) -> None:
    snow, dark = a.pick(white, white, paint)(a.random), black(a.random)
    r, level = a.uniform(0.35, 0.5), 0.0
    shrink = a.uniform(0.65, 0.82)
    for _ in range(a.pick(2, 3, 3)):
        level += r * 0.85
        a.ball((r, r, r), (0, 0, level), snow)
        last, level, r = r, level + r * 0.8, r * shrink
    centre = level - last * 0.8
    a.rod((0, -last * 0.9, centre), (0, -last * 1.8, centre), last * 0.2, saturated(a.random), 0.05)
    for side in (-1, 1):
        a.ball((last * 0.12,) * 3, (side * last * 0.35, -last * 0.88, centre + last * 0.25), dark)
        if a.chance(0.8):
            a.rod(
                (side * last, 0, centre - last),
                (side * last * 3, 0, centre - last * a.uniform(0.2, 1)),
                0.03,
                earthy(a.random),
            )
    if a.chance(0.7):
        hat = a.pick(black, saturated)(a.random)
        a.tube(last * 1.1, 0.02, (0, 0, centre + last * 0.75), hat)
        a.tube(last * 0.75, last * 0.45, (0, 0, centre + last * 1.15), hat)
    if a.chance(0.5):
        a.ring(last * 1.0, last * 0.22, (0, 0, centre - last * 0.8), saturated(a.random))
    for i in range(3):
        a.ball((0.035,) * 3, (0, -last / shrink * 0.98, centre - last * (1.4 + 0.35 * i)), dark)


def animal(a: Assembly) -> None:
    """Quadrupeds: built along y with the head at -y, mostly turned to show a side."""
    coat = fur(a.random)
    belly = coat if a.chance(0.6) else fur(a.random)
    length, leg, thick = a.uniform(0.35, 0.55), a.uniform(0.18, 0.5), a.uniform(0.16, 0.24)
    level = leg + thick * 0.8
    quadric = a.pick(shapes.ELLIPSOID, shapes.cushion(1.5), shapes.cushion(2.0))
    a.add(quadric, (thick, length, thick * 1.1), (0, 0, level), coat)
    for px, py in a.four(thick * 0.6, length * 0.68):
        a.rod((px, py, level), (px, py + a.uniform(-0.05, 0.05), 0), thick * 0.33, belly, 0.65)
    neck, head = a.uniform(0.05, 0.4), a.uniform(0.12, 0.19)
    skull = (0, -length - neck * 0.5, level + thick * 0.6 + neck)
    a.rod((0, -length * 0.7, level), skull, thick * 0.6, coat, 0.75)
    a.ball((head * 0.85, head, head * 0.9), skull, coat)
    snout = a.uniform(0.5, 1.5)
    nose = (0, skull[1] - head * (0.6 + snout * 0.5), skull[2] - head * 0.3)
    a.ball((head * 0.45, head * (0.4 + snout * 0.4), head * 0.4), nose, belly)
    a.ball((head * 0.15,) * 3, (0, nose[1] - head * (0.35 + snout * 0.4), nose[2] + 0.01), black(a.random))
    ear = a.pick("pointed", "flop", "round", "long")
    for side in (-1, 1):
        a.ball((head * 0.13,) * 3, (side * head * 0.5, skull[1] - head * 0.75, skull[2] + head * 0.25), black(a.random))
        at = (side * head * 0.6, skull[1], skull[2] + head * 0.8)
        if ear == "pointed":
            a.tube(head * 0.35, head * 0.4, (at[0], at[1], at[2] + head * 0.15), coat, 0.1)
        elif ear == "flop":
            a.ball((head * 0.15, head * 0.35, head * 0.6), (side * head * 0.95, at[1], at[2] - head * 0.5), belly)
        elif ear == "round":
            a.ball((head * 0.35, head * 0.15, head * 0.35), at, belly)
        else:
            a.ball((head * 0.22, head * 0.15, head * 0.9), (at[0] * 0.8, at[1], at[2] + head * 0.7), coat)
    rise = a.uniform(-0.3, 0.5)
    a.rod((0, length * 0.9, level), (0, length + a.uniform(0.1, 0.4), level + rise), thick * 0.22, coat, 0.5)
    if a.chance(0.25):
        a.rod(
            (0, -length * 0.6, level + thick),
            (0, -length - neck * 0.4, skull[2] + head),
            0.04,
            earthy(a.random),
            square=True,
        )
    a.moved(0, (0, 0, 0), turn(z=a.pick(0, 90, -90, a.uniform(-150, 150))))


def potted_plant(a: Assembly) -> None:
    """Pots with leaves, balls, cacti or small trees."""
    pot, soil, green = (
        a.pick(earthy, earthy, white, paint, patterned)(a.random),
        earthy(a.random).darker(0.5),
        leaf(a.random),
    )
    r, half = a.uniform(0.2, 0.32), a.uniform(0.15, 0.3)
    if a.chance(0.7):
        top = a.uniform(1.0, 1.5)
        a.tube(r, half, (0, 0, half), pot, top, cavity=tube_shell(top, 0.88, 0.5))
        a.ring(r * top * 1.06, 0.03, (0, 0, 2 * half), pot)
    else:
        top = 1.0
        a.box((r, r, half), (0, 0, half), pot)
    a.tube(r * top * 0.85, 0.02, (0, 0, 2 * half * 0.88), soil)
    level = 2 * half
    kind = a.pick("leaves", "leaves", "ball", "cactus", "palm", "flower")
    if kind in ("leaves", "palm", "flower"):
        stem = a.uniform(0.3, 0.7) if kind == "palm" else 0.0
        if stem:
            a.rod((0, 0, level - 0.05), (a.uniform(-0.1, 0.1), 0, level + stem), 0.04, earthy(a.random))
        tip = a.parts[-1].centre[0] * 2 if stem else 0.0
        number, begin = a.count(8, 15), a.uniform(0, 360)
        wide, long = a.uniform(0.05, 0.13), a.uniform(0.25, 0.45)
        for i in range(number):
            tilt = a.uniform(15, 100) if kind == "palm" else a.uniform(5, 65)
            m = turn(z=begin + i * 137.5) @ turn(y=tilt)
            length = long * a.uniform(0.7, 1.2)
            at = m @ (0, 0, length) + (tip, 0, level + stem)
            if kind == "flower" and i % 3 == 0:
                a.rod((0, 0, level), m @ (0, 0, 2 * length) + (0, 0, level), 0.012, green)
                a.ball(
                    (0.08, 0.08, 0.06), m @ (0, 0, 2 * length) + (0, 0, level), a.pick(saturated, white)(a.random), m
                )
            else:
                a.ball((0.012, wide, length), at, green if i % 2 else green.darker(0.8), m)
    elif kind == "ball":
        stem = a.uniform(0.05, 0.6)
        a.tube(0.035, stem / 2 + 0.1, (0, 0, level + stem / 2), earthy(a.random))
        size = a.uniform(0.25, 0.4)
        for i in range(a.count(1, 5)):
            offset = (0, 0, 0) if i == 0 else turn(z=i * 90) @ (size * 0.6, 0, a.uniform(-0.1, 0.2))
            shrink = 1 if i == 0 else a.uniform(0.5, 0.8)
            a.ball(
                (size * shrink,) * 3,
                (offset[0], offset[1], level + stem + size * 0.8 + offset[2]),
                green.darker(1 - 0.1 * (i % 2)),
            )
    else:
        tall = a.uniform(0.25, 0.5)
        a.add(shapes.barrel(0.5), (0.12, 0.12, tall), (0, 0, level + tall), green)
        a.add(shapes.DOME, (0.085, 0.085, 0.05), (0, 0, level + 2 * tall + 0.05), green)
        for side in a.pick((-1,), (1,), (-1, 1)):
            z = level + tall * a.uniform(0.6, 1.3)
            a.rod((0, 0, z), (side * 0.25, 0, z + 0.02), 0.06, green)
            a.ball((0.065, 0.065, 0.18), (side * 0.25, 0, z + 0.14), green)


def tree(a: Assembly) -> None:
    trunk, green = a.pick(wood, earthy)(a.random), leaf(a.random)
    r, tall = a.uniform(0.05, 0.12), a.uniform(0.3, 0.8)
    kind = a.pick("conifer", "round", "cloud", "cypress", "bare")
    a.tube(r, tall / 2 + 0.1, (0, 0, tall / 2 + 0.1), trunk, a.uniform(0.5, 0.9))
    if kind == "conifer":
        number, wide = a.count(2, 5), a.uniform(0.4, 0.6)
        for i in range(number):
            scale = 1 - 0.75 * i / number
            a.tube(wide * scale, 0.28, (0, 0, tall + 0.2 + 0.3 * i), green, a.uniform(0, 0.25))
        if a.chance(0.35):
            for i in range(6):
                at = turn(z=i * 75) @ (wide * (0.75 - 0.1 * i), 0, tall + 0.15 + 0.22 * i)
                a.ball((0.045,) * 3, at, saturated(a.random))
            a.ball((0.07,) * 3, (0, 0, tall + 0.3 * number + 0.22), saturated(a.random))
    elif kind in ("round", "cypress"):
        wide = a.uniform(0.35, 0.55) if kind == "round" else a.uniform(0.18, 0.28)
        high = wide * a.uniform(0.8, 1.2) if kind == "round" else a.uniform(0.6, 0.9)
        a.add(
            a.pick(shapes.ELLIPSOID, shapes.ELLIPSOID, shapes.PARABOLOID),
            (wide, wide, high),
            (0, 0, tall + high * 0.8),
            green,
        )
    else:
        for i in range(a.count(4, 8)):
            at = turn(z=i * 137.5) @ (a.uniform(0.1, 0.4), 0, tall + a.uniform(0.2, 0.6))
            a.rod((0, 0, tall), at, 0.03, trunk)
            if kind == "cloud":
                size = a.uniform(0.18, 0.34)
                a.ball((size, size, size * 0.85), at, green.darker(1 - 0.12 * (i % 3)))


def house(a: Assembly) -> None:
    wall, roof = a.pick(white, paint, earthy, patterned)(a.random), a.pick(earthy, saturated, grey, patterned)(a.random)
    door, glass = a.pick(wood, paint)(a.random), grey(a.random, 0.15, 0.6)
    x, y, z = a.uniform(0.35, 0.7), a.uniform(0.35, 0.6), a.uniform(0.2, 0.5)
    a.box((x, y, z), (0, 0, z), wall)
    high = a.uniform(0.12, 0.35)
    kind = a.pick("gable", "gable", "gable", "pyramid", "flat", "tower")
    if kind == "gable":
        top = a.pick(0.0, 0.0, 0.3)
        if a.chance(0.5):
            a.add(shapes.prism(top), (x * 1.12, y * 1.1, high), (0, 0, 2 * z + high), roof)
        else:
            a.add(shapes.prism(top), (y * 1.12, x * 1.1, high), (0, 0, 2 * z + high), roof, turn(z=90))
    elif kind == "pyramid":
        a.add(shapes.prism(0.05), (x * 1.1, y * 1.1, high), (0, 0, 2 * z + high), roof)
        a.add(shapes.prism(0.2), (x * 0.3, y * 0.3, high), (0, -y, 2 * z + high * 0.5), roof)
    elif kind == "flat":
        a.box((x * 1.08, y * 1.08, 0.03), (0, 0, 2 * z + 0.03), roof)
        a.box((x * 0.5, y * 0.6, z * 0.6), (a.pick(-1, 1) * x * 0.4, y * 0.2, 2 * z + z * 0.6), wall)
    else:
        r = a.uniform(0.15, 0.22)
        for side in a.pick((-1,), (1,), (-1, 1)):
            tall = z + a.uniform(0.1, 0.4)
            a.tube(r, tall, (side * x, -y * 0.5, tall), wall)
            a.tube(r * 1.25, r, (side * x, -y * 0.5, 2 * tall + r), roof, 0.02)
        a.box((x * 1.02, y * 1.02, 0.05), (0, 0, 2 * z), roof)
    a.box((0.08, 0.02, z * 0.5), (x * a.pick(0, 0, -0.4, 0.4), -y, z * 0.5), door)
    for side in (-1, 1):
        a.box((0.08, 0.015, 0.08), (side * x * 0.6, -y, z * 1.2), glass)
        if a.chance(0.7):
            a.box((0.015, 0.09, 0.08), (side * x, a.uniform(-0.3, 0.3) * y, z * 1.2), glass)
        if a.chance(0.5):
            a.box((0.08, 0.015, 0.08), (side * x * 0.5, y, z * 1.2), glass)
    if a.chance(0.5):
        a.box((0.06, 0.06, 0.2), (a.pick(-1, 1) * x * 0.5, y * 0.3, 2 * z + high * 1.2), earthy(a.random))
    if a.chance(0.3):
        side = a.pick(-1, 1)
        a.box((x * 0.5, y * 0.7, z * 0.65), (side * x * 1.4, 0, z * 0.65), wall)
        a.add(shapes.prism(0.1), (x * 0.58, y * 0.78, high * 0.5), (side * x * 1.4, 0, z * 1.3 + high * 0.5), roof)
    if a.chance(0.3):
        a.box((x * 1.8, y * 1.6, 0.02), (0, 0, -0.02), leaf(a.random))


def stairs(a: Assembly) -> None:
    """Steps, ladders, slides and swings."""
    body, rail = a.pick(wood, grey, paint)(a.random), a.pick(metal, wood, saturated)(a.random)
    kind = a.pick("steps", "ladder", "spiral", "swing", "goal")
    if kind == "steps":
        number, x, run, rise = a.count(4, 9), a.uniform(0.3, 0.6), a.uniform(0.2, 0.28), a.uniform(0.15, 0.22)
        closed = a.chance(0.5)
        for i in range(number):
            half = (i + 1) * rise / 2 if closed else 0.03
            level = half if closed else (i + 1) * rise
            a.box((x, run / 2, half), (0, i * run, level), body)
        if not closed:
            for side in (-1, 1):
                a.rod((side * x, -run, 0), (side * x, (number - 1) * run, number * rise), 0.05, rail, square=True)
        if a.chance(0.6):
            for side in (-1, 1):
                lift = 0.55
                a.rod((side * x, 0, lift), (side * x, number * run, number * rise + lift), 0.03, rail)
                for i in (0, number - 1):
                    a.rod((side * x, i * run, (i + 1) * rise), (side * x, i * run, (i + 1) * rise + lift), 0.025, rail)
    elif kind == "ladder":
        number, x, tall = a.count(4, 8), a.uniform(0.2, 0.3), a.uniform(1.0, 1.6)
        lean = a.uniform(0.1, 0.4)
        for side in (-1, 1):
            a.rod((side * x, 0, 0), (side * x, lean, tall), 0.03, rail, square=True)
            if number < 7:
                a.rod((side * x, 2 * lean, 0), (side * x, lean, tall), 0.025, rail, square=True)
        for i in range(number):
            s = (i + 0.7) / number
            a.box((x, 0.05, 0.015), (0, lean * s, tall * s), body)
    elif kind == "spiral":
        number, radius = a.count(8, 14), a.uniform(0.4, 0.6)
        a.tube(0.05, 0.9, (0, 0, 0.9), rail)
        step = a.pick(-1, 1) * a.uniform(20, 35)
        for i in range(number):
            m = turn(z=i * step)
            a.box((radius / 2, 0.12, 0.02), m @ (radius / 2, 0, 0) + (0, 0, 0.1 + 1.5 * i / number), body, m)
    elif kind == "swing":
        tall = 1.2
        for side in (-1, 1):
            for end in (-1, 1):
                a.rod((side * 0.7, 0, tall), (side * 0.8, end * 0.5, 0), 0.04, rail)
        a.rod((-0.75, 0, tall), (0.75, 0, tall), 0.045, rail)
        for px in a.pick((0.0,), (-0.35, 0.35)):
            for side in (-1, 1):
                a.rod((px + side * 0.16, 0, tall), (px + side * 0.16, 0, 0.4), 0.012, black(a.random))
            a.box((0.2, 0.1, 0.025), (px, 0, 0.4), body)
    else:
        x, tall, deep = a.uniform(0.6, 1.0), a.uniform(0.5, 0.7), a.uniform(0.3, 0.5)
        for side in (-1, 1):
            a.rod((side * x, 0, 0), (side * x, 0, tall), 0.035, rail)
            a.rod((side * x, 0, tall), (side * x, deep, 0), 0.02, rail)
        a.rod((-x, 0, tall), (x, 0, tall), 0.035, rail)
        a.rod((-x, deep, 0.02), (x, deep, 0.02), 0.02, rail)
