# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Pushing to and pulling from a Hub that runs on the loopback interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hub_server import Hub, Repository, running_hub
from safetensors.torch import load_file
from tiny_models import tiny_pipeline

import lrm_hf


TESTS = Path(__file__).parent.parent


@dataclass
class Session:
    hub: Hub
    planes: dict[str, torch.Tensor]
    report: dict[str, str]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """One run of hub_client.py: starting it costs more than all that it does."""
    work = tmp_path_factory.mktemp("hub")
    tiny_pipeline().save_pretrained(work / "saved")
    with running_hub() as hub:
        hub.repositories["me/notes"] = Repository()
        hub.add_commit("me/notes", "initial commit", {"README.md": b"Notes.", "config.json": b"{}"})
        env = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
        env |= {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(work / "home"),
            "HF_TOKEN": "hf_loopback",
            "PYTHONPATH": os.pathsep.join([str(Path(lrm_hf.__file__).parent.parent), str(TESTS)]),
        }
        command = [sys.executable, str(Path(__file__).with_name("hub_client.py")), work / "saved", work]
        process = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
        assert process.returncode == 0, process.stderr
        yield Session(hub, load_file(work / "planes.safetensors"), json.loads((work / "report.json").read_text()))


def test_push_is_one_commit_with_everything(session: Session) -> None:
    first = session.hub.repositories["me/tiny"].commits[1]
    assert first[1] == "first"
    assert session.report["commit"].endswith(first[0])
    assert set(first[2]) == {
        ".gitattributes",
        "README.md",
        "image_processor/preprocessor_config.json",
        "model/config.json",
        "model/modeling_lrm.py",
        "model/model.safetensors",
        "model_index.json",
        "pipeline.py",
    }
    assert b"library_name: lrm_hf" in first[2]["README.md"]
    assert b'LRMPipeline.from_pretrained("me/tiny")' in first[2]["README.md"]
    assert first[2]["pipeline.py"].startswith(b"from lrm_hf import LRMPipeline")
    assert any(request.startswith("PUT /lfs/") for request in session.hub.requests), "the weights went as LFS"


@pytest.mark.parametrize("name", ["pulled", "from the cache", "through diffusers", "private", "model alone"])
def test_what_is_pulled_is_bit_identical(session: Session, name: str) -> None:
    assert session.report[name] == "LRMPipeline"
    for kind in ("planes", "frames"):
        assert torch.equal(session.planes[f"{name}.{kind}"], session.planes[f"local.{kind}"])


def test_pulled_agrees_with_the_pipeline_that_was_never_saved(session: Session) -> None:
    from tiny_models import pictures

    fresh = tiny_pipeline()(pictures(2), output_type="field").field.planes
    torch.testing.assert_close(session.planes["pulled.planes"], fresh, atol=1e-5, rtol=0)  # in another process


def test_saving_can_push_too(session: Session) -> None:
    initial, first, second = session.hub.repositories["me/tiny"].commits
    assert second[1] == "second"
    assert second[2] == first[2]
    assert session.hub.repositories["me/private"].private


def test_a_card_that_is_there_is_kept(session: Session) -> None:
    files = session.hub.repositories["me/notes"].files
    assert "model/model.safetensors" in files
    assert files["README.md"] == b"Notes."


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "'me/nothing' is not a directory, and there is no such repository on the Hub, or it is private"),
        ("private to a stranger", "'me/private' is not a directory, and there is no such repository"),
        ("revision", "'me/tiny' is not a directory, and on the Hub it has no revision 'v7'"),
        ("nothing in the cache", "the Hub can't be reached and has not been downloaded from"),
        ("not a pipeline", "'me/notes' holds nothing that can be loaded: no model_index.json"),
    ],
)
def test_errors_are_os_errors_that_say_what_is_wrong(session: Session, name: str, message: str) -> None:
    assert message in session.report[name]
    assert "\n" not in session.report[name]
