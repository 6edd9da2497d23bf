# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Settings of a training script: flags, or a YAML file whose keys are the flags' names. Flags win."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..files import replacing


def parse_settings(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line, to which `--yaml FILE` is added.

    Args:
        parser: with long flags only; a flag `--max_train_steps 10` is `max_train_steps: 10` in the file, one that takes
            several values a list, one that takes none `true` or `false`.
        argv: default the process's own arguments.

    Raises:
        OSError: if the file can't be read.
        ValueError: if it is not a mapping, has keys that are no flags (they are listed), or a value does not fit.
    """
    parser.add_argument("--yaml", metavar="FILE", help="settings, by the names of these flags; flags given here win")
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--yaml")
    path = first.parse_known_args(argv)[0].yaml
    if path is not None:
        actions = {action.dest: action for action in parser._actions if action.dest not in ("help", "yaml")}
        values = _read(path)
        unknown = sorted(set(values) - set(actions))
        if unknown:
            raise ValueError(f"{path!r} has unknown keys {', '.join(unknown)}; known are {', '.join(sorted(actions))}.")
        for name, value in values.items():
            parser.set_defaults(**{name: _checked(path, name, value, actions[name])})
            actions[name].required = False
    return parser.parse_args(argv)


def write_settings(args: argparse.Namespace, path: Path) -> None:
    """Writes what `parse_settings` returned as a YAML file that `--yaml` takes."""
    values = {name: value for name, value in sorted(vars(args).items()) if name != "yaml" and value is not None}
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def _read(path: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path!r} is not valid YAML: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"{path!r} must hold names and values, got {type(values).__name__}.")
    return values


def _checked(path: str, name: str, value: Any, action: argparse.Action) -> Any:
    """The value as the flag itself would have given it."""
    if isinstance(action, argparse._StoreTrueAction):
        if not isinstance(value, bool):
            raise ValueError(f"{path!r}: {name} must be true or false, got {value!r}.")
        return value
    if value is None:
        return action.default
    if action.nargs in ("+", "*"):
        if not isinstance(value, list) or (action.nargs == "+" and not value):
            raise ValueError(f"{path!r}: {name} must be a list, got {value!r}.")
        return [_converted(path, name, item, action) for item in value]
    return _converted(path, name, value, action)


def _converted(path: str, name: str, value: Any, action: argparse.Action) -> Any:
    kind: Any = action.type if callable(action.type) else str
    if isinstance(value, (bool, list, dict)):
        raise ValueError(f"{path!r}: {name} must be a single {kind.__name__}, got {value!r}.")
    try:
        # from its text, as on the command line: 2.5 is no int, and 1e-3, which YAML reads as text, is a float
        converted = kind(str(value))
    except (TypeError, ValueError, argparse.ArgumentTypeError) as error:
        raise ValueError(f"{path!r}: {name} must be a single {kind.__name__}, got {value!r}.") from error
    if action.choices is not None and converted not in action.choices:
        raise ValueError(f"{path!r}: {name} must be one of {', '.join(map(str, action.choices))}, got {value!r}.")
    return converted
