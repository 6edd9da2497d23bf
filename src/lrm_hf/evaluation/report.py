# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Results for people: Markdown tables, a plot, contact sheets. All but the sheets work on what `evaluate` returned, or
what was read from its JSON file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from tqdm.auto import tqdm

from ..cameras import Cameras, orbit_cameras
from ..files import replacing
from .alignment import cameras_before
from .ground_truth import load_ground_truth
from .images import on_background, to_uint8
from .measure import measure_surface
from .methods import Method, NoSurface
from .protocols import Protocol


SHEET_AZIMUTHS = (0.0, 30.0, -60.0, 90.0, 180.0)
MESH_AZIMUTHS = (30.0, -60.0)


def write_json(path: str | os.PathLike, result: dict[str, Any]) -> None:
    """Numbers that are not finite are refused: they have no place in JSON."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def table(result: dict[str, Any]) -> str:
    """The summary as Markdown: the scores, and where pictures were compared, PSNR by angle."""
    metrics = [name for name in result["metrics"] if name not in ("accuracy", "completeness")]
    labels = [result["metrics"][name]["label"] for name in metrics]
    lines = [f"| | {' | '.join(labels)} |", "|---" * (len(metrics) + 1) + "|"]
    for method, summary in result["summary"].items():
        cells = [_cell(name, summary["scores"].get(name), result) for name in metrics]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    with_views = {method: entry for method, entry in result["summary"].items() if entry["by_azimuth"]}
    if with_views:
        angles = _angles(result)
        lines += ["", f"| novel views PSNR at | {' | '.join(angles)} |", "|---" * (len(angles) + 1) + "|"]
        for method, summary in with_views.items():
            means = [np.mean([summary["by_azimuth"][azimuth] for azimuth in group]) for group in angles.values()]
            lines.append(f"| {method} | {' | '.join(f'{mean:.2f}' for mean in means)} |")
    failed = {method: entry["failures"] for method, entry in result["summary"].items() if entry["failures"]}
    if failed:
        lines += ["", "Without a surface: " + ", ".join(f"{name} {count}" for name, count in failed.items()) + "."]
    return "\n".join(lines)


def markdown(result: dict[str, Any]) -> str:
    """The tables, the protocol in words, notes, versions, and a row per object and method."""
    protocol = result["protocol"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        f"# Evaluation: protocol `{protocol['name']}` ({protocol['hash']}), {len(result['objects'])} objects",
        "",
        table(result),
        "",
        *(f"- {note}" for note in result["notes"]),
        *(f"- {name}: {entry['label']}, by {entry['library']}" for name, entry in result["metrics"].items()),
        f"- {versions}; seed {result['seed']}",
        "",
        "## The protocol",
        "",
        *(f"- {line}" for line in protocol["words"]),
        "",
        "## Objects",
        "",
    ]
    metrics = list(result["metrics"])
    labels = [result["metrics"][name]["label"] for name in metrics]
    lines += [f"| object | method | {' | '.join(labels)} |", "|---" * (len(metrics) + 2) + "|"]
    for row in result["rows"]:
        cells = [_cell(name, row["scores"].get(name), result) for name in metrics]
        lines.append(f"| {row['object']} | {row['method']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(result: dict[str, Any], path: str | os.PathLike) -> None:
    """PSNR against azimuth, and Chamfer distance and the smallest threshold's F-score of all objects in order, a line
    per method, in the format of the suffix.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    summary = result["summary"]
    fscore = next(name for name in result["metrics"] if name.startswith("fscore"))
    panels = ["psnr"] if any(entry["by_azimuth"] for entry in summary.values()) else []
    panels += ["chamfer", fscore]
    figure = Figure(figsize=(5 * len(panels), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for index, (method, entry) in enumerate(summary.items()):
            if panel == "psnr":
                points = sorted((float(azimuth), value) for azimuth, value in entry["by_azimuth"].items())
                points = [(azimuth, value) for azimuth, value in points if azimuth != 0]
                xs, ys = [point[0] for point in points], [point[1] for point in points]
            else:
                values = [row["scores"][panel] for row in result["rows"] if row["method"] == method]
                ys = sorted((value for value in values if value is not None), reverse=panel != "chamfer")
                xs = list(range(1, len(ys) + 1))
            if ys:
                axes.plot(xs, ys, marker="o", markersize=3, label=method, color=f"C{index}")
        label = "PSNR in dB" if panel == "psnr" else result["metrics"][panel]["label"]
        axes.set_ylabel(label)
        axes.set_xlabel("azimuth in degrees" if panel == "psnr" else "objects, best first")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def require_matplotlib() -> None:
    """Raises an ImportError that says what to install."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError('plots need matplotlib: `pip install "lrm_hf[evaluation]"`.') from error


def choose_objects(result: dict[str, Any], method: str, count: int, spread: bool = False) -> list[str]:
    """Object names by a method's novel-view PSNR, best first (by Chamfer distance where no views are compared): the
    best and the worst, half of `count` each, or with `spread` evenly from best to worst."""
    metric = "novel_psnr" if "novel_psnr" in result["metrics"] else "chamfer"
    sign = -1 if metric == "novel_psnr" else 1
    rows = [row for row in result["rows"] if row["method"] == method]
    ranked = [row["object"] for row in sorted(rows, key=lambda row: sign * row["scores"][metric])]
    count = min(count, len(ranked))
    if spread and count > 1:
        return [ranked[round(index * (len(ranked) - 1) / (count - 1))] for index in range(count)]
    best = (count + 1) // 2
    return ranked[:best] + ranked[len(ranked) - (count - best) :]


def contact_sheet(
    paths: Sequence[Path],
    method: Method,
    protocol: Protocol,
    captions: Sequence[str],
    cache: Path | None = None,
    progress: bool | None = None,
) -> Image.Image:
    """A row per object: the input, true and predicted views side by side, then the mesh in its own colours from two
    sides (crossed out where there is none)."""
    from ..training.mesh_views import load_object, render_views

    cameras = orbit_cameras(azimuths=SHEET_AZIMUTHS, elevation=protocol.elevation)
    mesh_cameras = orbit_cameras(azimuths=MESH_AZIMUTHS, elevation=protocol.elevation)
    columns = ["input", *(f"{kind} {azimuth:+.0f}" for azimuth in SHEET_AZIMUTHS for kind in ("true", "ours"))]
    columns += [f"mesh {azimuth:+.0f}" for azimuth in MESH_AZIMUTHS]
    size, top = protocol.size, 18
    sheet = Image.new("RGB", (size * len(columns), top + size * len(paths)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, text in enumerate(columns):
        draw.text((column * size + 4, 3), text, fill="black")
    for row, (path, caption) in enumerate(
        zip(tqdm(paths, desc="Drawing", disable=None if progress is None else not progress), captions, strict=True)
    ):
        truth = load_ground_truth(path, protocol, cache)
        target = render_views(load_object(path), cameras, size, protocol.antialias).rgba
        targets, _ = on_background(target, protocol.background)
        picture, _ = on_background(truth.picture[None], protocol.background)
        cells = [torch.nn.functional.interpolate(picture, size=(size, size), mode="area")[0]]
        answer = method.answer(truth, protocol)
        crossed = _crossed(size, protocol.background)
        placement, has_surface = np.eye(4), False
        if answer.triangles is not None:
            try:
                triangles, has_surface = answer.triangles(), True
                if protocol.alignment != "camera":
                    _, placement = measure_surface(triangles, truth, protocol)
            except NoSurface:
                has_surface = False

        def seen_by(views: Cameras, matrix: np.ndarray = placement) -> Cameras:
            return views if protocol.alignment == "camera" else cameras_before(matrix, views)

        images = answer.pictures(seen_by(cameras))[0] if answer.pictures else crossed.expand(len(cameras), -1, -1, -1)
        for true, ours in zip(targets, images, strict=True):
            cells += [true, ours]
        if has_surface and answer.mesh_pictures is not None:
            cells += list(answer.mesh_pictures(seen_by(mesh_cameras))[0])
        else:
            cells += [crossed] * len(mesh_cameras)
        for column, cell in enumerate(cells):
            sheet.paste(Image.fromarray(to_uint8(cell)), (column * size, top + row * size))
        draw.text((4, top + (row + 1) * size - 14), caption, fill="gray")
    return sheet


def _crossed(size: int, background: float) -> torch.Tensor:
    """A picture `(3, size, size)` that says that there is none."""
    eye = torch.eye(size)
    return (background - 0.5 * torch.maximum(eye, eye.flip(1))).clamp(0, 1).expand(3, -1, -1)


def _cell(name: str, value: float | None, result: dict[str, Any]) -> str:
    if value is None:
        return "–"
    if name.endswith("psnr"):
        # a view that was copied has no PSNR to speak of, only the floor's
        largest = -10 * np.log10(result["protocol"]["settings"]["error_floor"])
        return "–" if value >= largest - 0.1 else f"{value:.2f}"
    return f"{value:.3f}"


def _angles(result: dict[str, Any]) -> dict[str, list[str]]:
    """Azimuths of the novel views by their distance from the input's, with a label."""
    groups: dict[float, list[str]] = {}
    for azimuth in result["protocol"]["settings"]["azimuths"][1:]:
        away = abs((azimuth + 180) % 360 - 180)
        groups.setdefault(away, []).append(f"{azimuth:g}")
    return {("±" if len(group) > 1 else "") + f"{away:g}°": group for away, group in sorted(groups.items())}
