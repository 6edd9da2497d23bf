# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The command line, `lrm-hf COMMAND`. The commands are in `lrm_hf.commands`.

Thin: it calls what a program would call. Paths of what was written go to standard output, all else to standard error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .commands import (
    app,
    check_dataset,
    completion,
    convert,
    evaluate,
    generate,
    info,
    mesh,
    push,
    render,
    render_dataset,
    serve,
)
from .commands.common import NOTHING_DONE, complain, one_line


# What bad input, a bad checkpoint or a missing extra raise; anything else is a defect, and shows its traceback.
EXPECTED_ERRORS = (ValueError, TypeError, OSError, ImportError)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: arguments without the program's name; default those of the process.

    Returns:
        0: all done. 1: pictures failed, the others are done. 2: nothing could be started: bad arguments, or a model
        that can't be loaded.
    """
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as stop:  # argparse's way to say that it has printed a message
        return int(stop.code or 0)
    try:
        return arguments.run(arguments)
    except EXPECTED_ERRORS as error:
        if arguments.debug:
            raise
        complain(f"lrm-hf: error: {one_line(error)}")
        return NOTHING_DONE


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    from . import __version__

    parser = argparse.ArgumentParser(prog="lrm-hf", description="One picture in, a coloured mesh and novel views out.")
    parser.add_argument("--version", action="version", version=f"lrm-hf {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (
        *(generate, render, mesh, info, convert, evaluate, push),
        *(render_dataset, check_dataset, app, serve, completion),
    ):
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
