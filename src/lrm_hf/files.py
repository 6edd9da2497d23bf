# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Writing files so that a reader never meets half of one, and reading JSON."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EISDIR, ENOENT
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside `path`: it takes its place when the block ends without an error, and vanishes otherwise.

    The temporary name keeps the suffix, since many writers choose their format by it.

    Raises:
        OSError: if the directory does not exist, or `path` is a directory.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise OSError(ENOENT, "the directory to write to does not exist", os.fspath(path.parent))
    if path.is_dir():
        raise OSError(EISDIR, "the file to write is a directory", os.fspath(path))
    # not tempfile: its files are readable by their owner only, and would stay so under the final name
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        OSError: if it can't be read, or is something else.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise OSError(f"{os.fspath(path)!r} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise OSError(f"{os.fspath(path)!r} holds a {type(content).__name__}, expected a JSON object.")
    return content
