# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import pytest
import torch
from torch import nn

from lrm_hf.training.weight_average import WeightAverage


def model_of(value: float, dtype: torch.dtype = torch.float32) -> nn.Linear:
    model = nn.Linear(1, 1).to(dtype)
    with torch.no_grad():
        model.weight.fill_(value)
        model.bias.fill_(-value)
    return model


def put(model: nn.Linear, value: float) -> None:
    with torch.no_grad():
        model.weight.fill_(value)


def test_by_hand() -> None:
    model = model_of(0.0)
    average = WeightAverage(model, decay=0.15)
    put(model, 1.0)
    average.update()  # factor on the old one: min(0.15, 1 / 10)
    assert float(average.averages["weight"]) == pytest.approx(0.9)
    put(model, 2.0)
    average.update()  # min(0.15, 2 / 11) = 0.15
    assert float(average.averages["weight"]) == pytest.approx(0.15 * 0.9 + 0.85 * 2)


def test_the_average_is_in_place_within_the_block_only() -> None:
    model = model_of(0.1)
    average = WeightAverage(model, decay=0.5)
    put(model, 0.7)
    average.update()
    own = model.weight.detach().clone()
    with pytest.raises(RuntimeError, match="inside"), average.in_place():
        assert model.weight.item() == pytest.approx(0.1 * 0.1 + 0.9 * 0.7)
        raise RuntimeError("inside")
    assert torch.equal(model.weight, own)


def test_only_what_is_trained_is_averaged() -> None:
    model = model_of(1.0)
    model.bias.requires_grad_(False)
    assert set(WeightAverage(model, 0.9).averages) == {"weight"}
    model.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter"):
        WeightAverage(model, 0.9)


def test_half_precision_weights_have_an_average_that_can_move() -> None:
    model = model_of(1.0, torch.bfloat16)
    average = WeightAverage(model, decay=0.999)
    average.updates = 100_000
    put(model, 2.0)
    for _ in range(3):
        average.update()  # each moves it by 0.001, which bfloat16 at 1 does not have
    assert float(average.averages["weight"]) == pytest.approx(2 - 0.999**3, abs=1e-6)


def test_state_goes_round_and_another_models_is_refused() -> None:
    model = model_of(0.0)
    average = WeightAverage(model, 0.9)
    put(model, 1.0)
    average.update()
    other = WeightAverage(model_of(5.0), 0.9)
    other.load_state_dict(average.state_dict())
    assert other.updates == 1 and torch.equal(other.averages["weight"], average.averages["weight"])
    with pytest.raises(ValueError, match="another model: 0.bias, 0.weight, bias, weight"):
        WeightAverage(nn.Sequential(model_of(1.0)), 0.9).load_state_dict(average.state_dict())
    with pytest.raises(ValueError, match=r"`decay` must be in \[0, 1\)"):
        WeightAverage(model, 1.0)
