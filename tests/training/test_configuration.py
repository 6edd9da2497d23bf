# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from lrm_hf.training.arguments import add_run_arguments
from lrm_hf.training.configuration import parse_settings, write_settings


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("--pool", nargs="+", required=True)
    made.add_argument("--steps", type=int, default=10)
    made.add_argument("--rate", type=float, default=1e-3)
    made.add_argument("--kind", choices=("mse", "l1"), default="mse")
    made.add_argument("--scales", nargs="+", type=int, default=[2, 1])
    made.add_argument("--flag", action="store_true")
    made.add_argument("--name")
    return made


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    # YAML reads 1e-3 as text and 7 as a number: both are what the flag would have made of them
    file = write(tmp_path / "a.yaml", "pool: [a, b]\nsteps: 7\nrate: 5e-3\nscales: [4, 2, 1]\nflag: true\nname: 12\n")
    args = parse_settings(parser(), ["--yaml", file, "--steps", "8"])
    expected = {"pool": ["a", "b"], "steps": 8, "rate": 0.005, "kind": "mse", "scales": [4, 2, 1], "flag": True}
    assert {**vars(args), "yaml": None} == {**expected, "name": "12", "yaml": None}


def test_without_a_file_nothing_changes() -> None:
    args = parse_settings(parser(), ["--pool", "a"])
    assert (args.pool, args.steps, args.scales, args.flag, args.yaml) == (["a"], 10, [2, 1], False, None)
    with pytest.raises(SystemExit):
        parse_settings(parser(), [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pool: [a]\nstep: 3\nlr: 1\n", "unknown keys lr, step; known are flag, kind"),
        ("- a\n", "must hold names and values, got list"),
        ("a: [1\n", "is not valid YAML"),
        ("pool: a\n", "pool must be a list, got 'a'"),
        ("pool: []\n", "pool must be a list"),
        ("steps: 2.5\n", "steps must be a single int, got 2.5"),
        ("steps: true\n", "steps must be a single int, got True"),
        ("kind: l2\n", "kind must be one of mse, l1, got 'l2'"),
        ("flag: 1\n", "flag must be true or false, got 1"),
    ],
)
def test_what_does_not_fit_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        parse_settings(parser(), ["--yaml", write(tmp_path / "a.yaml", text), "--pool", "a"])


def test_a_missing_file_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none.yaml"):
        parse_settings(parser(), ["--yaml", str(tmp_path / "none.yaml")])


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    args = parse_settings(parser(), ["--pool", "a", "b", "--rate", "3e-4", "--flag", "--scales", "3"])
    write_settings(args, tmp_path / "settings.yaml")
    again = parse_settings(parser(), ["--yaml", str(tmp_path / "settings.yaml")])
    assert {**vars(again), "yaml": None} == {**vars(args), "yaml": None}


@pytest.mark.parametrize("name", ["batch_size", "crop", "limit", "max_train_steps", "save_every", "views"])
def test_counts_of_nothing_are_refused_by_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = argparse.ArgumentParser()
    defaults = dict.fromkeys(("max_train_steps", "warmup_steps", "log_every", "save_every", "sample_every"), 10)
    add_run_arguments(made, learning_rate=1e-3, ema_decay=0.9, **defaults)
    given = ["--pool", "a", "--output_dir", "b"]
    with pytest.raises(SystemExit):
        parse_settings(made, [*given, f"--{name}", "0"])
    assert f"argument --{name}: '0' is not a whole number of at least 1" in capsys.readouterr().err
    made = argparse.ArgumentParser()
    add_run_arguments(made, learning_rate=1e-3, ema_decay=0.9, **defaults)
    with pytest.raises(ValueError, match=f"{name} must be a single positive_integer, got -2"):
        parse_settings(made, [*given, "--yaml", write(tmp_path / "a.yaml", f"{name}: -2")])
