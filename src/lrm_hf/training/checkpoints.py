# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""States to resume from, and which result was the best: `progress.json` says what is whole on the disk."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..files import read_json, replacing


PROGRESS = "progress.json"


class Checkpoints:
    """States of a run in `directory/states`, the latest ones only.

    A state counts once `progress.json` names it, which is written last: a run that is stopped while it saves goes on
    from the state before.

    Args:
        accelerator: has prepared model and optimisers, and knows all else that belongs to a state.
        directory: of the run; made if missing.
        keep: how many states stay.
    """

    def __init__(self, accelerator: Any, directory: str | os.PathLike[str], keep: int = 2) -> None:
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ValueError(f"`keep` must be a positive integer, got {keep!r}.")
        self.accelerator, self.directory, self.keep = accelerator, Path(directory), keep
        self.directory.mkdir(parents=True, exist_ok=True)
        self.best_score, self.best_step = -math.inf, -1

    def resume(self) -> int:
        """Loads the latest state, if there is one; returns the number of steps that it has seen.

        Raises:
            OSError: if `progress.json` or the state that it names can't be read.
        """
        file = self.directory / PROGRESS
        if not file.exists():
            return 0
        progress = read_json(file)
        try:
            step, state = int(progress["step"]), self.directory / progress["state"]
        except (KeyError, TypeError, ValueError) as error:
            raise OSError(f"{os.fspath(file)!r} does not say where the run stands: {error!r}.") from error
        if not state.is_dir():
            raise OSError(f"{os.fspath(file)!r} names the state {progress['state']!r}, which is not there.")
        self.accelerator.load_state(os.fspath(state))
        best = progress.get("best")
        if best:
            self.best_score, self.best_step = float(best["score"]), int(best["step"])
        return step

    def save(self, step: int) -> None:
        """Writes the state after `step` steps. To be called by every process."""
        state = self.directory / "states" / f"{step:08d}"
        self.accelerator.save_state(os.fspath(state))
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        record: dict[str, Any] = {"step": step, "state": state.relative_to(self.directory).as_posix()}
        if self.best_step >= 0:
            record["best"] = {"step": self.best_step, "score": self.best_score}
        with replacing(self.directory / PROGRESS) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for old in sorted(path for path in state.parent.iterdir() if path.name.isdigit())[: -self.keep]:
            shutil.rmtree(old)

    def offer(self, step: int, score: float, write: Callable[[Path], None]) -> bool:
        """Keeps the result of this step as `directory/best` if no earlier one had as high a score.

        Args:
            step: of the result.
            score: higher is better; one that is not a number never is.
            write: writes the result to a directory; called on the main process.

        Returns:
            Whether it is the best.
        """
        if not score > self.best_score:
            return False
        self.best_score, self.best_step = score, step
        if self.accelerator.is_main_process:
            with replacing_directory(self.directory / "best") as temporary:
                write(temporary)
                record = {"step": step, "score": score}
                (temporary / "score.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
        return True


@contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """A directory beside `path` that takes its place when the block ends without an error, and vanishes otherwise."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            # two renames, since a directory can't be put over another: in between there is none, but never half of one
            old = path.with_name(f".{path.name}.{secrets.token_hex(4)}.old")
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
