#!/usr/bin/env python
# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Road signs as mesh files, from a seed: coloured plates on a pole with a foot, their backs bare metal.

python examples/lora_demo_signs.py OUT_DIR --count 240 --seed 0
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import trimesh


# corners and turn of a plate, in degrees: disc, octagon, square, diamond, triangles
SHAPES = ((48, 0.0), (8, 22.5), (4, 45.0), (4, 0.0), (3, 90.0), (3, -90.0))
WHITE, BLACK, RED = (0.95, 0.95, 0.95), (0.05, 0.05, 0.05), (0.75, 0.05, 0.05)
COLOURS = ((0.8, 0.08, 0.08), (0.1, 0.2, 0.7), (0.95, 0.75, 0.1), (0.1, 0.5, 0.2), WHITE, (0.9, 0.45, 0.05))


def sign(rng: np.random.Generator) -> trimesh.Trimesh:
    """One sign, y up, its front towards +z."""
    parts = []
    steel = np.full(3, rng.uniform(0.45, 0.65))
    height, radius, pole = rng.uniform(1.3, 2.2), rng.uniform(0.32, 0.5), rng.uniform(0.03, 0.05)
    parts.append(_upright(pole, height, height / 2, steel * rng.uniform(0.8, 1.1)))
    parts.append(_upright(rng.uniform(0.2, 0.35), 0.08, 0.04, np.full(3, rng.uniform(0.3, 0.5))))
    middle = height - 0.6 * radius
    for number in range(2 if rng.uniform() < 0.35 else 1):
        size = radius * (1.0 if number == 0 else rng.uniform(0.5, 0.8))
        parts += _plate(rng, size, middle, pole + 0.02, steel)
        middle -= size + 0.05 + 0.5 * radius
    return trimesh.util.concatenate(parts)


def _plate(rng: np.random.Generator, size: float, y: float, z: float, steel: np.ndarray) -> list[trimesh.Trimesh]:
    """A sheet of metal, a rim and a face painted on its front, and a symbol of bars."""
    corners, turn = SHAPES[rng.integers(len(SHAPES))]
    colour = np.array(COLOURS[rng.integers(len(COLOURS))])
    rim = WHITE if colour.min() < 0.5 else RED
    parts = [
        _facing(size, 0.03, y, z, steel, corners, turn),
        _facing(size, 0.006, y, z + 0.018, rim, corners, turn),
        _facing(0.84 * size, 0.006, y, z + 0.022, colour, corners, turn),
    ]
    for _ in range(rng.integers(1, 3)):
        bar = trimesh.creation.box(extents=(size * rng.uniform(0.1, 0.5), size * rng.uniform(0.1, 0.5), 0.006))
        bar.apply_translation((size * rng.uniform(-0.2, 0.2), y + size * rng.uniform(-0.2, 0.2), z + 0.026))
        parts.append(_painted(bar, BLACK if colour.mean() > 0.45 else WHITE))
    return parts


def _facing(radius: float, depth: float, y: float, z: float, colour: Any, corners: int, turn: float) -> trimesh.Trimesh:
    mesh = trimesh.creation.cylinder(radius=radius, height=depth, sections=corners)
    mesh.apply_transform(trimesh.transformations.rotation_matrix(np.radians(turn), (0, 0, 1)))
    mesh.apply_translation((0, y, z))
    return _painted(mesh, colour)


def _upright(radius: float, height: float, y: float, colour: Any) -> trimesh.Trimesh:
    mesh = trimesh.creation.cylinder(radius=radius, height=height, sections=24)
    mesh.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, (1, 0, 0)))
    mesh.apply_translation((0, y, 0))
    return _painted(mesh, colour)


def _painted(mesh: trimesh.Trimesh, colour: Any) -> trimesh.Trimesh:
    rgba = np.array([*(np.clip(colour, 0, 1) * 255), 255]).astype(np.uint8)
    mesh.visual = trimesh.visual.ColorVisuals(mesh, face_colors=np.tile(rgba, (len(mesh.faces), 1)))
    return mesh


def write_signs(directory: Path, count: int, seed: int) -> list[Path]:
    """Writes `sign_000.glb` and so on; each depends on the seed and its number alone. Existing files are kept."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"sign_{index:03d}.glb" for index in range(count)]
    for index, path in enumerate(paths):
        if not path.exists():
            sign(np.random.default_rng([seed, index])).export(path)
    return paths


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where the files go")
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    write_signs(args.directory, args.count, args.seed)


if __name__ == "__main__":
    main()
