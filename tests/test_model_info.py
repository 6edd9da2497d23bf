# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What is said of a model without loading it is what it has once it is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_pipeline, tiny_triposr

import lrm_hf
from lrm_hf import LRMModel, cli
from lrm_hf.memory import bytes_per_point, in_words, memory_of, points_at_a_time
from lrm_hf.model_info import model_info


def test_bundled_model() -> None:
    info = model_info(lrm_hf.bundled_model())
    model = LRMModel.from_pretrained(lrm_hf.bundled_model())
    assert sum(info.parameters.values()) == model.num_parameters()
    assert info.parameters["decoder"] == sum(weight.numel() for weight in model.decoder.parameters())
    assert info.planes == tuple(model.encode(torch.zeros(1, 3, 128, 128)).planes.shape[1:])
    weights = Path(lrm_hf.bundled_model(), "model.safetensors")
    assert info.files == {"model.safetensors": weights.stat().st_size}
    assert info.dtypes == ["F16"] and info.licence == "cc-by-3.0"
    assert (info.layout, info.architecture, info.encoder, info.image_size) == ("model", "LRMModel", "vit", 128)
    assert info.memory["weights"] == 4 * model.num_parameters()
    assert info.memory["planes"] == 4 * 3 * 24 * 64 * 64


def test_pipeline_and_other_architecture(tmp_path: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "pipeline")
    info = model_info(tmp_path / "pipeline")
    assert info.layout == "pipeline" and list(info.files) == ["model/model.safetensors"]
    assert info.dtypes == ["F32"]
    model = tiny_triposr()
    model.save_pretrained(tmp_path / "triposr")
    info = model_info(tmp_path / "triposr")
    assert info.architecture == "TripoSRModel" and info.licence is None
    assert sum(info.parameters.values()) == model.num_parameters()


def test_weights_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a file of the right header and no content, and another one that is missing."""
    shutil.copytree(lrm_hf.bundled_model(), tmp_path / "model")
    monkeypatch.setattr("safetensors.torch.load_file", lambda *_: pytest.fail("weights were read"))
    monkeypatch.setattr(LRMModel, "from_pretrained", lambda *_: pytest.fail("the model was loaded"))
    assert sum(model_info(tmp_path / "model").parameters.values()) == 1_776_500
    (tmp_path / "model" / "model.safetensors").unlink()
    assert model_info(tmp_path / "model").files == {}


@pytest.mark.parametrize(
    ("arguments", "parameters", "planes"),
    [
        # of the published small model: Oquab et al.'s ViT-S/14 with registers, 12 blocks of width 512
        ({"encoder_feat_dim": 384, "encoder_model_name": "dinov2_vits14_reg", "transformer_dim": 512}, 1e8, 32),
    ],
)
def test_openlrm_from_its_configuration_alone(
    arguments: dict[str, Any], parameters: float, planes: int, tmp_path: Path
) -> None:
    rest = {
        "camera_embed_dim": 1024,
        "encoder_freeze": False,
        "encoder_type": "dinov2",
        "rendering_samples_per_ray": 96,
        "transformer_heads": 8,
        "transformer_layers": 12,
        "triplane_dim": planes,
        "triplane_high_res": 64,
        "triplane_low_res": 32,
    }
    (tmp_path / "config.json").write_text(json.dumps({**rest, **arguments}))
    info = model_info(tmp_path)
    assert info.layout == "openlrm_v11" and info.architecture == "LRMModel"
    assert info.encoder == "dinov2_with_registers"
    assert info.parameters["encoder"] == pytest.approx(22e6, rel=0.02)  # as published: 21 M, and the registers
    assert info.planes == (3, planes, 64, 64)
    assert parameters < sum(info.parameters.values()) < 1.5 * parameters


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no directory './nowhere'"):
        model_info("./nowhere")
    with pytest.raises(OSError, match="holds no model"):
        model_info(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(OSError, match="holds an adapter, no model"):
        model_info(tmp_path)
    shutil.copy(Path(lrm_hf.bundled_model(), "config.json"), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(OSError, match="model.safetensors' can't be read"):
        model_info(tmp_path)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--json", "--device", "cpu"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["total_parameters"] == 1_776_500 and content["planes"] == [3, 24, 64, 64]
    assert 0 < content["memory"]["free"] <= content["memory"]["total"]
    assert cli.main(["info", "--device", "cpu"]) == 0
    table = capsys.readouterr().out
    for text in ("LRMModel, encoder vit", "1,776,500", "model.safetensors (3.6 MB)", "cc-by-3.0", "memory, cpu"):
        assert text in table
    assert cli.main(["info", "./nowhere"]) == 2
    assert capsys.readouterr().err == "lrm-hf: error: There is no directory './nowhere' to load a model from.\n"


def test_memory_of_this_machine() -> None:
    memory = memory_of("cpu")
    assert 0 < memory.used < memory.total and 0 < memory.free <= memory.total


def test_a_gpu_takes_more_points_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    free = 0
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 3 * 10**8)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 10**8)
    per_point = bytes_per_point(channels=48, hidden_size=64)
    assert per_point == 4 * (288 + 192 + 64)
    assert points_at_a_time("cpu", 2**12, per_point) == 2**12
    assert points_at_a_time("cuda", 2**12, per_point) == 2**13  # a tenth of 0.2 GB that torch has and does not use
    assert points_at_a_time("cuda:0", 2**17, per_point) == 2**17
    free = 8 * 10**9
    assert points_at_a_time("cuda", 2**12, per_point) == 2**18
    free = 70 * 10**9
    assert points_at_a_time("cuda", 2**12, per_point) == points_at_a_time("cuda", 2**17, per_point) == 2**21


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (99_600, "100 kB"), (1_500_000_000, "1.5 GB")],
)
def test_in_words(size: int, words: str) -> None:
    assert in_words(size) == words
