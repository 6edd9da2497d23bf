# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Objects are kept within bounds, and their files go with them."""

from __future__ import annotations

import PIL.Image
import pytest
import torch

from lrm_hf import LRMConfig, TriplaneField, TriplaneFieldConfig, TripoSRConfig
from lrm_hf.app.results import Made, Results


def made(results: Results, name: str = "thing", config: object = None) -> Made:
    """Planes of 3 x 4 x 8 x 8 floats and a picture of 10 x 10: 3072 + 300 bytes."""
    field_config = TriplaneFieldConfig(channels=4, hidden_size=8, num_hidden_layers=1)
    weights = (torch.zeros(8, 12), torch.zeros(4, 8))
    field = TriplaneField(torch.zeros(1, 3, 4, 8, 8), weights, (torch.zeros(8), torch.zeros(4)), field_config)
    return Made(name, PIL.Image.new("RGB", (10, 10)), field, config or LRMConfig(), results.new_directory())  # type: ignore[arg-type]


def test_bytes_of_one() -> None:
    assert made(Results()).nbytes == 3 * 4 * 8 * 8 * 4 + 300


def test_the_one_not_asked_for_longest_goes_first() -> None:
    results = Results(max_count=2)
    first, second, third = (made(results) for _ in range(3))
    (first.directory / "file").write_text("x")
    (second.directory / "file").write_text("x")
    results.add(first)
    results.add(second)
    assert results.get(first.key) is first  # asked for
    results.add(third)
    assert len(results) == 2
    assert first.directory.exists() and not second.directory.exists()
    with pytest.raises(ValueError, match="not kept any more.*generate it again"):
        results.get(second.key)


def test_bytes_are_bounded_but_the_newest_stays() -> None:
    results = Results(max_bytes=2 * 3372)
    for _ in range(5):
        results.add(made(results))
    assert len(results) == 2 and results.nbytes == 2 * 3372
    tight = Results(max_bytes=10)
    key = tight.add(made(tight))
    assert tight.get(key).key == key


def test_drop_and_close() -> None:
    results = Results()
    keys = [results.add(made(results)) for _ in range(3)]
    kept = results.get(keys[2])
    results.drop([keys[0], keys[1], "unknown"])
    assert len(results) == 1 and kept.directory.exists()
    results.close()
    assert len(results) == 0 and not kept.directory.exists()


def test_keys_can_not_be_guessed_from_others() -> None:
    results = Results()
    keys = {made(results).key for _ in range(50)}
    assert len(keys) == 50 and all(len(key) >= 20 for key in keys)


def test_orbit_begins_where_the_source_camera_stands() -> None:
    results = Results()
    config = LRMConfig(source_camera_distance=3.0, source_camera_elevation=30.0)
    # 3 cos 30° in front, on the -y side, and 3 sin 30° up
    origin = made(results, config=config).orbit(4).cam2world[0, :3, 3]
    torch.testing.assert_close(origin, torch.tensor([0.0, -2.598076, 1.5]), atol=1e-5, rtol=0)
    # TripoSR's stands at +x; where a config says 0, views are from 20 degrees above
    config = TripoSRConfig()
    origin = made(results, config=config).orbit(4).cam2world[0, :3, 3] / config.source_camera_distance
    torch.testing.assert_close(origin, torch.tensor([0.9396926, 0.0, 0.3420201]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "value"), [("max_bytes", 0), ("max_count", 1.0)])
def test_bounds_are_positive_whole_numbers(name: str, value: object) -> None:
    with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
        Results(**{name: value})  # type: ignore[arg-type]
