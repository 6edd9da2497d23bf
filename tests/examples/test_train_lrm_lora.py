# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The LoRA example, on a tiny pipeline and a pool of its own."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from interrupted import interruption, run_logged
from safetensors.torch import load_file
from tiny_models import pictures, tiny_pipeline

from examples import train_lrm_lora
from lrm_hf import LRMPipeline


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lrm_hf.training.procedural import main as render_objects

    directory = tmp_path_factory.mktemp("lora")
    render_objects([str(directory / "pool"), "--num-objects", "4", "--size", "32", "--sources", "1", "--targets", "3"])
    pipe = tiny_pipeline(source_camera_elevation=20.0)
    pipe.save_pretrained(directory / "base")
    return directory


def settings(work: Path, output: str, *arguments: str) -> list[str]:
    return [
        f"--model={work / 'base'}",
        f"--pool={work / 'pool'}",
        f"--output_dir={work / output}",
        "--batch_size=4",
        "--crop=12",
        "--samples=8",
        "--points=64",
        "--warmup_steps=2",
        "--learning_rate=0.01",
        "--log_every=10",
        *arguments,
    ]


def train(work: Path, output: str, *arguments: str, caplog: pytest.LogCaptureFixture) -> list[float]:
    """Returns the losses in the log."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        train_lrm_lora.main(settings(work, output, *arguments))
    lines = [record.getMessage() for record in caplog.records if " loss " in record.getMessage()]
    return [float(line.split(" loss ")[1].split()[0]) for line in lines]


def test_it_learns_and_the_adapter_loads(
    work: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    losses = train(work, "adapter", "--max_train_steps=60", "--rank=4", caplog=caplog)
    assert len(losses) == 6
    assert losses[-1] < 0.8 * losses[0]
    tensors = load_file(work / "adapter" / "adapter_model.safetensors")
    # two blocks, eight matrices of 32 x 32 in each
    assert sum(tensor.numel() for tensor in tensors.values()) == 2 * 8 * 4 * 64
    pipe = LRMPipeline.from_pretrained(work / "base")
    pipe.set_progress_bar_config(disable=True)
    before = pipe(pictures(2), output_type="field").field.planes
    pipe.load_lora_weights(work / "adapter")
    assert (pipe(pictures(2), output_type="field").field.planes - before).abs().max() > 0.1
    assert "load_lora_weights" in (work / "adapter" / "README.md").read_text()


def test_options_reach_the_adapter(
    work: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    arguments = ["--max_train_steps=2", "--target=all", "--mlp", "--rank=2", "--alpha=6", "--use_dora", "--use_rslora"]
    train(work, "dora", *arguments, "--gradient_accumulation_steps=2", caplog=caplog)
    config = json.loads((work / "dora" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_dora"], config["use_rslora"]) == (2, 6, True, True)
    tensors = load_file(work / "dora" / "adapter_model.safetensors")
    assert any("encoder" in key for key in tensors) and any("mlp" in key for key in tensors)
    updated = [tensor for key, tensor in tensors.items() if "lora_B" in key]
    assert all(bool(tensor.abs().max() > 0) for tensor in updated), "every one had a gradient"


def test_a_pool_of_another_size_is_refused(work: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path)
    preprocessor = tmp_path / "image_processor" / "preprocessor_config.json"
    settings = json.loads(preprocessor.read_text())
    settings["size"] = {"height": 64, "width": 64}
    preprocessor.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="--pool holds pictures of 32 pixels on white, the model takes"):
        train(work, "none", f"--model={tmp_path}", caplog=caplog)


def test_an_interrupted_run_ends_as_one_that_was_not(
    work: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    options = ["--max_train_steps=8", "--save_every=3", "--log_every=1", "--sample_every=4", "--use_dora"]
    options += [f"--validation_pool={work / 'pool'}", "--validation_objects=2", "--gradient_checkpointing"]
    whole = run_logged(train_lrm_lora.main, settings(work, "whole", *options), caplog)
    with interruption(draws=5):
        begun = run_logged(train_lrm_lora.main, settings(work, "parts", *options), caplog)
    assert not (work / "parts/adapter_model.safetensors").exists()
    ended = run_logged(train_lrm_lora.main, settings(work, "parts", *options), caplog)
    assert list(whole) == list(range(1, 9)) and list(begun) == [1, 2, 3, 4, 5] and list(ended) == [4, 5, 6, 7, 8]
    assert {**begun, **ended} == whole
    for name in ("adapter_model.safetensors", "best/adapter_model.safetensors"):
        assert (work / "whole" / name).read_bytes() == (work / "parts" / name).read_bytes()
    score = json.loads((work / "parts/best/score.json").read_text())
    assert score["step"] in (4, 8) and score["score"] > 0


def test_settings_from_a_file(work: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    file = work / "settings.yaml"
    file.write_text("max_train_steps: 1\nrank: 3\nsample_every: 0\nlog_every: 50\nreport_to: none\nrate: 1\n")
    with pytest.raises(ValueError, match="unknown keys rate"):
        train(work, "yaml", f"--yaml={file}", caplog=caplog)
    file.write_text(file.read_text().replace("rate: 1\n", ""))
    assert len(train(work, "yaml", f"--yaml={file}", "--log_every=1", caplog=caplog)) == 1
    assert json.loads((work / "yaml/adapter_config.json").read_text())["r"] == 3
    assert not (work / "yaml/logs").exists() and not list((work / "yaml").glob("sheet_*"))
    assert "rank: 3" in (work / "yaml/settings.yaml").read_text()
