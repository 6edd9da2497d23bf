"""The training example, run as a user runs it, on a pool of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lrm_hf import LRMModel, LRMPipeline, bundled_model, orbit_cameras


ROOT = Path(__file__).parents[2]
CONFIG = {
    "encoder_config": {
        "model_type": "vit",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    },
    "field_config": {
        "channels": 8,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "hidden_act": "silu",
        "density_activation": "exp",
        "sampling": "uniform",
        "num_samples": 16,
    },
    "image_size": 32,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "camera_embed_dim": 16,
    "triplane_low_res": 4,
    "lift_samples": 4,
    "lift_channels": 4,
    "source_camera_elevation": 20.0,
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    from lrm_hf.training.procedural import main as render_objects

    directory = tmp_path_factory.mktemp("pool")
    render_objects([str(directory), "--num-objects", "4", "--size", "32", "--sources", "1", "--targets", "3"])
    return directory


def train(pool: Path, output: Path, *arguments: str) -> str:
    (output / "config.json").parent.mkdir(exist_ok=True)
    (output / "config.json").write_text(json.dumps(CONFIG))
    command = [
        sys.executable,
        str(ROOT / "examples" / "train_lrm.py"),
        f"--pool={pool}",
        f"--output_dir={output}",
        f"--config={output / 'config.json'}",
        "--batch_size=4",
        "--crop=12",
        "--samples=8",
        "--points=64",
        "--warmup_steps=2",
        "--log_every=10",
        *arguments,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    return run.stderr


def loss_at(log: str, step: int) -> float:
    line = next(line for line in log.splitlines() if f" step {step} " in line)
    return float(line.split(" loss ")[1].split()[0])


def test_it_learns_stops_goes_on_and_writes_a_pipeline(pool, tmp_path):
    log = train(pool, tmp_path, "--max_train_steps=40", "--save_every=20", "--sample_every=40", "--scales=2")
    assert loss_at(log, 40) < 0.9 * loss_at(log, 10)
    assert json.loads((tmp_path / "progress.json").read_text())["step"] == 40
    assert (tmp_path / "sheet_000040.png").stat().st_size > 1000

    pipe = LRMPipeline.from_pretrained(tmp_path / "pipeline")
    assert isinstance(pipe.model, LRMModel)
    assert pipe.image_processor.size == {"height": 32, "width": 32}
    picture = torch.ones(4, 32, 32)
    picture[:3, 8:24, 8:24], picture[3] = 0.3, 0.0
    picture[3, 8:24, 8:24] = 1.0
    views = pipe(picture, output_type="pt", cameras=orbit_cameras(2), height=16, width=16).frames
    assert views.shape == (1, 2, 3, 16, 16) and bool(torch.isfinite(views).all())

    log = train(pool, tmp_path, "--max_train_steps=50", "--save_every=50", "--sample_every=1000", "--scales=2")
    assert "resumed at step 40" in log
    assert json.loads((tmp_path / "progress.json").read_text())["step"] == 50


@pytest.mark.slow
def test_the_bundled_models_recipe_runs(tmp_path):
    import trimesh

    meshes = tmp_path / "meshes"
    meshes.mkdir()
    for name, extents in (("a", (1, 2, 3)), ("b", (2, 1, 1))):
        trimesh.creation.box(extents=extents).export(meshes / f"{name}.glb")
    result = subprocess.run(
        ["bash", str(ROOT / "examples" / "train_bundled.sh"), str(meshes), str(tmp_path / "out")],
        env={**os.environ, "STEPS": "2", "SECOND_STEPS": "2", "PROCEDURAL": "6", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    pipe = LRMPipeline.from_pretrained(tmp_path / "out" / "second" / "pipeline")
    bundled = LRMModel.from_pretrained(bundled_model())
    assert {name: p.shape for name, p in pipe.model.named_parameters()} == {
        name: p.shape for name, p in bundled.named_parameters()
    }
