# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""One worker for work that must not run twice at a time, with a short line of those who wait, and time limits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar


Result = TypeVar("Result")


class QueueFullError(Exception):
    """So many wait already that the next one is sent away."""


class DeadlineError(Exception):
    """The time was over before the work was done."""


class Job:
    """What the work asks from time to time: whether it is still wanted."""

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds
        self._cancelled = threading.Event()

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def cancel(self) -> None:
        self._cancelled.set()

    def check(self, *_: object) -> None:
        """Raises DeadlineError once nobody waits for the result any more. Takes, and ignores, what a progress report
        is told, so that it can stand for one."""
        if self._cancelled.is_set() or not self.seconds_left:
            raise DeadlineError


class Worker:
    """Runs one piece of work at a time, in a thread.

    Work can't be interrupted from outside: it is asked to call `Job.check` between its steps. Until then the next one
    waits, so that memory is never taken twice.

    Args:
        max_waiting: pieces of work in line beside the one that runs; 0 sends away whoever comes while it runs.
    """

    def __init__(self, max_waiting: int):
        if isinstance(max_waiting, bool) or not isinstance(max_waiting, int):
            raise TypeError(f"`max_waiting` must be a whole number, got {max_waiting!r}.")
        if max_waiting < 0:
            raise ValueError(f"`max_waiting` must not be negative, got {max_waiting}.")
        self.max_waiting = max_waiting
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="lrm_hf_worker")
        self._held = 0
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Pieces of work that have not begun."""
        return max(0, self._held - 1)

    @property
    def busy(self) -> bool:
        return self._held > 0

    async def run(self, work: Callable[[Job], Result], seconds: float) -> Result:
        """Waits for its turn, and for the work.

        Args:
            work: called in the worker's thread.
            seconds: for both together.

        Raises:
            QueueFullError: at once, if too many wait.
            DeadlineError: after `seconds`.
            Exception: what the work raises.
        """
        with self._lock:
            if self._held > self.max_waiting:
                raise QueueFullError
            self._held += 1
        job = Job(seconds)

        def task() -> Result:
            try:
                job.check()
                return work(job)
            finally:
                with self._lock:
                    self._held -= 1

        # not cancelled with the request that waits for it: a task that has not begun still has to give its place back
        future = asyncio.wrap_future(self._executor.submit(task))
        future.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        try:
            return await asyncio.wait_for(asyncio.shield(future), job.seconds_left)
        except TimeoutError as error:
            raise DeadlineError from error
        finally:
            job.cancel()

    def close(self) -> None:
        """Waits for the work at hand; what is in line finds that nobody waits for it."""
        self._executor.shutdown(wait=True)
