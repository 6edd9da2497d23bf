# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What is on the Hub, loaded by transformers and diffusers in a process where nobody imports lrm_hf by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hub_server import running_hub
from hub_session import Session
from tiny_models import pictures, tiny_pipeline, tiny_triposr


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    work = tmp_path_factory.mktemp("remote_code")
    tiny_pipeline().save_pretrained(work / "saved")
    tiny_triposr().save_pretrained(work / "triposr")
    with running_hub() as hub:
        hub.add_directory("me/tiny", work / "saved")
        hub.add_directory("me/triposr", work / "triposr")
        hub.add_directory("me/model-alone", work / "saved" / "model")
        session = Session(hub, work)
        session.run("stranger")
        yield session


@pytest.fixture(scope="module")
def base() -> torch.Tensor:
    return tiny_pipeline()(pictures(2), output_type="field").field.planes


def test_auto_model_finds_the_class_where_nobody_imports_the_package(session: Session, base: torch.Tensor) -> None:
    report = session.report["stranger"]
    assert report["class"] == "lrm_hf.modeling.modeling_lrm.LRMModel"
    assert report["other class"] == "lrm_hf.modeling.modeling_triposr.TripoSRModel"
    for name in ("AutoModel", "AutoModel of a pipeline"):
        torch.testing.assert_close(session.planes["stranger"][name], base, atol=1e-5, rtol=0)  # in another process
    # saved again, it does not carry copies of the package's source
    assert report["files"] == ["config.json", "model.safetensors", "modeling_lrm.py"]
    assert report["auto_map"] == {"AutoConfig": "modeling_lrm.LRMConfig", "AutoModel": "modeling_lrm.LRMModel"}


def test_diffusers_needs_the_package_imported_first(session: Session, base: torch.Tensor) -> None:
    """diffusers checks the libraries of the components before it reads the repository's pipeline.py."""
    report = session.report["stranger"]
    assert report["not imported before"]
    assert "lrm_hf" in report["diffusers alone"]
    assert report["pipeline"] == "LRMPipeline"
    torch.testing.assert_close(session.planes["stranger"]["diffusers"], base, atol=1e-5, rtol=0)  # in another process
