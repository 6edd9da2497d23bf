# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""docs/training.md: its snippet and cheap commands run, its flags exist, its links lead somewhere."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from examples import train_lrm, train_lrm_lora
from lrm_hf import LRMModel
from lrm_hf.training import procedural


ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, flags=re.DOTALL)
COMMANDS = [shlex.split(line) for language, text in BLOCKS if language == "bash" for line in text.strip().splitlines()]
SCRIPTS = {"examples/train_lrm.py": train_lrm, "examples/train_lrm_lora.py": train_lrm_lora}
[YAML] = [text for language, text in BLOCKS if language == "yaml"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the pools that the first commands make, and the settings file."""
    made = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        for words in COMMANDS:
            if words[:3] == ["python", "-m", "lrm_hf.training.procedural"]:
                procedural.main(words[3:])
    (made / YAML.split()[1]).write_text(YAML)
    return made


def launched(words: list[str]) -> tuple[str, list[str]]:
    """The script of an `accelerate launch`, and its arguments."""
    [position] = [index for index, word in enumerate(words) if word in SCRIPTS]
    return words[position], words[position + 1 :]


def test_there_is_a_command_of_each_kind() -> None:
    scripts = [launched(words)[0] for words in COMMANDS if words[0] == "accelerate"]
    assert scripts.count("examples/train_lrm.py") == 5 and scripts.count("examples/train_lrm_lora.py") == 1
    for words in COMMANDS:
        if "--config_file" in words:
            assert (ROOT / words[words.index("--config_file") + 1]).is_file()


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] == "accelerate"], ids=lambda words: words[2])
def test_the_scripts_take_the_commands(words: list[str], directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)
    script, arguments = launched(words)
    args = SCRIPTS[script].parse_args(arguments)
    assert args.pool == ["pool/train"] and args.output_dir
    if args.yaml:
        assert args.max_train_steps == 2 and args.learning_rate == 1e-3


def test_the_settings_file_trains(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    [words] = [words for words in COMMANDS if "small.yaml" in words and "--seed" in words]
    train_lrm.main([*launched(words)[1], "--report_to=none"])
    assert {"pipeline", "progress.json", "settings.yaml", "states"} <= {p.name for p in Path("my-small-lrm").iterdir()}


def test_the_loop_runs(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)
    [code] = [text for language, text in BLOCKS if language == "python"]
    scope: dict = {}
    exec(compile(code, "docs/training.md", "exec"), scope)
    assert scope["average"].updates == 2 and set(scope["parts"]) >= {"pixel", "depth", "mse"}
    assert LRMModel.from_pretrained("my-model").config.triplane_low_res == 4


def test_every_flag_that_is_named_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    parsers: list[argparse.ArgumentParser] = []
    for module in SCRIPTS.values():
        monkeypatch.setattr(module, "parse_settings", lambda parser, argv: parsers.append(parser))
        module.parse_args([])
    known = {option for parser in parsers for action in parser._actions for option in action.option_strings}
    others = {"--config_file", "--logdir", "--num-objects", "--size", "--sources", "--targets", "--yaml"}
    # of examples/grow_model.py
    others |= {"--width", "--decoder_layers", "--encoder_layers", "--tokens"}
    named = set(re.findall(r"--[a-z][a-z0-9_-]+", TEXT))
    assert len(named) > 30 and named - others <= known


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert len(targets) >= 4
    assert all((ROOT / "docs" / target).is_file() for target in targets)
