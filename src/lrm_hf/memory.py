# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""How much memory there is, how much this process takes, and how much of it one step of work may fill."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch


# Points of a field that a GPU evaluates at a time: at most so many, which keep it busy for far longer than the host
# needs to launch the work, and no more than fill this share of the memory that is left.
MAX_POINTS_AT_A_TIME, SHARE_OF_POINTS = 2**21, 0.1


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


def points_at_a_time(device: torch.device | str, elsewhere: int, bytes_per_point: int) -> int:
    """How many points of a field to evaluate at a time. Changes only time and memory, and at most how results round.

    Args:
        device: where the field is.
        elsewhere: what any device but a CUDA one takes, chosen for a core's cache or for memory; a CUDA device takes no
            fewer.
        bytes_per_point: at the peak of an evaluation, see `bytes_per_point`.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return elsewhere
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    fitting = int((memory_of(device).free + unused) * SHARE_OF_POINTS) // bytes_per_point
    # a power of two: the same for small changes of what is left
    return max(elsewhere, min(MAX_POINTS_AT_A_TIME, 1 << max(0, fitting.bit_length() - 1)))


def bytes_per_point(channels: int, hidden_size: int) -> int:
    """Of a field's evaluation at its peak, without gradients: features of three planes twice, the MLP's layers, and
    where the point lies among the texels. 2.2 kB for 48 channels and 64 hidden; folded fields take less."""
    return 4 * (6 * channels + 3 * hidden_size + 64)


def in_words(size: int) -> str:
    """ "1.5 GB": three digits or so, in powers of 1000."""
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 99.5 else f"{value:.1f} {unit}"
