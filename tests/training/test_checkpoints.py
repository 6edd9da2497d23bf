# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What is on the disk of a run; that a resumed run goes on as it should is tested with the examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lrm_hf.training.checkpoints import Checkpoints, replacing_directory


class Accelerator:
    """Saves and loads one number."""

    is_main_process = True

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def save_state(self, directory: str) -> None:
        Path(directory).mkdir(parents=True)
        (Path(directory) / "number").write_text(str(self.number))

    def load_state(self, directory: str) -> None:
        self.number = int((Path(directory) / "number").read_text())

    def wait_for_everyone(self) -> None:
        pass


def test_the_latest_states_stay_and_the_last_one_comes_back(tmp_path: Path) -> None:
    accelerator = Accelerator()
    checkpoints = Checkpoints(accelerator, tmp_path / "run", keep=2)
    assert checkpoints.resume() == 0
    for step in (5, 10, 100):
        accelerator.number = step * step
        checkpoints.save(step)
    assert sorted(path.name for path in (tmp_path / "run/states").iterdir()) == ["00000010", "00000100"]
    fresh = Accelerator()
    assert Checkpoints(fresh, tmp_path / "run").resume() == 100
    assert fresh.number == 10_000


def test_a_state_that_was_not_finished_does_not_count(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Accelerator(3), tmp_path)
    checkpoints.save(5)

    class Stopped(Accelerator):
        def save_state(self, directory: str) -> None:
            super().save_state(directory)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Checkpoints(Stopped(4), tmp_path).save(10)
    fresh = Accelerator()
    assert Checkpoints(fresh, tmp_path).resume() == 5
    assert fresh.number == 3


def test_only_a_better_result_is_kept_and_that_is_remembered(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Accelerator(), tmp_path)

    def offer(checkpoints: Checkpoints, step: int, score: float) -> bool:
        return checkpoints.offer(step, score, lambda directory: (directory / "it").write_text(str(step)) and None)

    kept = [offer(checkpoints, step, score) for step, score in ((1, 10.0), (2, 9.0), (3, 12.0), (4, float("nan")))]
    assert kept == [True, False, True, False]
    assert (tmp_path / "best/it").read_text() == "3"
    assert json.loads((tmp_path / "best/score.json").read_text()) == {"step": 3, "score": 12.0}
    checkpoints.save(4)
    again = Checkpoints(Accelerator(), tmp_path)
    again.resume()
    assert not offer(again, 5, 11.0) and offer(again, 6, 12.5)
    assert (tmp_path / "best/it").read_text() == "6"


def test_progress_that_can_not_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "progress.json").write_text('{"step": 3}')
    with pytest.raises(OSError, match="does not say where the run stands"):
        Checkpoints(Accelerator(), tmp_path).resume()
    (tmp_path / "progress.json").write_text('{"step": 3, "state": "states/3"}')
    with pytest.raises(OSError, match="names the state 'states/3', which is not there"):
        Checkpoints(Accelerator(), tmp_path).resume()
    with pytest.raises(ValueError, match="`keep` must be a positive integer, got 0"):
        Checkpoints(Accelerator(), tmp_path, keep=0)


def test_a_directory_takes_anothers_place_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "it"
    for text in ("old", "new"):
        with replacing_directory(target) as temporary:
            (temporary / text).write_text(text)
    assert [path.name for path in tmp_path.rglob("*")] == ["it", "new"]
    with pytest.raises(RuntimeError), replacing_directory(target) as temporary:
        (temporary / "third").write_text("")
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*")] == ["it", "new"]
