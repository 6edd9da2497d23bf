# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Surface colours of the procedural objects: solid textures in the primitives' own metric frames, and palettes."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor


PLAIN, STRIPES, CHECKER, GRADIENT, WOOD, SPECKLE, CLOUDS, BANDS, DOTS = range(9)

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """Two colours in [0, 1] and the pattern that mixes them; `frequency` in cycles per world unit."""

    colour: Colour
    second: Colour = (0.0, 0.0, 0.0)
    texture: int = PLAIN
    frequency: float = 4.0
    axis: tuple[float, float, float] = (1.0, 0.0, 0.0)
    phase: float = 0.0

    def darker(self, factor: float) -> Material:
        return replace(self, colour=_scale(self.colour, factor), second=_scale(self.second, factor))


def texture_weights(texture: Tensor, point: Tensor, axis: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    """How much of the second colour shows.

    Args:
        texture: `(n,)` texture numbers; point: `(3, n)` metric local positions; axis: `(3, n)` unit vectors;
        frequency, phase: `(n,)`.

    Returns:
        `(n,)` in [0, 1].
    """
    weights = torch.zeros_like(frequency)
    for number, pattern in _PATTERNS.items():
        chosen = (texture == number).nonzero()[:, 0]
        if chosen.numel():
            weights[chosen] = pattern(point[:, chosen], axis[:, chosen], frequency[chosen], phase[chosen])
    return weights


def _along(point: Tensor, axis: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    return (point * axis).sum(0) * frequency + phase


def _hash(*cells: Tensor) -> Tensor:
    """A fixed pseudo-random number in [0, 1] per integer cell, the same on every device."""
    value = torch.zeros_like(cells[0], dtype=torch.int64)
    for cell, prime in zip(cells, (73856093, 19349663, 83492791), strict=False):
        value = value ^ (cell.long() * prime)
    value = (value ^ (value >> 13)) * 1274126177 & 0x7FFFFFFF
    return ((value ^ (value >> 16)) & 1023).to(torch.float32) / 1023


def _stripes(point: Tensor, axis: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    return (_along(point, axis, frequency, phase) % 1 < 0.5).float()


def _checker(point: Tensor, axis: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    # half a cell of offset keeps cell borders away from the faces of symmetric primitives
    return (torch.floor(point * frequency + phase + 0.25).sum(0) % 2).float()


def _gradient(point: Tensor, axis: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    return ((point * axis).sum(0) * frequency * 0.5 + 0.5).clamp(0, 1)


def _wood(point: Tensor, axis: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    x, y, z = point * frequency * 0.6
    warp = torch.sin(2.1 * x + 1.3 * torch.sin(1.7 * y + phase)) + torch.sin(1.9 * z + 1.1 * y + 2 * phase)
    rings = _along(point, axis, frequency, phase) + 0.35 * warp
    return (0.5 + 0.5 * torch.sin(6.2832 * rings)) * (0.75 + 0.25 * torch.sin(17.0 * rings + 3.0 * warp))


def _speckle(point: Tensor, axis: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    cells = torch.floor(point * frequency * 2.5 + phase + 0.25)
    return _hash(*cells).square()


def _clouds(point: Tensor, axis: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    x, y, z = point * frequency * 2
    value = torch.sin(1.7 * x + 2 * torch.sin(1.3 * y + phase))
    value = value + torch.sin(1.9 * y + 2 * torch.sin(1.1 * z + 2 * phase))
    return (value + torch.sin(2.1 * z + 2 * torch.sin(0.9 * x))) / 6 + 0.5


def _bands(point: Tensor, axis: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    return _hash(torch.floor(_along(point, axis, frequency, phase) * 2))


def _dots(point: Tensor, axis: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    offset = (point * frequency + phase + 0.5) % 1 - 0.5
    return (offset.square().sum(0) < 0.16).float()


_PATTERNS = {
    STRIPES: _stripes,
    CHECKER: _checker,
    GRADIENT: _gradient,
    WOOD: _wood,
    SPECKLE: _speckle,
    CLOUDS: _clouds,
    BANDS: _bands,
    DOTS: _dots,
}

_AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def _scale(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(1.0, channel * factor) for channel in colour)
    return red, green, blue


def _mix(first: Colour, second: Colour, weight: float) -> Colour:
    red, green, blue = (a + (b - a) * weight for a, b in zip(first, second, strict=True))
    return red, green, blue


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    return colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))


def grey(random: Random, low: float = 0.05, high: float = 0.95) -> Material:
    """A nearly neutral plain colour."""
    return Material(_hsv(random.choice((0.08, 0.6)), random.uniform(0, 0.08), random.uniform(low, high)))


def white(random: Random) -> Material:
    return Material(_hsv(random.uniform(0.05, 0.17), random.uniform(0, 0.1), random.uniform(0.85, 1.0)))


def black(random: Random) -> Material:
    return grey(random, 0.07, 0.27)


def saturated(random: Random) -> Material:
    """A clear colour of any hue."""
    return Material(_hsv(random.random(), random.uniform(0.5, 1.0), random.uniform(0.4, 1.0)))


def pastel(random: Random) -> Material:
    return Material(_hsv(random.random(), random.uniform(0.12, 0.45), random.uniform(0.65, 1.0)))


def earthy(random: Random) -> Material:
    """Browns, beiges and terracotta."""
    return Material(_hsv(random.uniform(0.02, 0.13), random.uniform(0.2, 0.75), random.uniform(0.2, 0.9)))


def wood(random: Random) -> Material:
    """Wood from pale birch to dark walnut, plain or with a grain."""
    value = random.uniform(0.22, 0.9)
    colour = _hsv(random.uniform(0.05, 0.11), random.uniform(0.35, 0.7) * (1.15 - 0.5 * value), value)
    axis = random.choice(_AXES)
    grain = random.random() < 0.6
    return Material(
        colour,
        _scale(colour, random.uniform(0.55, 0.85)),
        WOOD if grain else PLAIN,
        random.uniform(2.0, 7.0),
        axis,
        random.uniform(0, 10),
    )


def metal(random: Random) -> Material:
    """Steel, dark iron, brass or copper."""
    if random.random() < 0.75:
        return grey(random, 0.25, 0.85)
    return Material(_hsv(random.uniform(0.05, 0.14), random.uniform(0.4, 0.65), random.uniform(0.55, 0.85)))


def leaf(random: Random) -> Material:
    """Foliage greens, sometimes autumnal or speckled."""
    hue = random.uniform(0.2, 0.4) if random.random() < 0.88 else random.uniform(0.02, 0.15)
    colour = _hsv(hue, random.uniform(0.4, 0.85), random.uniform(0.25, 0.75))
    texture = random.choice((PLAIN, SPECKLE, CLOUDS))
    second = _hsv(hue + random.uniform(-0.05, 0.05), random.uniform(0.4, 0.9), random.uniform(0.2, 0.7))
    return Material(colour, second, texture, random.uniform(3, 8), phase=random.uniform(0, 10))


def skin(random: Random) -> Material:
    return Material(_hsv(random.uniform(0.03, 0.09), random.uniform(0.25, 0.6), random.uniform(0.35, 1.0)))


def fur(random: Random) -> Material:
    base = random.choice((earthy, grey, white, black))(random)
    texture = random.choice((PLAIN, PLAIN, CLOUDS, BANDS))
    second = random.choice((earthy, white, black))(random).colour
    return replace(base, second=second, texture=texture, frequency=random.uniform(2, 5), phase=random.uniform(0, 10))


def paint(random: Random) -> Material:
    """Any plain paint or plastic, clear colours and neutrals alike."""
    return random.choice((saturated, saturated, white, grey, black, pastel, earthy))(random)


def fabric(random: Random) -> Material:
    """Upholstery: mostly plain, else patterned."""
    base = random.choice((saturated, pastel, earthy, earthy, grey, white, black))(random)
    return base if random.random() < 0.62 else patterned(random, base)


def patterned(random: Random, base: Material | None = None) -> Material:
    """A material with a visible pattern over `base`."""
    base = base or paint(random)
    if random.random() < 0.55:
        second = _scale(base.colour, random.uniform(0.35, 0.75))
        if max(base.colour) < 0.35:
            second = _mix(base.colour, (1.0, 1.0, 1.0), random.uniform(0.25, 0.6))
    else:
        second = paint(random).colour
    axis = random.choice(_AXES)
    if random.random() < 0.2:
        vector = [random.gauss(0, 1) for _ in range(3)]
        length = sum(component * component for component in vector) ** 0.5 + 1e-9
        axis = (vector[0] / length, vector[1] / length, vector[2] / length)
    texture = random.choice((STRIPES, STRIPES, CHECKER, GRADIENT, GRADIENT, WOOD, SPECKLE, CLOUDS, BANDS, DOTS))
    frequency = random.uniform(0.6, 1.4) if texture == GRADIENT else random.uniform(2.0, 7.0)
    phase = 0.0 if texture == GRADIENT else random.uniform(0, 10)
    return Material(base.colour, second, texture, frequency, axis, phase)


def banded(random: Random) -> Material:
    """Horizontal rings of two colours, as on pottery."""
    base = random.choice((saturated, earthy, white, pastel))(random)
    texture = random.choice((STRIPES, BANDS, GRADIENT))
    frequency = random.uniform(0.8, 1.3) if texture == GRADIENT else random.uniform(1.0, 4.0)
    return Material(base.colour, paint(random).colour, texture, frequency, _AXES[2], random.random())


def surface_material(random: Random) -> Material:
    """What cabinets and table tops are made of."""
    return random.choice((wood, wood, wood, white, grey, paint))(random)


def frame_material(random: Random) -> Material:
    """What furniture legs are made of."""
    return random.choice((wood, wood, metal, black, white, paint))(random)


def books(random: Random) -> Material:
    """Spines side by side along x."""
    return Material(paint(random).colour, paint(random).colour, BANDS, random.uniform(4, 8), _AXES[0], random.random())
