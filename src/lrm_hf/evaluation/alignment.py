# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Bringing a prediction of unknown pose onto the truth: normalisation, a search of rotations, ICP (by trimesh).

A similarity is a `(4, 4)` matrix, a rotation times a positive scale in its upper left block.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..cameras import Cameras
from .geometry import chamfer_distance


def normalising(points: np.ndarray) -> np.ndarray:
    """The similarity that brings the bounding box of points `(n, 3)` to the origin, its longest side to 2.

    Raises:
        ValueError: if all points are one.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    side = float((high - low).max())
    if not side > 0:
        raise ValueError("`points` are all at one place: there is nothing to normalise.")
    matrix = np.diag([2 / side, 2 / side, 2 / side, 1.0])
    matrix[:3, 3] = -(low + high) / side
    return matrix


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`(..., 3)` points under a similarity."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def scale_of(matrix: np.ndarray) -> float:
    """How much a similarity enlarges."""
    return float(np.cbrt(np.linalg.det(matrix[:3, :3])))


def search_rotations(azimuths: int, tilts: Sequence[float]) -> np.ndarray:
    """`(azimuths * tilts, 4, 4)`: even rotations about z, each after a tilt in degrees about x, which lies across the
    source camera's line of sight."""
    matrices = []
    for tilt in np.deg2rad(tilts):
        about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
        for angle in np.arange(azimuths) * (2 * np.pi / azimuths):
            about_z = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
            matrix = np.eye(4)
            matrix[:3, :3] = about_z @ about_x
            matrices.append(matrix)
    return np.stack(matrices)


def align(
    prediction: np.ndarray,
    truth: np.ndarray,
    rotations: np.ndarray,
    num_points: int = 1000,
    icp_iterations: int = 50,
) -> np.ndarray:
    """The similarity that brings the prediction's points onto the truth's.

    Each rotation is tried with the prediction normalised after it; ICP then refines the best one by rotation and
    translation. Its result is taken if it lowers the Chamfer distance of the points used.

    Args:
        prediction: `(n, 3)` points in any pose and size.
        truth: `(m, 3)` points, normalised.
        rotations: `(k, 4, 4)` to try.
        num_points: of either set that are used, the first ones: they have to be in random order.
        icp_iterations: the most steps of ICP.
    """
    from trimesh.registration import icp

    source, target = prediction[:num_points], truth[:num_points]
    candidates = []
    for rotation in rotations:
        # by all points: a few of them miss the ends of the box
        matrix = normalising(transform(rotation, prediction)) @ rotation
        candidates.append((chamfer_distance(transform(matrix, source), target), matrix))
    distance, best = min(candidates, key=lambda candidate: candidate[0])
    moved = transform(best, source)
    step, _, _ = icp(moved, target, threshold=1e-10, max_iterations=icp_iterations, reflection=False, scale=False)
    refined = step @ best
    return refined if chamfer_distance(transform(refined, source), target) < distance else best


def cameras_before(matrix: np.ndarray, cameras: Cameras) -> Cameras:
    """Cameras that see an object as `cameras` see it after a similarity. Their rays are the same, lengths scaled."""
    import torch

    inverse = np.linalg.inv(matrix)
    cam2world = cameras.cam2world.double().numpy().copy()
    cam2world[..., :3, 3] = transform(inverse, cam2world[..., :3, 3])
    cam2world[..., :3, :3] = (inverse[:3, :3] / scale_of(inverse)) @ cam2world[..., :3, :3]
    return Cameras(torch.from_numpy(cam2world).to(cameras.cam2world.dtype), cameras.intrinsics)
