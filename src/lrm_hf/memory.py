# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""How much memory there is, and how much this process takes."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch


@dataclass(frozen=True)
class Memory:
    """Bytes on a device.

    Attributes:
        used: by this process: on a CPU what is resident, on a GPU what torch has set aside.
        free: what it could still get.
        total: what the device has.
    """

    used: int
    free: int
    total: int


def memory_of(device: torch.device | str) -> Memory:
    """Memory of a CPU or a CUDA device; of any other device, the CPU's, which it mostly shares."""
    device = torch.device(device)
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Memory(torch.cuda.memory_reserved(device), free, total)
    machine = psutil.virtual_memory()
    return Memory(psutil.Process().memory_info().rss, machine.available, machine.total)


def in_words(size: int) -> str:
    """ "1.5 GB": three digits or so, in powers of 1000."""
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 99.5 else f"{value:.1f} {unit}"
