# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The sparse isosurface against the dense grid: time, memory, points evaluated, and how far the surfaces are apart.

    python -m benchmarks.mesh chair_base.safetensors --resolutions 128 384 --output mesh.json

Without field files the bundled model's field of an example picture is taken. Every row is measured in a process of its
own, after a call at low resolution that imports and warms what is needed, and is the best of the repetitions: other
processes only ever add to a time. `cpu` is the process's own time over all threads, which a loaded machine changes
less than `wall`. The dense grid is measured up to `--dense-limit`; vertex colours are left out, since both ways ask for
the same. `floor` is what the multiplications of the MLP at the evaluated points take at the rate of a matrix product of
the same shape: nothing that evaluates these points is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import lrm_hf
from lrm_hf.meshing import extract_mesh, isosurface
from lrm_hf.meshing.density import GridDensity
from lrm_hf.modeling.field import TriplaneField

from .report import memory_before, peak_memory, print_table, write_json


PICTURE = Path(__file__).parents[1] / "examples" / "teddy_bear.png"
WARM_UP_RESOLUTION = 32


class _CountedDensity(GridDensity):
    latest: GridDensity

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        _CountedDensity.latest = self


def bundled_field(picture: Path) -> TriplaneField:
    pipe = lrm_hf.LRMPipeline.from_pretrained(lrm_hf.bundled_model())
    pipe.set_progress_bar_config(disable=True)
    return pipe(str(picture), output_type="field").field


def measure(field: TriplaneField, resolution: int, dense: bool, repetitions: int) -> tuple[dict[str, Any], np.ndarray]:
    """One row, and the vertices."""
    isosurface.GridDensity = _CountedDensity  # type: ignore[misc]
    low = min(float(extract_mesh_densities(field).quantile(0.999)), float(field.config.density_threshold))
    extract_mesh(field, WARM_UP_RESOLUTION, threshold=low, dense=dense, vertex_colors=False)
    before = memory_before(field.device)
    walls, cpus = [], []
    for _ in range(repetitions):
        wall, cpu = time.perf_counter(), time.process_time()
        (mesh,) = extract_mesh(field, resolution, dense=dense, vertex_colors=False)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    points = resolution**3 if dense else int(_CountedDensity.latest.evaluated.sum())
    row = {
        "path": "dense" if dense else "sparse",
        "resolution": resolution,
        "wall_s": min(walls),
        "cpu_s": min(cpus),
        "peak_mib": peak_memory(field.device) - before,
        "points": points,
        "floor_s": points * _seconds_of_mlp(field),
        "vertices": len(mesh.vertices),
        "watertight": bool(mesh.is_watertight),
        "pieces": int(mesh.body_count),
    }
    return row, np.asarray(mesh.vertices)


def extract_mesh_densities(field: TriplaneField) -> torch.Tensor:
    """Densities at the points of the warm-up's grid."""
    return isosurface.density_grid(field, WARM_UP_RESOLUTION).flatten()


def distances(vertices: np.ndarray, dense: np.ndarray, step: float) -> dict[str, float]:
    """The largest and the mean way from a vertex to the nearest of the other mesh, both ways, in grid steps."""
    from scipy.spatial import cKDTree

    both = np.concatenate([cKDTree(a).query(b)[0] for a, b in ((vertices, dense), (dense, vertices))]) / step
    return {"off_max": float(both.max()), "off_mean": float(both.mean())}


def _seconds_of_mlp(field: TriplaneField) -> float:
    """What the MLP's layers behind the first take per point, in process time."""
    count, best = 2**13, float("inf")
    hidden = torch.rand(count, field.config.hidden_size, device=field.device)
    for _ in range(20):
        start = time.process_time() if hidden.device.type == "cpu" else time.perf_counter()
        for weight in field.weights[1:-1]:
            F.linear(hidden, weight)
        if hidden.device.type == "cuda":
            torch.cuda.synchronize()
        end = time.process_time() if hidden.device.type == "cpu" else time.perf_counter()
        best = min(best, end - start)
    return best / count


def _measure_apart(path: Path, resolution: int, dense: bool, arguments: argparse.Namespace, folder: Path) -> Any:
    vertices = folder / "vertices.npy"
    command = [sys.executable, "-m", "benchmarks.mesh", str(path), "--resolutions", str(resolution)]
    command += ["--repetitions", str(arguments.repetitions), "--device", arguments.device]
    command += ["--one", "dense" if dense else "sparse", "--vertices", str(vertices)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {process.returncode}:\n{process.stderr}")
    return json.loads(process.stdout.splitlines()[-1]), np.load(vertices)


def compare(paths: Sequence[Path], arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """All rows, the dense one before the sparse one of the same field and resolution."""
    rows: list[dict[str, Any]] = []
    for path in paths:
        radius = float(TriplaneField.load(path).config.radius)
        for resolution in arguments.resolutions:
            dense = None
            if resolution <= arguments.dense_limit:
                dense, expected = _measure_apart(path, resolution, True, arguments, folder)
                rows.append({"field": path.stem, **dense})
            sparse, vertices = _measure_apart(path, resolution, False, arguments, folder)
            if dense is not None:
                sparse["cpu_ratio"] = dense["cpu_s"] / sparse["cpu_s"]
                sparse["wall_ratio"] = dense["wall_s"] / sparse["wall_s"]
                sparse |= distances(vertices, expected, 2 * radius / (resolution - 1))
            rows.append({"field": path.stem, **sparse})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mesh", description=__doc__.splitlines()[0])
    parser.add_argument("fields", nargs="*", type=Path, help="files that TriplaneField.save wrote")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="for the bundled model's field")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[128, 256, 384])
    parser.add_argument("--dense-limit", type=int, default=384, help="largest resolution of the dense grid")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--one", choices=["dense", "sparse"], help=argparse.SUPPRESS)
    parser.add_argument("--vertices", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.repetitions < 1 or arguments.threads < 1:
        parser.error("--repetitions and --threads must be at least 1")

    if arguments.one:
        field = TriplaneField.load(arguments.fields[0], arguments.device)
        row, vertices = measure(field, arguments.resolutions[0], arguments.one == "dense", arguments.repetitions)
        np.save(arguments.vertices, vertices)
        print(json.dumps(row))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder, paths = Path(name), list(arguments.fields)
        if not paths:
            paths = [folder / f"bundled_{arguments.picture.stem}.safetensors"]
            bundled_field(arguments.picture).save(paths[0])
        rows = compare(paths, arguments, folder)
    print_table(rows)
    if arguments.output is not None:
        write_json(arguments.output, rows, threads=arguments.threads, device=arguments.device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
