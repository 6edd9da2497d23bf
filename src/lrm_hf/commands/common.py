# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What the commands share: exit codes, argument types, one-line errors, loading a pipeline."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    import torch

    from ..pipelines import LRMPipeline


DONE, SOME_FAILED, NOTHING_DONE = 0, 1, 2


def load_pipeline(arguments: argparse.Namespace) -> LRMPipeline:
    from .. import bundled_model

    device = choose_device(arguments.device)
    quiet(arguments.debug)
    from ..pipelines import LRMPipeline

    pipe = LRMPipeline.from_pretrained(arguments.model or bundled_model())
    pipe.set_progress_bar_config(disable=None)  # on a terminal only
    return pipe.to(device)


def choose_device(name: str) -> torch.device:
    """Of the argument `--device`.

    Raises:
        ValueError: if torch can't use it.
    """
    import torch

    chosen = name
    if name == "auto":
        chosen = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(chosen)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name}: {one_line(error)}") from error
    return device


def quiet(debug: bool) -> None:
    """Without the libraries' own chatter about loading."""
    if not debug:
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        for logging in (diffusers_logging, transformers_logging):
            logging.set_verbosity_error()
            logging.disable_progress_bar()


def whole(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text) if re.fullmatch(r"[+-]?\d+", text) else minimum - 1
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {minimum} to {maximum}")
        return value

    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    """Numbers between two limits; 0 as the lower one is excluded, as are infinities."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and low <= value <= high and (value > 0 or low != 0)):
            limits = (
                f"from {low:g} to {high:g}" if low else "above 0" + (f", up to {high:g}" if high < math.inf else "")
            )
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {limits}")
        return value

    return parse


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def print_json(value: Any) -> None:
    """For machines: one document, on standard output."""
    print(json.dumps(value, indent=2, allow_nan=False), flush=True)


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def complain(message: str) -> None:
    """Says what went wrong: in red on a terminal, unless `NO_COLOR` (no-color.org) is set or the terminal is dumb."""
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        message = f"\033[31m{message}\033[0m"
    say(message)
