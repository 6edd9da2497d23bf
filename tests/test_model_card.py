# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Model cards, and the part of `lrm-hf push` that needs no Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from adapter_files import random_adapter
from huggingface_hub import ModelCard
from tiny_models import tiny_pipeline, tiny_triposr

from lrm_hf import cli
from lrm_hf.hub import kind_of
from lrm_hf.model_card import is_automatic, write_card


def facts(text: str) -> dict[str, str]:
    rows = [line.strip("| ").split(" | ") for line in text.split("## What it is")[1].split("##")[0].splitlines()]
    return {row[0]: row[1] for row in rows if len(row) == 2}


def test_a_pipeline_s_card_says_what_its_files_say(tmp_path: Path) -> None:
    pipe = tiny_pipeline(source_camera_elevation=20.0)
    pipe.save_pretrained(tmp_path, max_shard_size="30KB")  # counted over all shards
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "lrm_hf"
    assert card.data.pipeline_tag == "image-to-3d"
    assert card.data.license is None and card.data.base_model is None
    assert facts(card.text) == {
        "parameters": f"{sum(parameter.numel() for parameter in pipe.model.parameters()):,}",
        "picture": "32 × 32 pixels",
        "encoder": "vit, 2 layers of width 32",
        "decoder": "2 condition + modulation blocks of width 32",
        "planes": "3 × 8 × 8, 8 channels",
    }
    assert f'LRMPipeline.from_pretrained("{tmp_path.name}")' in card.text
    assert "seen from 20 degrees above the horizon" in card.text
    assert card.text.count("Not stated.") == 2
    assert is_automatic(tmp_path)


def test_of_the_other_architecture(tmp_path: Path) -> None:
    tiny_triposr().save_pretrained(tmp_path)
    card = ModelCard.load(write_card(tmp_path, "me/triposr"))
    assert facts(card.text)["decoder"] == "2 triposr blocks of width 32"
    assert kind_of(tmp_path) == "model"


def test_what_it_is_told_stands_in_it(tmp_path: Path) -> None:
    tiny_pipeline().model.save_pretrained(tmp_path)
    numbers = tmp_path / "numbers.json"
    numbers.write_text(json.dumps({"protocol": "69 objects, one view.", "metrics": {"PSNR": 18.1834, "IoU": 0.7}}))
    path = write_card(
        tmp_path,
        "me/chairs",
        license="cc-by-4.0",
        base_model="me/base",
        training_data="12 chairs (CC0).",
        metrics=numbers,
        limits="- No sofas.",
    )
    card = ModelCard.load(path)
    assert (card.data.license, card.data.base_model) == ("cc-by-4.0", "me/base")
    assert "# chairs" in card.text
    assert "## Training data\n\n12 chairs (CC0)." in card.text
    assert "69 objects, one view.\n\n| metric | value |\n|---|---|\n| PSNR | 18.18 |\n| IoU | 0.7 |" in card.text
    assert card.text.rstrip().endswith("- No sofas.")
    assert "Not stated." not in card.text


def test_an_adapter_s_card(tmp_path: Path) -> None:
    random_adapter(tmp_path, seed=0, rank=3, alpha=5, use_dora=True)
    (tmp_path / "README.md").unlink()  # peft's own
    card = ModelCard.load(write_card(tmp_path, "me/odd", base_model="me/tiny"))
    assert card.data.base_model == "me/tiny"
    assert card.data.to_dict()["base_model_relation"] == "adapter"
    found = facts(card.text)
    assert found["method"] == "DoRA" and found["rank, alpha"] == "3, 5"
    # two blocks, eight matrices of 32 x 32 in each: two thin ones and the magnitudes
    assert found["parameters"] == f"{2 * 8 * (3 * 64 + 32):,}"
    assert 'pipe.load_lora_weights("me/odd")' in card.text


def test_a_card_that_is_there_is_kept(tmp_path: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path)
    edited = "---\nlicense: mit\n---\nMine."
    (tmp_path / "README.md").write_text(edited)
    write_card(tmp_path, "me/other", license="cc0-1.0")
    tiny_pipeline().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == edited
    assert not is_automatic(tmp_path)


def test_a_card_nobody_edited_follows_the_name_and_gives_way_to_what_is_told(tmp_path: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path)
    path = write_card(tmp_path, "me/other", license="cc0-1.0", anew=True)
    card = ModelCard.load(path)
    assert card.data.license == "cc0-1.0"
    write_card(tmp_path, "you/third")
    card = ModelCard.load(path)
    assert 'LRMPipeline.from_pretrained("you/third")' in card.text and "# third" in card.text
    assert "me/other" not in card.text and card.data.license == "cc0-1.0" and is_automatic(tmp_path)
    # one word is enough to make it somebody's own, also where the line at its head is left in
    path.write_text(path.read_text().replace("a guess", "a wild guess"))
    edited = path.read_text()
    assert not is_automatic(tmp_path)
    write_card(tmp_path, "me/fourth", license="mit", anew=True)
    assert path.read_text() == edited


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"metrics": {"PSNR": 1.0}}, "must say how they were measured"),
        ({"protocol": " ", "metrics": {"PSNR": 1.0}}, "must say how they were measured"),
        ({"protocol": "p"}, "must have numbers by name"),
        ({"protocol": "p", "metrics": {"PSNR": "high"}}, "must have numbers, got 'high' for 'PSNR'"),
    ],
)
def test_numbers_without_a_protocol_are_refused(metrics: dict[str, Any], message: str, tmp_path: Path) -> None:
    tiny_pipeline().model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        write_card(tmp_path, "me/tiny", metrics=metrics)
    assert not (tmp_path / "README.md").exists()


def test_nothing_to_describe(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="holds no saved pipeline, model or adapter to write a card for"):
        write_card(tmp_path, "me/tiny")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(OSError, match="holds a list, expected a JSON object"):
        write_card(tmp_path, "me/tiny")


def test_the_card_by_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tiny_pipeline().model.save_pretrained(tmp_path)
    arguments = ["push", str(tmp_path), "me/tiny", "--card-only"]
    assert cli.main([*arguments, "--license", "mit", "--training-data", "None.", "--metrics", str(tmp_path / "x")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert cli.main([*arguments, "--license", "mit", "--training-data", "None."]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'README.md'}\n"
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.license == "mit" and "## Training data\n\nNone." in card.text
    assert cli.main([*arguments, "--license", "cc0-1.0"]) == 0
    assert ModelCard.load(tmp_path / "README.md").data.license == "cc0-1.0"
    capsys.readouterr()
    (tmp_path / "README.md").write_text("Mine.")
    assert cli.main(arguments) == 0
    assert cli.main([*arguments, "--license", "mit", "--base-model", "me/base"]) == 2
    assert "README.md' has been edited: --license, --base-model would change it" in capsys.readouterr().err
    assert (tmp_path / "README.md").read_text() == "Mine."


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "it has no model_index.json, config.json or adapter_config.json"),
        ({"config.json": {"model_type": "vit"}}, "is no LRM: its config.json says model_type 'vit'"),
        (
            {"model_index.json": {"_class_name": "ShapEPipeline"}},
            "model_index.json says _class_name 'ShapEPipeline'",
        ),
    ],
)
def test_what_is_not_ours_is_not_pushed(
    files: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert cli.main(["push", str(tmp_path), "me/tiny"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "README.md").exists()
