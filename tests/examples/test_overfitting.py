# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The quick proof that everything from picture to gradient fits together: one object learned by heart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from interrupted import run_logged

from examples import train_lrm
from lrm_hf import LRMPipeline
from lrm_hf.training.procedural import render_pool
from lrm_hf.training.validation import Validation
from lrm_hf.training.view_pool import ViewPool


CONFIG = {
    "encoder_config": {
        "model_type": "vit",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "initializer_range": 0.06,
    },
    "field_config": {
        "channels": 16,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "hidden_act": "silu",
        "density_activation": "exp",
        "sampling": "uniform",
        "num_samples": 32,
    },
    "image_size": 32,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "camera_embed_dim": 16,
    "triplane_low_res": 8,
    "source_camera_elevation": 20.0,
    "initializer_range": 0.06,
}


def overfit(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, steps: int, learning_rate: float
) -> float:
    """Trains on eight views of one object; returns the PSNR of all of them."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    render_pool(directory / "pool", 1, size=32, sources=1, targets=7, seed=4)
    (directory / "config.json").write_text(json.dumps(CONFIG))
    arguments = [f"--pool={directory / 'pool'}", f"--output_dir={directory / 'run'}"]
    arguments += [f"--config={directory / 'config.json'}", f"--max_train_steps={steps}", "--batch_size=1", "--views=4"]
    arguments += ["--crop=32", "--scales=1", "--samples=24", "--points=256", "--mirror=0", "--recolor=0"]
    arguments += [f"--learning_rate={learning_rate}", "--warmup_steps=20", "--ema_decay=0.95", "--log_every=50"]
    arguments += ["--final_point_weight=0", "--sample_every=0", "--save_every=100000", "--report_to=none", "--seed=0"]
    run_logged(train_lrm.main, arguments, caplog)
    pipe = LRMPipeline.from_pretrained(directory / "run/pipeline")
    return Validation(ViewPool([directory / "pool"]), pipe.image_processor, count=1, views=7)(pipe.model).score


def test_one_object_is_learned_by_heart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    score = overfit(tmp_path, monkeypatch, caplog, steps=300, learning_rate=4e-3)
    assert score >= 25.0
