# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""One piece of work at a time, a bounded line, and nobody waits for ever. Events order what happens, never sleeps."""

from __future__ import annotations

import asyncio
import threading

import pytest

from lrm_hf.app.jobs import DeadlineError, Job, QueueFullError, Worker


LONG = 60.0  # seconds: never reached


def test_one_at_a_time_and_in_order() -> None:
    worker, running, order = Worker(max_waiting=4), threading.Lock(), []

    def work(number: int) -> int:
        assert running.acquire(blocking=False), "two at a time"
        order.append(number)
        running.release()
        return number * 10

    async def main() -> list[int]:
        return await asyncio.gather(*(worker.run(lambda job, n=n: work(n), LONG) for n in range(5)))

    assert asyncio.run(main()) == [0, 10, 20, 30, 40]
    assert order == [0, 1, 2, 3, 4] and not worker.busy
    worker.close()


def test_whoever_comes_when_the_line_is_full_is_sent_away() -> None:
    worker, begun, go = Worker(max_waiting=1), threading.Event(), threading.Event()

    def work(job: Job) -> bool:
        begun.set()
        return go.wait(LONG)

    async def main() -> None:
        first = asyncio.create_task(worker.run(work, LONG))
        await asyncio.to_thread(begun.wait, LONG)
        second = asyncio.create_task(worker.run(work, LONG))
        await asyncio.sleep(0)  # lets it get in line
        assert worker.busy and worker.waiting == 1
        with pytest.raises(QueueFullError):
            await worker.run(work, LONG)
        go.set()
        assert await first and await second
        assert await worker.run(work, LONG)  # there is room again

    asyncio.run(main())
    worker.close()


def test_time_over_frees_the_caller_and_stops_the_work_between_two_steps() -> None:
    worker, go, stopped = Worker(max_waiting=1), threading.Event(), threading.Event()

    def work(job: Job) -> None:
        go.wait(LONG)
        try:
            job.check(0.5, "the next step")
        except DeadlineError:
            stopped.set()
            raise

    async def main() -> None:
        with pytest.raises(DeadlineError):
            await worker.run(work, 0.05)
        assert not stopped.is_set() and worker.busy  # it holds the worker until it looks
        go.set()
        assert await worker.run(lambda job: 7, LONG) == 7
        assert stopped.is_set()

    asyncio.run(main())
    worker.close()


def test_work_that_nobody_waits_for_never_begins() -> None:
    worker, begun, go, ran = Worker(max_waiting=1), threading.Event(), threading.Event(), threading.Event()

    def first(job: Job) -> bool:
        begun.set()
        return go.wait(LONG)

    async def main() -> None:
        task = asyncio.create_task(worker.run(first, LONG))
        await asyncio.to_thread(begun.wait, LONG)
        with pytest.raises(DeadlineError):
            await worker.run(lambda job: ran.set(), 0.05)
        go.set()
        assert await task

    asyncio.run(main())
    worker.close()
    assert not ran.is_set() and not worker.busy


def test_errors_reach_the_caller_and_give_the_place_back() -> None:
    worker = Worker(max_waiting=0)

    def work(job: Job) -> None:
        raise ValueError("of the work")

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(ValueError, match="of the work"):
                await worker.run(work, LONG)

    asyncio.run(main())
    assert not worker.busy
    worker.close()


@pytest.mark.parametrize("value", [-1, 1.0, True])
def test_length_of_the_line(value: object) -> None:
    with pytest.raises((TypeError, ValueError), match="`max_waiting`"):
        Worker(value)  # type: ignore[arg-type]
