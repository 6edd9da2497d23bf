# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Time, memory and error of `lrm_hf.render`, beside the plain way that evaluates every sample.

    python -m benchmarks.fitted_fields fields chair.glb
    python -m benchmarks.render fields/chair_base.safetensors --json benchmarks/results/render_cpu.json

Three kinds of work: one view of 288 x 288 (`view`; with and without what is found out about a field at its first view),
32 views of 256 x 256 of one field (`orbit`), and forward and backward of 4 crops of 128 x 128 (`crops`), whose exact and
quick ways take turns. The plain way is given the first views of an orbit only (`--plain-views`), and its time is
multiplied. Processor time is compared on a CPU, which other work on the machine disturbs least; wall time stands beside
it. `floor` is the time that the matrix products of the evaluated samples alone would take, at the rate of a large
product on this machine.

Memory is what a fresh process grows by while it works (its high-water mark), on a GPU what torch allocates.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrm_hf.cameras import Cameras, orbit_cameras
from lrm_hf.modeling.field import TriplaneField
from lrm_hf.rendering import RenderOutput, render
from lrm_hf.rendering.folding import FoldedField
from lrm_hf.rendering.occupancy import occupancy_grid

from .report import print_table, write_json


WORKS = ("view", "orbit", "crops")
VIEW_SIZE, ORBIT_SIZE, ORBIT_VIEWS, CROP_SIZE, CROP_VIEWS = 288, 256, 32, 128, 4
PLAIN: dict[str, Any] = {"backend": "torch", "exact": True}


def fresh(field: TriplaneField) -> TriplaneField:
    """The same field, of which nothing is known yet."""
    return field[:]


def view(field: TriplaneField, **settings: Any) -> RenderOutput:
    return render(field, orbit_cameras(azimuths=[30.0], elevation=20.0), VIEW_SIZE, VIEW_SIZE, **settings)


def orbit(field: TriplaneField, views: int, **settings: Any) -> RenderOutput:
    return render(field, orbit_cameras(ORBIT_VIEWS)[:views], ORBIT_SIZE, ORBIT_SIZE, **settings)


def crops(field: TriplaneField, **settings: Any) -> RenderOutput:
    """Forward and backward, with gradients to planes and MLP."""
    parts = [part.detach().requires_grad_() for part in (field.planes, *field.weights, *field.biases)]
    layers = len(field.weights)
    field = TriplaneField(parts[0], tuple(parts[1 : 1 + layers]), tuple(parts[1 + layers :]), field.config)
    anchors = torch.tensor([[40, 60], [60, 90], [80, 50], [70, 70]])
    full_size = (VIEW_SIZE, VIEW_SIZE)
    cameras: Cameras = orbit_cameras(CROP_VIEWS)
    output = render(field, cameras, CROP_SIZE, CROP_SIZE, anchors=anchors, full_size=full_size, **settings)
    output.images.square().mean().backward()
    return output


def timed(function: Callable[[], RenderOutput], repetitions: int) -> tuple[float, float, RenderOutput]:
    """Smallest processor time and wall time in seconds over the repetitions, and the last result."""
    processor = wall = math.inf
    for _ in range(repetitions):
        synchronize()
        start, start_wall = time.process_time(), time.perf_counter()
        result = function()
        synchronize()
        processor = min(processor, time.process_time() - start)
        wall = min(wall, time.perf_counter() - start_wall)
    return processor, wall, result


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def evaluated(function: Callable[[], Any]) -> int:
    """Samples that the torch backend evaluates."""
    counts: list[int] = []
    evaluate = FoldedField.evaluate

    def count(self: FoldedField, points: Tensor, owner: Tensor | None) -> Tensor:
        counts.append(len(points))
        return evaluate(self, points, owner)

    FoldedField.evaluate = count  # type: ignore[method-assign]
    try:
        function()
    finally:
        FoldedField.evaluate = evaluate  # type: ignore[method-assign]
    return sum(counts)


def matmul_rate(device: torch.device) -> float:
    """Multiplications and additions per second of processor time in a large float32 product."""
    a, b = torch.randn(2**14, 64, device=device), torch.randn(64, 64, device=device)
    best = math.inf
    for _ in range(50):
        synchronize()
        start = time.perf_counter() if device.type == "cuda" else time.process_time()
        a @ b
        synchronize()
        stop = time.perf_counter() if device.type == "cuda" else time.process_time()
        best = min(best, stop - start)
    return 2 * a.numel() * b.shape[1] / best


def operations_per_sample(field: TriplaneField) -> int:
    """Of the MLP without its first layer, which is folded into the planes, and of the sums of twelve rows."""
    hidden = field.config.hidden_size
    return 2 * ((field.config.num_hidden_layers - 1) * hidden**2 + 4 * hidden + 12 * hidden)


def errors(found: RenderOutput, exact: RenderOutput) -> dict[str, float]:
    difference = (found.images - exact.images).detach()
    return {
        "psnr": min(200.0, -10 * math.log10(max(float(difference.square().mean()), 1e-20))),
        "max_error_255": float(difference.abs().max()) * 255,
    }


def grown_memory(work: str, path: Path, plain: bool, device: str) -> float:
    """MiB that a fresh process grows by."""
    command = [sys.executable, "-m", "benchmarks.render", os.fspath(path), "--device", device]
    command += ["--memory-of", work] + (["--plain"] if plain else [])
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{process.stderr}")
    return float(process.stdout.split()[-1])


def report_memory(field: TriplaneField, work: str, plain: bool) -> None:
    settings = PLAIN if plain else {}
    render(fresh(field), orbit_cameras(1), 8, 8, **PLAIN)  # threads and libraries
    if field.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if work == "crops":
        crops(field, **settings)
    else:
        with torch.no_grad():
            view(field, **settings) if work == "view" else orbit(field, 2, **settings)
    if field.device.type == "cuda":
        after = torch.cuda.max_memory_allocated()
    else:
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print((after - before) / 2**20)


def measure(path: Path, field: TriplaneField, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    on_gpu = field.device.type == "cuda"
    rate = matmul_rate(field.device)
    rows = []

    def add(work: str, way: str, times: tuple[float, float], plain: tuple[float, float], **more: Any) -> None:
        row: dict[str, Any] = {"field": path.stem, "work": work, "way": way}
        row |= {"processor_s": times[0], "wall_s": times[1]}
        row |= {"ratio_processor": None if on_gpu else plain[0] / times[0], "ratio_wall": plain[1] / times[1]}
        rows.append(row | more)

    for work in arguments.work:
        memory = {plain: None for plain in (True, False)}
        if not arguments.no_memory:
            memory = {plain: grown_memory(work, path, plain, str(field.device)) for plain in (True, False)}
        if work == "crops":
            plain_cpu, plain_wall, exact = timed(lambda: crops(field, **PLAIN), arguments.plain_repetitions)
            cpu, wall, found = timed(lambda: crops(field), arguments.repetitions)
            add(work, "plain", (plain_cpu, plain_wall), (plain_cpu, plain_wall), memory_mib=memory[True])
            add(work, "default", (cpu, wall), (plain_cpu, plain_wall), memory_mib=memory[False], **errors(found, exact))
            continue
        views = 1 if work == "view" else arguments.plain_views
        all_views = 1 if work == "view" else ORBIT_VIEWS

        def run(known: TriplaneField, count: int, work: str = work, **settings: Any) -> RenderOutput:
            with torch.no_grad():
                return view(known, **settings) if work == "view" else orbit(known, count, **settings)

        plain_cpu, plain_wall, exact = timed(lambda: run(field, views, **PLAIN), arguments.plain_repetitions)
        plain_times = (plain_cpu * all_views / views, plain_wall * all_views / views)
        add(work, "plain", plain_times, plain_times, memory_mib=memory[True])
        first_cpu, first_wall, _ = timed(lambda: run(fresh(field), all_views), arguments.repetitions)
        add(work, "default, first time", (first_cpu, first_wall), plain_times)
        occupancy_grid(field)
        cpu, wall, _ = timed(lambda: run(field, all_views), arguments.repetitions)
        samples = evaluated(lambda: run(field, all_views))
        add(
            work,
            "default",
            (cpu, wall),
            plain_times,
            memory_mib=memory[False],
            evaluated=samples,
            floor_s=samples * operations_per_sample(field) / rate,
            **errors(run(field, views), exact),
        )
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.render", description=__doc__.splitlines()[0])
    parser.add_argument("fields", type=Path, nargs="+", help="files that `TriplaneField.save` wrote")
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's own)")
    parser.add_argument("--repetitions", type=int, default=3, help="of the default way; the smallest counts")
    parser.add_argument("--plain-repetitions", type=int, default=1)
    parser.add_argument("--plain-views", type=int, default=1, help="views of an orbit that the plain way renders")
    parser.add_argument("--no-memory", action="store_true", help="times only")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--memory-of", choices=WORKS, help=argparse.SUPPRESS)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        report_memory(TriplaneField.load(arguments.fields[0], arguments.device), arguments.memory_of, arguments.plain)
        return 0
    rows = []
    for path in arguments.fields:
        rows += measure(path, TriplaneField.load(path, arguments.device), arguments)
    print_table(rows)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        settings = {name: value for name, value in vars(arguments).items() if name in ("repetitions", "plain_views")}
        write_json(arguments.json, rows, **settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
