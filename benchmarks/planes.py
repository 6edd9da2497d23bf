# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""From pictures to planes: what attention, number format, compilation, CUDA graphs and batches make of it.

    python -m benchmarks.planes --shape base large --device cuda --json planes.json

Models have the published sizes of OpenLRM 1.1 and random weights, which costs the same. The first row of a shape is the
plain way: attention written out, float32, one picture. Each row is measured in a process of its own, in the order of
the table, and the JSON file is written anew after each, so that a run that is stopped leaves what it has. `time_s` is
per picture: processor time on a CPU, which other work on the machine disturbs least, and wall time on a GPU. `first_s`
is the wall time of the first call, compilation included; where nothing is compiled on a CPU it counts as a repetition.
`error` is the root mean square of the planes' difference from the plain way's, as a part of their own. `floor_s` is
what the matrix products take at the rate of a large product of the same type, or reading all weights once at the rate
of a large copy, whichever is longer.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel

from lrm_hf.modeling.configuration_lrm import LRMConfig
from lrm_hf.modeling.original_checkpoints import openlrm_config

from .report import memory_before, peak_memory, print_table, write_json


_COMMON = {"camera_embed_dim": 1024, "triplane_low_res": 32, "triplane_high_res": 64, "encoder_type": "dinov2"}
_SMALL_ENCODER = {"encoder_model_name": "dinov2_vits14_reg", "encoder_feat_dim": 384}
_BASE_ENCODER = {"encoder_model_name": "dinov2_vitb14_reg", "encoder_feat_dim": 768}


def _decoder(width: int, layers: int, heads: int, channels: int, samples: int) -> dict[str, int]:
    return {
        "transformer_dim": width,
        "transformer_layers": layers,
        "transformer_heads": heads,
        "triplane_dim": channels,
        "rendering_samples_per_ray": samples,
    }


# the published arguments of OpenLRM 1.1
SHAPES: dict[str, dict[str, Any]] = {
    "small": _COMMON | _SMALL_ENCODER | _decoder(512, 12, 8, 32, 96),
    "base": _COMMON | _BASE_ENCODER | _decoder(768, 12, 12, 48, 96),
    "large": _COMMON | _BASE_ENCODER | _decoder(1024, 16, 16, 80, 128),
}
MODES = ("plain", "compile", "max-autotune", "cuda-graph")


class Way(NamedTuple):
    """One row of the table."""

    attention: str = "sdpa"
    dtype: str = "float32"
    batch: int = 1
    mode: str = "plain"


PLAIN = Way(attention="eager")


def ways(device: str) -> list[Way]:
    """What is worth comparing on a kind of device, the plain way first."""
    found = [PLAIN, Way(), Way(batch=4), Way(dtype="bfloat16"), Way(dtype="bfloat16", batch=4)]
    if device == "cpu":
        return [*found, Way(mode="compile"), Way(mode="max-autotune")]
    quick = [Way(dtype="bfloat16", mode=mode) for mode in ("cuda-graph", "compile", "max-autotune")]
    return [*found, *quick, Way(dtype="bfloat16", batch=4, mode="compile")]


def shape_config(shape: str) -> LRMConfig:
    return openlrm_config(SHAPES[shape])


def make_model(config: LRMConfig, way: Way, device: str) -> Any:
    """The same weights for every way and device."""
    torch.manual_seed(0)
    model = AutoModel.from_config(config, attn_implementation=way.attention)
    return model.to(device=device, dtype=getattr(torch, way.dtype)).eval()


def make_pictures(config: LRMConfig, batch: int, device: str) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    # the first picture is the same in every batch
    pictures = [torch.rand(3, config.image_size, config.image_size, generator=generator) for _ in range(batch)]
    return torch.stack(pictures).to(device)


def planes_function(model: Any, way: Way, pictures: Tensor) -> Callable[[], Tensor]:
    """What makes planes of the pictures in the given way."""
    cameras = model.source_cameras(len(pictures))

    def plain() -> Tensor:
        return model.forward_planes(pictures, cameras)[0]

    if way.mode == "cuda-graph":
        return captured(plain)
    if way.mode == "plain":
        return plain
    options = {} if way.mode == "compile" else {"mode": way.mode}
    compiled = torch.compile(model.forward_planes, fullgraph=True, dynamic=False, **options)
    return lambda: compiled(pictures, cameras)[0]


def captured(function: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The function's work on a GPU, launched at once; its result lies in the same memory each time."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # libraries choose and allocate before the capture
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


def clock(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def best(function: Callable[[], Any], repetitions: int, device: str) -> tuple[float, float]:
    """Smallest time as `clock` has it, and smallest wall time."""
    own = wall = math.inf
    for _ in range(repetitions):
        start, start_wall = clock(device), time.perf_counter()
        function()
        own, wall = min(own, clock(device) - start), min(wall, time.perf_counter() - start_wall)
    return own, wall


def operations(config: LRMConfig) -> int:
    """Multiplications and additions in the matrix products of one picture."""
    with torch.device("meta"):
        model = AutoModel.from_config(config, attn_implementation="eager").eval().requires_grad_(False)
        pictures = torch.empty(1, 3, config.image_size, config.image_size)
    with FlopCounterMode(display=False) as counter:
        model.forward_planes(pictures)
    return int(counter.get_total_flops())


def floor(config: LRMConfig, parameters: int, dtype: torch.dtype, batch: int, device: str) -> float:
    """Seconds per picture that the machine can't do without."""
    a, b = (torch.randn(2048, 2048, device=device).to(dtype) for _ in range(2))
    product, _ = best(lambda: a @ b, 10, device)
    block = torch.empty(2**27, dtype=torch.uint8, device=device)
    target = torch.empty_like(block)
    copy, _ = best(lambda: target.copy_(block), 5, device)
    weights = parameters * dtype.itemsize * copy / (2 * block.numel())  # a copy reads and writes
    return max(operations(config) * product / (2 * 2048**3), weights / batch)


def measure(shape: str, way: Way, device: str, repetitions: int, expected: Path) -> dict[str, Any]:
    """One row. The plain way writes its planes to `expected`, the others read them there."""
    config = shape_config(shape)
    with torch.no_grad():
        model = make_model(config, way, device)
        pictures = make_pictures(config, way.batch, device)
        before = memory_before(device)
        start, first = clock(device), time.perf_counter()
        function = planes_function(model, way, pictures)
        found = function()
        own, first = clock(device) - start, time.perf_counter() - first
        planes = found[:1].float().cpu()  # before a graph's next run writes over them
        wall = first
        if device != "cpu" or way.mode != "plain":
            own, wall = best(function, repetitions, device)
        elif repetitions > 1:
            again, again_wall = best(function, repetitions - 1, device)
            own, wall = min(own, again), min(wall, again_wall)
        memory = peak_memory(device) - before
    if way == PLAIN:
        torch.save(planes, expected)
    plain = torch.load(expected, weights_only=True)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    lowest = floor(config, parameters, getattr(torch, way.dtype), way.batch, device)
    return {
        "shape": shape,
        **way._asdict(),
        "time_s": own / way.batch,
        "wall_s": wall / way.batch,
        "first_s": first,
        "memory_mib": memory,
        "error": float((planes - plain).square().mean().sqrt() / plain.square().mean().sqrt()),
        "floor_s": lowest,
        "of_floor": lowest * way.batch / own,
    }


def why_not(way: Way, device: str) -> str | None:
    """Why a way can't be measured here."""
    compilers = [os.environ.get("CXX") or "c++", "g++", "clang++"]
    if way.mode in ("compile", "max-autotune") and not any(shutil.which(name) for name in compilers):
        return "no C++ compiler, which torch.compile needs"
    if way.mode == "cuda-graph" and device == "cpu":
        return "CUDA graphs need a CUDA device"
    return None


def _measure_apart(shape: str, way: Way, arguments: argparse.Namespace, expected: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"shape": shape, **way._asdict()}
    reason = why_not(way, arguments.device)
    if reason is not None:
        return row | {"not_run": reason}
    command = [sys.executable, "-m", "benchmarks.planes", "--shape", shape, "--device", arguments.device]
    command += ["--repetitions", str(arguments.repetitions), "--one", json.dumps(way), "--expected", str(expected)]
    if arguments.threads is not None:
        command += ["--threads", str(arguments.threads)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        if way == PLAIN:
            raise RuntimeError(f"{' '.join(command)} failed with {process.returncode}:\n{process.stderr}")
        return row | {"not_run": f"failed: {(process.stderr.strip() or 'no message').splitlines()[-1]}"}
    return json.loads(process.stdout.splitlines()[-1])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planes", description=__doc__.splitlines()[0])
    parser.add_argument("--shape", nargs="+", choices=list(SHAPES), default=["base"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's own)")
    parser.add_argument("--repetitions", type=int, default=3, help="the smallest time counts")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="leave out the other rows")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--expected", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.repetitions < 1:
        parser.error("--repetitions must be at least 1")
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    if arguments.one is not None:
        way = Way(*json.loads(arguments.one))
        row = measure(arguments.shape[0], way, arguments.device, arguments.repetitions, arguments.expected)
        print(json.dumps(row))
        return 0
    rows: list[dict[str, Any]] = []
    failed = False
    for shape in arguments.shape:
        with tempfile.TemporaryDirectory() as folder:
            for way in ways(arguments.device):
                if way != PLAIN and way.mode not in arguments.modes:
                    continue
                row = _measure_apart(shape, way, arguments, Path(folder) / "planes.pt")
                if "time_s" in row:
                    plain = next(other for other in rows + [row] if other["shape"] == shape)
                    row["ratio"] = plain["time_s"] / row["time_s"]
                failed |= row.get("not_run", "").startswith("failed")
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
                if arguments.json:
                    arguments.json.parent.mkdir(parents=True, exist_ok=True)
                    write_json(arguments.json, rows, device=arguments.device, repetitions=arguments.repetitions)
    print_table(rows)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
