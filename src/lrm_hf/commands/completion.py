# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`lrm-hf completion`: what a shell needs to complete commands, options and files."""

from __future__ import annotations

import argparse

from .common import DONE


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "completion",
        help="completion of these commands in a shell",
        description="Prints a script for the shell, to be saved for bash as "
        "~/.local/share/bash-completion/completions/lrm-hf, for zsh as _lrm-hf in a directory of $fpath, for fish as "
        "~/.config/fish/completions/lrm-hf.fish. Needs shtab.",
    )
    command.set_defaults(run=completion)
    command.add_argument("shell", choices=("bash", "zsh", "fish"))
    command.add_argument("--debug", action="store_true", help="show tracebacks")


def completion(arguments: argparse.Namespace) -> int:
    """Prints the script."""
    try:
        import shtab
    except ImportError as error:
        raise ImportError("completion needs shtab: pip install shtab") from error
    from ..cli import build_parser

    parser = build_parser()
    for command in _all_parsers(parser):
        for action in command._actions:
            if action.metavar in ("DIR_OR_REPO", "DIR", "SRC", "DST", "OBJECTS_DIR"):
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
            elif action.metavar in ("PICTURE", "FILE", "JSON"):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, arguments.shell))
    return DONE


def _all_parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    found = [parser]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                found += _all_parsers(child)
    return found
