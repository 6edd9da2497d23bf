"""The training example, run as a user runs it, on a pool of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from interrupted import interruption, run_logged
from safetensors.torch import load_file

import lrm_hf
from examples import train_lrm
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


def settings(pool: Path, output: Path, *arguments: str) -> list[str]:
    output.mkdir(exist_ok=True)
    (output / "config.json").write_text(json.dumps(CONFIG))
    return [
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


def train(pool: Path, output: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> str:
    """In a process of its own, or several; returns the log."""
    script = str(ROOT / "examples" / "train_lrm.py")
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",  # with two, of which one waits for a busy core, a step takes seconds
        "ACCELERATE_USE_CPU": "true",
        "PYTHONPATH": str(Path(lrm_hf.__file__).parents[1]),
    }
    command = [sys.executable, *launcher, script, *settings(pool, output, *arguments)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
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

    # beyond what is asked for: nothing is left to do but to write
    log = train(pool, tmp_path, "--max_train_steps=45", "--sample_every=1000", "--scales=2")
    assert "resumed at step 50" in log and "wrote" in log


def test_an_interrupted_run_ends_as_one_that_was_not(
    pool: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    options = ["--max_train_steps=12", "--save_every=4", "--log_every=2", "--sample_every=6", "--report_to=none"]
    options += ["--gradient_accumulation_steps=2", "--lift_upscales", "1", "2", f"--validation_pool={pool}"]
    options += ["--validation_objects=2"]
    whole = run_logged(train_lrm.main, settings(pool, tmp_path / "whole", *options), caplog)
    with interruption(draws=2 * 7 + 1):  # in the middle of the eighth step
        begun = run_logged(train_lrm.main, settings(pool, tmp_path / "parts", *options), caplog)
    ended = run_logged(train_lrm.main, settings(pool, tmp_path / "parts", *options), caplog)
    assert list(whole) == [2, 4, 6, 8, 10, 12] and list(begun) == [2, 4, 6]
    assert list(ended) == [6, 8, 10, 12], "the last state was that of step 4"
    assert {**begun, **ended} == whole
    for name in ("pipeline", "best"):
        first, second = (load_file(tmp_path / run / name / "model/model.safetensors") for run in ("whole", "parts"))
        # one thread, the same operations in the same order: the very bytes
        assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    assert (tmp_path / "whole/best/score.json").read_text() == (tmp_path / "parts/best/score.json").read_text()
    assert LRMPipeline.from_pretrained(tmp_path / "parts/best").model.config.lift_upscale == 2


def test_workers_draw_the_same_batches(
    pool: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    options = ["--max_train_steps=3", "--log_every=1", "--sample_every=0", "--scales", "2", "1", "--report_to=none"]
    options += ["--gradient_accumulation_steps=2"]
    alone = run_logged(train_lrm.main, settings(pool, tmp_path / "alone", *options), caplog)
    options += ["--dataloader_num_workers=2"]
    helped = run_logged(train_lrm.main, settings(pool, tmp_path / "helped", *options), caplog)
    assert list(alone) == [1, 2, 3]
    assert helped == alone


@pytest.mark.slow
def test_two_processes_train_what_one_does_with_twice_the_accumulation(pool: Path, tmp_path: Path) -> None:
    options = ["--max_train_steps=3", "--log_every=1", "--sample_every=0", "--batch_size=2", "--report_to=none"]
    options += ["--mixed_precision=no", "--perceptual_weight=0", "--depth_weight=0.1"]
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    one = train(pool, tmp_path / "one", *options, "--gradient_accumulation_steps=2")
    two = train(pool, tmp_path / "two", *options, launcher=torchrun)
    for step in (1, 2, 3):
        assert loss_at(two, step) == pytest.approx(loss_at(one, step), rel=2e-3)  # four digits are logged
    first, second = (load_file(tmp_path / run / "pipeline/model/model.safetensors") for run in ("one", "two"))
    # Adam's first steps are as long for a gradient that is rounding as for any other: nearly all weights, not all
    close = torch.cat([(first[name] - second[name]).abs().flatten() < 1e-5 for name in first])
    assert first.keys() == second.keys() and float(close.float().mean()) > 0.99


@pytest.mark.slow
def test_the_bundled_models_recipe_runs(tmp_path):
    import trimesh

    meshes, more = tmp_path / "meshes", tmp_path / "more"
    for folder, name, extents in ((meshes, "a", (1, 2, 3)), (meshes, "b", (2, 1, 1)), (more, "c", (1, 1, 2))):
        folder.mkdir(exist_ok=True)
        trimesh.creation.box(extents=extents).export(folder / f"{name}.glb")
    steps = dict.fromkeys(("STEPS", "SECOND_STEPS", "THIRD_STEPS", "FOURTH_STEPS"), "2")
    result = subprocess.run(
        ["bash", str(ROOT / "examples" / "train_bundled.sh"), str(meshes), str(tmp_path / "out"), str(more)],
        env={**os.environ, **steps, "PROCEDURAL": "6", "HELD": "2", "CALIBRATION": "1", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    pipe = LRMPipeline.from_pretrained(tmp_path / "out" / "pipeline")
    bundled = LRMModel.from_pretrained(bundled_model())
    assert {name: p.shape for name, p in pipe.model.named_parameters()} == {
        name: p.shape for name, p in bundled.named_parameters()
    }
    means = pipe.model.state_dict()
    third, fourth = (
        LRMPipeline.from_pretrained(tmp_path / "out" / run / "pipeline").model.state_dict()
        for run in ("third", "fourth")
    )
    assert pipe.model.config.lift_upscale == 4
    for name, mean in means.items():
        assert torch.allclose(mean, (third[name] + fourth[name]) / 2, atol=1e-7), name
