# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""How close surfaces are, from points on them and cells within them. Nearest neighbours by scipy's k-d tree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .surfaces import SurfacePoints


def compare_surfaces(
    prediction: SurfacePoints, truth: SurfacePoints, thresholds: Sequence[float] = (0.1, 0.2, 0.5)
) -> dict[str, float]:
    """Scores of two sets of points with normals.

    Returns:
        `accuracy`: mean distance from the prediction's points to the nearest of the truth, in the points' unit;
        `completeness`: the same from the truth to the prediction;
        `chamfer`: the mean of the two, not squared;
        `fscore_T` for each threshold T: harmonic mean of the shares of either set within T of the other, in [0, 1];
        `normal_consistency`: mean |cosine| of a point's normal and its nearest neighbour's, both directions averaged.

    Raises:
        ValueError: if a set is empty.
    """
    from scipy.spatial import cKDTree

    for name, surface in (("prediction", prediction), ("truth", truth)):
        if len(surface.points) == 0:
            raise ValueError(f"`{name}` has no points.")
    to_truth, nearest_truth = cKDTree(truth.points).query(prediction.points)
    to_prediction, nearest_prediction = cKDTree(prediction.points).query(truth.points)
    accuracy, completeness = float(to_truth.mean()), float(to_prediction.mean())
    scores = {"chamfer": (accuracy + completeness) / 2, "accuracy": accuracy, "completeness": completeness}
    for threshold in thresholds:
        scores[fscore_name(threshold)] = f_score(to_truth, to_prediction, threshold)
    forward = np.abs((prediction.normals * truth.normals[nearest_truth]).sum(axis=-1)).mean()
    backward = np.abs((truth.normals * prediction.normals[nearest_prediction]).sum(axis=-1)).mean()
    scores["normal_consistency"] = float(forward + backward) / 2
    return scores


def chamfer_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean of both directions' mean distances to the nearest point, not squared: `(n, 3)`, `(m, 3)`."""
    from scipy.spatial import cKDTree

    return float(cKDTree(b).query(a)[0].mean() + cKDTree(a).query(b)[0].mean()) / 2


def f_score(to_truth: np.ndarray, to_prediction: np.ndarray, threshold: float) -> float:
    """Harmonic mean of precision and recall at a distance; 0 where both are 0."""
    precision, recall = float((to_truth <= threshold).mean()), float((to_prediction <= threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def fscore_name(threshold: float) -> str:
    return f"fscore_{threshold:g}"


def volume_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of cells, bool of one shape; 1 where neither has any."""
    if not (a | b).any():
        return 1.0
    return float((a & b).sum() / (a | b).sum())
