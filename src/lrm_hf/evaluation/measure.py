# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`evaluate`: every method on every object under one protocol, as a dictionary that goes into a JSON file.

The layout, under the name in `SCHEMA`, whose number rises with any change that a reader could stumble over:

    schema     "lrm_hf.evaluation/1"
    protocol   name, hash, settings (every field of `Protocol`), words (sentences)
    seed       of all sampling
    versions   of Python, lrm_hf and the libraries that had a part in the numbers
    metrics    by name: label, unit, better ("higher" or "lower"), library
    methods    list of name, kind ("baseline", "model" or "reference"), about
    objects    list of name, sha256, faces, watertight, volume (share of [-1, 1]^3 inside)
    summary    by method: scores (by metric), counts (objects behind each score), failures (predictions without a
               surface), by_azimuth (PSNR of each view)
    rows       list of object, method, scores (by metric; None: does not apply), views (azimuth, psnr, ssim, iou and,
               where installed, lpips: lists), failure (None, or why there is no surface)
    notes      list of sentences
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm.auto import tqdm

from ..cameras import Cameras
from ..files import replacing
from .alignment import align, cameras_before, scale_of, search_rotations, transform
from .geometry import compare_surfaces, fscore_name, volume_iou
from .ground_truth import GroundTruth, cache_path, load_ground_truth, random_numbers
from .images import load_lpips, mask_iou, psnr, ssim
from .methods import Method, NoSurface
from .protocols import Protocol
from .surfaces import Scene, SurfacePoints, cells_inside, sample_surface


SCHEMA = "lrm_hf.evaluation/1"
# The truth sampled once more, as if it were a prediction: what the measure itself makes of a perfect answer.
REFERENCE = "the truth, sampled again"
LIBRARIES = ("torch", "numpy", "scipy", "scikit-image", "trimesh", "embreex", "transformers", "diffusers", "lpips")
Lpips = Callable[[Tensor, Tensor], Tensor]


def evaluate(
    paths: Sequence[Path],
    methods: Sequence[Method],
    protocol: Protocol,
    cache: Path | None = None,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Scores of methods on mesh files.

    Args:
        paths: mesh files, see `find_objects`.
        methods: baselines and models; those without anything that the protocol measures are left out.
        protocol: what is measured and how.
        cache: directory that keeps ground truths, and the rows of baselines and reference.
        progress: show a progress bar; None: on a terminal.

    Returns:
        The dictionary that this module's docstring lays out.

    Raises:
        ImportError: if embreex is not installed.
        OSError, ValueError: if an object can't be read, or two methods have one name.
    """
    names = [method.name for method in methods] + [REFERENCE]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"`methods` has several of the same name: {', '.join(map(repr, repeated))}.")
    lpips, lpips_note = load_lpips() if protocol.azimuths else (None, "")
    rows: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    disable = None if progress is None else not progress
    for path in tqdm(paths, desc="Evaluating", disable=disable):
        truth = load_ground_truth(path, protocol, cache)
        objects.append(
            {
                "name": truth.name,
                "sha256": truth.sha256,
                "faces": truth.faces,
                "watertight": truth.watertight,
                "volume": float(truth.inside.mean()),
            }
        )
        rows += _rows_of(path, truth, methods, protocol, cache, lpips)
    present = {row["method"] for row in rows}
    known = [{"name": method.name, "kind": method.kind, "about": method.about} for method in methods]
    known.append({"name": REFERENCE, "kind": "reference", "about": "other points of the same surface, as a prediction"})
    known = [method for method in known if method["name"] in present]
    return {
        "schema": SCHEMA,
        "protocol": {
            "name": protocol.name,
            "hash": protocol.hash,
            "settings": asdict(protocol),
            "words": protocol.words(),
        },
        "seed": protocol.seed,
        "versions": versions(),
        "metrics": metrics(protocol, lpips is not None),
        "methods": known,
        "objects": objects,
        "summary": {method["name"]: summarize(rows, method["name"], protocol) for method in known},
        "rows": rows,
        "notes": _notes(objects, methods, protocol, lpips_note if lpips is None else ""),
    }


def _rows_of(
    path: Path,
    truth: GroundTruth,
    methods: Sequence[Method],
    protocol: Protocol,
    cache: Path | None,
    lpips: Lpips | None,
) -> list[dict[str, Any]]:
    """All rows of one object; those that no model had a part in are kept in the cache."""
    place = None if cache is None else cache_path(path, truth.sha256, protocol, cache, "scores.json")
    kept = _KeptRows(place, lpips is not None)
    rows = []
    for method in methods:
        make = partial(measure, method, truth, protocol, lpips)
        row = kept.get(method.name, make) if method.kind == "baseline" else make()
        if row is not None:
            rows.append(row)
    rows.append(kept.get(REFERENCE, partial(_reference, path, truth, protocol, lpips is not None)))
    kept.save()
    return rows


def measure(
    method: Method, truth: GroundTruth, protocol: Protocol, lpips: Lpips | None = None
) -> dict[str, Any] | None:
    """One method on one object: a row, or None where the method has nothing that the protocol measures."""
    answer = method.answer(truth, protocol)
    pictures = answer.pictures if protocol.azimuths else None
    if pictures is None and answer.triangles is None:
        return None
    scores: dict[str, float | None] = dict.fromkeys(metrics(protocol, lpips is not None))
    failure, placement = None, np.eye(4)
    if answer.triangles is not None:
        try:
            geometry, placement = measure_surface(answer.triangles(), truth, protocol)
        except NoSurface as error:
            failure = str(error)
            geometry = failed_surface(truth, protocol)
        scores.update(geometry)
    views: dict[str, list[float]] = {}
    if pictures is not None:
        cameras = protocol.cameras()
        if protocol.alignment != "camera":
            cameras = cameras_before(placement, cameras)
        views = measure_views(pictures, cameras, truth, protocol, lpips)
        scores["own_psnr"] = views["psnr"][0]
        for kind in views:
            scores[f"novel_{kind}"] = float(np.mean(views[kind][1:]))
        views["azimuth"] = list(protocol.azimuths)
    return {"object": truth.name, "method": method.name, "scores": scores, "views": views, "failure": failure}


def measure_views(
    pictures: Callable[[Cameras], tuple[Tensor, Tensor]],
    cameras: Cameras,
    truth: GroundTruth,
    protocol: Protocol,
    lpips: Lpips | None,
) -> dict[str, list[float]]:
    """Scores of each view, by kind."""
    targets, alpha = truth.targets(protocol.background)
    images, opacity = pictures(cameras)
    views = {
        "psnr": psnr(images, targets, protocol.error_floor).tolist(),
        "ssim": ssim(images, targets).tolist(),
        "iou": mask_iou(opacity, alpha).tolist(),
    }
    if lpips is not None:
        views["lpips"] = lpips(images, targets).tolist()
    return views


def measure_surface(
    triangles: np.ndarray, truth: GroundTruth, protocol: Protocol
) -> tuple[dict[str, float | None], np.ndarray]:
    """Scores of a surface, and the similarity `(4, 4)` from the method's frame to the object's."""
    rng = random_numbers(protocol, truth.name, "prediction")
    scene = Scene(triangles)
    surface = sample_surface(scene, protocol.num_points, protocol.num_directions, rng)
    matrix = np.eye(4)
    if protocol.alignment == "search":
        rotations = search_rotations(protocol.search_azimuths, protocol.search_tilts)
        matrix = align(surface.points, truth.surface.points, rotations, protocol.search_points, protocol.icp_iterations)
        normals = surface.normals @ matrix[:3, :3].T / scale_of(matrix)
        surface = SurfacePoints(transform(matrix, surface.points), normals)
        scene = Scene(transform(matrix, np.asarray(triangles, dtype=np.float64)))
    scores: dict[str, float | None] = dict(compare_surfaces(surface, truth.surface, protocol.thresholds))
    scores["volume_iou"] = None
    if truth.inside.sum() >= protocol.least_volume:
        inside = cells_inside(scene, protocol.volume_resolution, protocol.num_directions)
        scores["volume_iou"] = volume_iou(inside, truth.inside)
    return scores, truth.placement @ matrix


def failed_surface(truth: GroundTruth, protocol: Protocol) -> dict[str, float | None]:
    """The scores of a prediction without a surface."""
    scores: dict[str, float | None] = {fscore_name(threshold): 0.0 for threshold in protocol.thresholds}
    scores |= dict.fromkeys(("chamfer", "accuracy", "completeness"), protocol.failed_chamfer)
    scores["normal_consistency"] = 0.0
    scores["volume_iou"] = 0.0 if truth.inside.sum() >= protocol.least_volume else None
    return scores


class _KeptRows:
    """Rows that depend on the object and the protocol alone, in a file.

    Args:
        path: None: nothing is kept.
        has_lpips: rows with and without it are kept apart.
    """

    def __init__(self, path: Path | None, has_lpips: bool) -> None:
        self.path = path if path is None or not has_lpips else path.with_name(f"lpips.{path.name}")
        self.rows: dict[str, Any] = {}
        self.changed = False
        if self.path is not None and self.path.is_file():
            try:
                self.rows = json.loads(self.path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise OSError(f"{str(self.path)!r} holds no scores that can be read, delete it: {error}") from error

    def get(self, name: str, make: Callable[[], dict[str, Any] | None]) -> Any:
        if name not in self.rows:
            self.rows[name], self.changed = make(), True
        return self.rows[name]

    def save(self) -> None:
        if self.path is not None and self.changed:
            with replacing(self.path) as temporary:
                temporary.write_text(json.dumps(self.rows, allow_nan=False), encoding="utf-8")


def _reference(path: Path, truth: GroundTruth, protocol: Protocol, has_lpips: bool) -> dict[str, Any]:
    from ..training.mesh_objects import load_object

    scene = Scene(load_object(path).triangles)
    rng = random_numbers(protocol, truth.name, "prediction")
    again = sample_surface(scene, protocol.num_points, protocol.num_directions, rng)
    moved = SurfacePoints(transform(np.linalg.inv(truth.placement), again.points), again.normals)
    scores: dict[str, float | None] = dict.fromkeys(metrics(protocol, has_lpips))
    scores.update(compare_surfaces(moved, truth.surface, protocol.thresholds))
    return {"object": truth.name, "method": REFERENCE, "scores": scores, "views": {}, "failure": None}


def metrics(protocol: Protocol, has_lpips: bool) -> dict[str, dict[str, str]]:
    """What is measured, in the order of tables."""
    known: dict[str, dict[str, str]] = {}

    def add(name: str, label: str, unit: str, better: str, library: str) -> None:
        known[name] = {"label": label, "unit": unit, "better": better, "library": library}

    if protocol.azimuths:
        add("novel_psnr", "novel views PSNR", "dB", "higher", "lrm_hf")
        add("own_psnr", "own view PSNR", "dB", "higher", "lrm_hf")
        add("novel_ssim", "SSIM", "", "higher", "scikit-image")
        if has_lpips:
            add("novel_lpips", "LPIPS", "", "lower", "lpips")
        add("novel_iou", "mask IoU", "", "higher", "lrm_hf")
    length = "unit radius of the object" if protocol.normalisation == "object" else "half the longest side"
    add("chamfer", "Chamfer", length, "lower", "scipy")
    add("accuracy", "prediction to truth", length, "lower", "scipy")
    add("completeness", "truth to prediction", length, "lower", "scipy")
    for threshold in protocol.thresholds:
        add(fscore_name(threshold), f"F@{threshold:g}", "", "higher", "scipy")
    add("normal_consistency", "normals", "", "higher", "scipy")
    add("volume_iou", "volume IoU", "", "higher", "embreex")
    return known


def summarize(rows: Iterable[dict[str, Any]], method: str, protocol: Protocol) -> dict[str, Any]:
    """Means over objects, each over those objects that have the score."""
    own = [row for row in rows if row["method"] == method]
    scores: dict[str, float | None] = {}
    counts: dict[str, int] = {}
    for name in own[0]["scores"]:
        values = [row["scores"][name] for row in own if row["scores"][name] is not None]
        scores[name] = float(np.mean(values)) if values else None
        counts[name] = len(values)
    by_azimuth = {}
    if all(row["views"] for row in own):
        mean = np.mean([row["views"]["psnr"] for row in own], axis=0)
        by_azimuth = {f"{azimuth:g}": float(value) for azimuth, value in zip(protocol.azimuths, mean, strict=True)}
    failures = sum(row["failure"] is not None for row in own)
    return {"scores": scores, "counts": counts, "failures": failures, "by_azimuth": by_azimuth}


def versions() -> dict[str, str]:
    """Of what had a part in the numbers; libraries that are not installed are left out."""
    from .. import __version__

    found = {"python": platform.python_version(), "lrm_hf": __version__}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def _notes(objects: list[dict[str, Any]], methods: Sequence[Method], protocol: Protocol, lpips_note: str) -> list[str]:
    notes = [lpips_note] if lpips_note else []
    if protocol.alignment == "camera":
        notes += [
            f"{method.name!r} reads no camera and answers in a frame of its own: its scores say nothing under this "
            "protocol. Use one that aligns surfaces by a search."
            for method in methods
            if not method.aligned_by_camera
        ]
    open_meshes = [entry["name"] for entry in objects if not entry["watertight"]]
    if open_meshes:
        notes.append(
            f"{len(open_meshes)} of {len(objects)} ground truth meshes are not watertight; what is inside of them is "
            "decided by rays, as the protocol says."
        )
    least = protocol.least_volume / protocol.volume_resolution**3
    flat = [entry["name"] for entry in objects if entry["volume"] < least]
    if flat:
        notes.append(
            f"{len(flat)} of {len(objects)} objects enclose too little volume for a volume IoU and are left out of it: "
            f"{', '.join(flat)}."
        )
    return notes
