# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What the benchmark of planes compares, and its sums, at sizes that take no time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_config

from benchmarks import planes
from benchmarks.planes import PLAIN, Way, main, measure, operations, shape_config, ways, why_not


@pytest.mark.parametrize(("shape", "size", "width", "channels"), [("base", 336, 768, 48), ("large", 448, 1024, 80)])
def test_published_shapes(shape: str, size: int, width: int, channels: int) -> None:
    config = shape_config(shape)
    found = (config.image_size, config.hidden_size, config.field_config.channels)
    assert found == (size, width, channels)


def test_operations_of_a_decoder_by_hand() -> None:
    """Doubling the blocks adds what two blocks take: 48 tokens of width 32, 17 tokens of the picture."""
    added = operations(tiny_config(num_hidden_layers=4)) - operations(tiny_config(num_hidden_layers=2))
    tokens, source, width, modulation = 3 * 4 * 4, 1 + 4 * 4, 32, 16
    projections = (4 + 2 + 8) * tokens * width**2 + 2 * source * width**2  # self, cross, MLP; keys and values
    attention = 2 * tokens * tokens * width + 2 * tokens * source * width
    modulations = 3 * modulation * 2 * width
    assert added == 2 * 2 * (projections + attention + modulations)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_ways(device: str) -> None:
    found = ways(device)
    assert found[0] == PLAIN == Way("eager", "float32", 1, "plain")
    assert len(set(found)) == len(found)
    assert {way.batch for way in found} == {1, 4}
    assert {way.dtype for way in found} == {"float32", "bfloat16"}
    assert ("cuda-graph" in {way.mode for way in found}) == (device == "cuda")


def test_what_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_not(Way(mode="cuda-graph"), "cpu") == "CUDA graphs need a CUDA device"
    monkeypatch.setattr(planes.shutil, "which", lambda name: None)
    assert why_not(Way(mode="compile"), "cpu") == "no C++ compiler, which torch.compile needs"
    assert why_not(Way(), "cpu") is None


def test_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "shape_config", lambda shape: tiny_config())
    plain, sdpa, half = (
        measure("tiny", way, "cpu", 1, tmp_path / "planes.pt") for way in (PLAIN, Way(batch=4), Way(dtype="bfloat16"))
    )
    assert plain["error"] == 0
    assert sdpa["error"] < 1e-5  # rounding
    assert 1e-4 < half["error"] < 0.1  # eight bits
    for row in (plain, sdpa, half):
        assert row["time_s"] > 0
        assert row["of_floor"] == pytest.approx(row["floor_s"] / row["time_s"])


def test_rows_that_failed_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(shape: str, way: Way, arguments: Any, expected: Path) -> dict[str, Any]:
        row: dict[str, Any] = {"shape": shape, **way._asdict()}
        return row | ({"not_run": "failed: why"} if way.batch == 4 else {"time_s": 2.0 if way == PLAIN else 0.5})

    monkeypatch.setattr(planes, "_measure_apart", apart)
    target = tmp_path / "deep" / "planes.json"
    assert main(["--shape", "base", "large", "--modes", "plain", "--json", str(target)]) == 1
    rows = json.loads(target.read_text())["rows"]
    assert [row["shape"] for row in rows] == 5 * ["base"] + 5 * ["large"]
    assert [row.get("ratio") for row in rows[:5]] == [1.0, 4.0, None, 4.0, None]
