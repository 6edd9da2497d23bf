# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What every benchmark says of itself: a table on the terminal, and a JSON file with machine and versions."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lrm_hf.files import replacing


PACKAGES = ("lrm_hf", "torch", "triton", "numpy", "transformers", "scikit-image", "trimesh")

Row = Mapping[str, Any]


def machine_info() -> dict[str, Any]:
    """Processor, accelerator, threads, load and versions: what a time means nothing without."""
    info: dict[str, Any] = {
        "system": platform.platform(),
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": {},
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        info["accelerator"] = {"name": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
    for package in PACKAGES:
        try:
            info["versions"][package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            info["versions"][package] = None
    return info


def write_json(path: str | os.PathLike[str], rows: Sequence[Row], **settings: Any) -> None:
    """Writes `{"machine": ..., "settings": ..., "rows": [...]}`.

    Raises:
        OSError: if the file can't be written; nothing half-written is left.
    """
    content = {"machine": machine_info(), "settings": settings, "rows": [dict(row) for row in rows]}
    with replacing(path) as temporary:
        Path(temporary).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def print_table(rows: Sequence[Row]) -> None:
    """One line per row under the names of all columns; a number has four digits, and what a row lacks is a dash."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns] + [[_cell(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def memory_before(device: torch.device | str) -> float:
    """MiB in use now; `peak_memory` less this is what the work in between took. On a CPU work that follows other work
    may find memory that was not given back, and take less."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    with contextlib.suppress(OSError):  # the highest mark begins anew; elsewhere it stays that of the whole process
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def peak_memory(device: torch.device | str) -> float:
    """MiB: the most that was in use; on a GPU since `memory_before`, on a CPU too, where it can be reset."""
    return torch.cuda.max_memory_allocated() / 2**20 if torch.device(device).type == "cuda" else _status("VmHWM")


def _status(name: str) -> float:
    """MiB, as Linux counts them; not a number elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":")) / 1024


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
