# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Time, memory and error of `lrm_hf.render`, beside the plain way that evaluates every sample.

    python -m benchmarks.fitted_fields fields chair.glb
    python -m benchmarks.render fields/chair_base.safetensors --json benchmarks/results/render_cpu.json

Three kinds of work: one view of 288 x 288 (`view`), 32 views of 256 x 256 of one field (`orbit`), and forward and
backward of 4 crops of 128 x 128 (`crops`). For the first two there are two times: with what is found out about a field
at its first view, and without. The plain way renders the first view of the orbit only, and of views a strip where
`--plain-rows` asks for it; its time is multiplied. Processor time is compared on a CPU, which other work on the machine
disturbs least; wall time stands beside it. `floor` is the time that the matrix products of the evaluated samples alone
would take, at the rate of a large product on this machine.

Memory is what a fresh process grows by while it works (its high-water mark), on a GPU what torch allocates. The plain
way works in chunks; `one_piece_mib` is what it takes without them, measured on a strip of a view and multiplied.
"""

from __future__ import annotations

import argparse
import math
import os
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

from .report import memory_before, peak_memory, print_table, write_json


WORKS = ("view", "orbit", "crops")
VIEW_SIZE, ORBIT_SIZE, ORBIT_VIEWS, CROP_SIZE, CROP_VIEWS = 288, 256, 32, 128, 4
STRIP_ROWS = 24  # of a view that is rendered in one piece
PLAIN: dict[str, Any] = {"backend": "torch", "exact": True}


def fresh(field: TriplaneField) -> TriplaneField:
    """The same field, of which nothing is known yet."""
    return field[:]


def look(
    field: TriplaneField, work: str, rows: int | None = None, plain: bool = False, **settings: Any
) -> RenderOutput:
    """The `view`; or the `orbit`, of which the plain way renders one picture. Both whole, or `rows` from the middle."""
    size = VIEW_SIZE if work == "view" else ORBIT_SIZE
    cameras = orbit_cameras(azimuths=[30.0], elevation=20.0) if work == "view" else orbit_cameras(ORBIT_VIEWS)
    settings |= PLAIN if plain else {}
    if plain:
        cameras = cameras[:1]
    if rows is not None:
        anchor = torch.tensor([(size - rows) // 2, 0])
        settings |= {"anchors": anchor, "full_size": (size, size)}
    with torch.no_grad():
        return render(field, cameras, rows or size, size, **settings)


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


def grown_memory(work: str, path: Path, device: str, *options: str) -> float:
    """MiB that a fresh process grows by."""
    command = [sys.executable, "-m", "benchmarks.render", os.fspath(path), "--device", device]
    command += ["--threads", str(torch.get_num_threads()), "--memory-of", work, *options]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{process.stderr}")
    return float(process.stdout.split()[-1])


def report_memory(field: TriplaneField, work: str, plain: bool, one_piece: bool) -> None:
    render(fresh(field), orbit_cameras(1), 8, 8, **PLAIN)  # threads and libraries
    before = memory_before(field.device)
    if one_piece:
        look(field, work, STRIP_ROWS, plain=True, chunk_size=2**30)
    elif work == "crops":
        crops(field, **(PLAIN if plain else {}))
    else:
        look(field, work, plain=plain)
    scale = VIEW_SIZE / STRIP_ROWS if one_piece else 1.0
    print((peak_memory(field.device) - before) * scale)


def measure(path: Path, field: TriplaneField, work: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of the table for one field and one kind of work: the plain way first."""
    repetitions, rows = arguments.repetitions, arguments.plain_rows
    memory: dict[str, float | None] = {}
    if not arguments.no_memory:
        device = str(field.device)
        memory = {"plain": grown_memory(work, path, device, "--plain"), "default": grown_memory(work, path, device)}
        if work == "view":
            memory["one piece"] = grown_memory(work, path, device, "--one-piece")
    first = None
    if work == "crops":
        scale = 1.0
        plain = timed(lambda: crops(field, **PLAIN), arguments.plain_repetitions)
        default = timed(lambda: crops(field), repetitions)
        samples, compared = None, default[2]
    else:
        size, views = (VIEW_SIZE, 1) if work == "view" else (ORBIT_SIZE, ORBIT_VIEWS)
        scale = views * size / (rows or size)
        plain = timed(lambda: look(field, work, rows, plain=True), arguments.plain_repetitions)
        first = timed(lambda: look(fresh(field), work), repetitions)
        default = timed(lambda: look(field, work), repetitions)
        samples = evaluated(lambda: look(field, work))
        compared = look(field, work, rows)
        compared = RenderOutput(*(part[:, :1] for part in (compared.images, compared.depth, compared.opacity)))

    def row(way: str, processor: float, wall: float, **more: Any) -> dict[str, Any]:
        ratios = {"ratio_processor": plain[0] * scale / processor, "ratio_wall": plain[1] * scale / wall}
        base = {"field": path.stem, "work": work, "way": way, "processor_s": processor, "wall_s": wall}
        return base | ratios | more

    whole = {"one_piece_mib": memory["one piece"]} if "one piece" in memory else {}
    found = [row("plain", plain[0] * scale, plain[1] * scale, memory_mib=memory.get("plain"), **whole)]
    if first is not None:
        found.append(row("default, first", first[0], first[1]))
    more: dict[str, Any] = {"memory_mib": memory.get("default")} | errors(compared, plain[2])
    if samples is not None:
        floor = samples * operations_per_sample(field) / matmul_rate(field.device)
        more |= {"evaluated": samples, "floor_s": floor}
    return [*found, row("default", default[0], default[1], **more)]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.render", description=__doc__.splitlines()[0])
    parser.add_argument("fields", type=Path, nargs="+", help="files that `TriplaneField.save` wrote")
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's own)")
    parser.add_argument("--repetitions", type=int, default=3, help="of the default way; the smallest counts")
    parser.add_argument("--plain-repetitions", type=int, default=1)
    parser.add_argument("--plain-rows", type=int, help="rows that the plain way renders of a view (default: all)")
    parser.add_argument("--no-memory", action="store_true", help="times only")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--memory-of", choices=WORKS, help=argparse.SUPPRESS)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--one-piece", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        field = TriplaneField.load(arguments.fields[0], arguments.device)
        report_memory(field, arguments.memory_of, arguments.plain, arguments.one_piece)
        return 0
    rows: list[dict[str, Any]] = []
    settings = {
        name: value
        for name, value in vars(arguments).items()
        if name in ("repetitions", "plain_repetitions", "plain_rows")
    }
    for path in arguments.fields:
        field = TriplaneField.load(path, arguments.device)
        for work in arguments.work:
            rows += measure(path, field, work, arguments)
            if arguments.json:  # anew each time: a run that is stopped leaves what it has
                arguments.json.parent.mkdir(parents=True, exist_ok=True)
                write_json(arguments.json, rows, **settings)
    print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
