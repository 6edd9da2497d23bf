# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""An interrupted run of a training example, and what a log tells of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from lrm_hf.training.view_pool import ViewPool


def run_logged(main: Callable[[Sequence[str]], None], arguments: list[str], caplog: pytest.LogCaptureFixture) -> dict:
    """Runs an example in this process; returns its log lines by step, without what depends on the clock."""
    caplog.clear()
    try:
        with caplog.at_level(logging.INFO):
            main(arguments)
    except KeyboardInterrupt:
        pass
    lines = [record.getMessage() for record in caplog.records if record.name == "lrm_hf.training"]
    return {int(line.split()[1]): line.split(", ")[0] for line in lines if line.startswith("step ") and "psnr" in line}


@contextmanager
def interruption(draws: int) -> Iterator[None]:
    """Within the block, Ctrl-C comes when a batch is drawn after so many."""
    draw, drawn = ViewPool.draw, 0

    def counted(self: ViewPool, *args: Any, **kwargs: Any) -> Any:
        nonlocal drawn
        drawn += 1
        if drawn > draws:
            raise KeyboardInterrupt
        return draw(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ViewPool, "draw", counted)
        yield
