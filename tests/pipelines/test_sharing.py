# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Models, pipelines and adapters to a Hub on the loopback interface and back, and all that can go wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from adapter_files import random_adapter
from hub_server import Repository, running_hub
from hub_session import Session
from tiny_models import tiny_pipeline


TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """All of sharing_client.py: starting a process costs more than what it does."""
    work = tmp_path_factory.mktemp("sharing")
    tiny_pipeline().save_pretrained(work / "saved")
    random_adapter(work / "adapter", seed=3)
    with running_hub() as hub:
        hub.add_directory("me/gated", work / "saved")
        hub.repositories["me/gated"].gated = True
        for name, cuts in (("me/interrupted", [1000, 2000]), ("me/dead-line", [1000, *[0] * 5])):
            hub.add_directory(name, work / "saved")
            hub.cuts[f"{name}/model/model.safetensors"] = cuts
        hub.repositories["me/notes"] = Repository()
        hub.add_commit("me/notes", "initial commit", {"README.md": b"Notes."})
        hub.datasets.add("me/pictures")
        session = Session(hub, work)
        session.run("owner")
        session.run("offline", HF_HUB_OFFLINE="1")
        yield session


@pytest.mark.parametrize("name", ["shards", "branch", "model alone", "unloaded", "interrupted", "line mended"])
def test_pulled_is_the_base(session: Session, name: str) -> None:
    assert torch.equal(session.planes["owner"][name], session.planes["owner"]["base"])


def test_large_weights_went_in_shards(session: Session) -> None:
    files = session.hub.repositories["me/tiny"].files
    shards = [name for name in files if name.endswith(".safetensors")]
    assert len(shards) > 1 and "model/model.safetensors.index.json" in files


def test_a_branch_has_its_own_commits(session: Session) -> None:
    repository = session.hub.repositories["me/tiny"]
    assert [commit[1] for commit in repository.commits] == ["initial commit", "Upload LRMPipeline"]
    assert repository.branches["v2"][-1][1] == "on a branch"
    assert "model/model.safetensors" in repository.branches["v2"][-1][2]


def test_model_and_processor_alone(session: Session) -> None:
    repository = session.hub.repositories["me/model-alone"]
    assert repository.private
    assert {"config.json", "model.safetensors", "modeling_lrm.py", "preprocessor_config.json"} <= set(repository.files)
    card = repository.files["README.md"].decode()
    assert "library_name: lrm_hf" in card and 'LRMPipeline.from_pretrained("me/model-alone")' in card


def test_adapters_go_there_and_back(session: Session) -> None:
    planes = session.planes["owner"]
    assert (planes["adapted"] - planes["base"]).abs().max() > 0.1
    assert torch.equal(planes["adapter from the Hub"], planes["adapted"])
    # fused and not fused add up in another order
    torch.testing.assert_close(planes["fused"], planes["adapted"], atol=1e-5, rtol=0)
    repository = session.hub.repositories["me/odd"]
    assert repository.private
    assert set(repository.files) == {
        ".gitattributes",
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert json.loads(repository.files["adapter_config.json"])["base_model_name_or_path"] == "me/tiny"
    other = session.hub.repositories["me/odd2"]
    assert session.report["owner"]["adapter commit"].endswith(other.commits[-1][0])
    assert other.files["adapter_model.safetensors"] == repository.files["adapter_model.safetensors"]
    card = other.files["README.md"].decode()
    assert "base_model: me/tiny" in card and "base_model_relation: adapter" in card
    assert 'from_pretrained("me/tiny")' in card and 'load_lora_weights("me/odd2")' in card


def test_a_download_that_breaks_off_goes_on_where_it_was(session: Session) -> None:
    path = "model/model.safetensors"
    # within a call; a new one begins the file anew
    for name, starts in (("me/interrupted", ["1000-", "3000-"]), ("me/dead-line", [*["1000-"] * 5, ""])):
        requests = [line for line in session.hub.requests if line.startswith(f"GET /{name}/resolve/") and path in line]
        assert " " not in requests[0].removeprefix("GET ")
        assert [line.partition("bytes=")[2] for line in requests[1:]] == starts
    error = session.report["owner"]["dead line"]
    assert error.startswith("OSError: loading 'me/dead-line' from the Hub was cut off") and "\n" not in error


@pytest.mark.parametrize(
    ("run", "name", "message"),
    [
        (
            "owner",
            "private adapter",
            "'me/odd' is not a directory, and there is no such repository on the Hub, or it is",
        ),
        ("owner", "missing adapter", "private: log in (`hf auth login`) or pass `token`."),
        ("owner", "no adapter", "'me/tiny' holds a whole model, no adapter: load it with LRMPipeline.from_pretrained."),
        ("owner", "nothing at all", "'me/notes' holds no adapter: it has no adapter_config.json."),
        ("owner", "adapter as a pipeline", "'me/odd' holds an adapter, no model: load the model that it was made for"),
        ("owner", "gated", "'me/gated' is not a directory, and on the Hub it is gated: ask for access at http://"),
        ("owner", "gated adapter", "on the Hub it is gated: ask for access at http://"),
        ("owner", "a data set", "'me/pictures' is not a directory, and on the Hub it is a dataset, not a model."),
        ("owner", "push without a token", "can't push to 'me/new': you are not logged in, or the token is not valid"),
        ("owner", "push of a model without a token", "can't push to 'me/new': you are not logged in"),
        ("owner", "push with a token to read", "can't push to 'me/new': your token may not write there"),
        ("offline", "missing", "'me/nothing' is not a directory, and the Hub can't be reached"),
        ("offline", "missing adapter", "'me/nothing' is not a directory, and the Hub can't be reached"),
        ("offline", "push", "can't push to 'me/new': HF_HUB_OFFLINE is set."),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(session: Session, run: str, name: str, message: str) -> None:
    error = session.report[run][name]
    assert error.startswith("OSError: ")
    assert message in error
    assert "\n" not in error


def test_nothing_was_made_by_failed_pushes(session: Session) -> None:
    assert "me/new" not in session.hub.repositories


def test_offline_everything_downloaded_before_loads(session: Session) -> None:
    for name in ("base", "adapted"):
        torch.testing.assert_close(
            session.planes["offline"][name], session.planes["owner"][name], atol=1e-5, rtol=0
        )  # in another process


def test_push_by_command(session: Session) -> None:
    report, repositories = session.report["owner"], session.hub.repositories
    assert report["codes"] == [0, 0, 2, 2, 2]
    first, second = repositories["me/by-command"], repositories["me/adapter-by-command"]
    assert first.private and first.commits[-1][1] == "by command" and "pipeline.py" in first.files
    assert second.branches["v3"][-1][1] == "Upload adapter"
    assert "adapter_model.safetensors" not in second.files
    assert [line.rpartition("/")[2] for line in report["printed"]] == [
        first.commits[-1][0],
        second.branches["v3"][-1][0],
    ]
    assert "lrm-hf: error: can't push to 'me/new': your token may not write there" in report["stderr"]
    assert "holds no saved pipeline, model or adapter" in report["stderr"]
    assert "lrm-hf: error: there is no directory" in report["stderr"]
