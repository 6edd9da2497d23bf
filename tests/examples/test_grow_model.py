# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Larger models that start where a smaller one has come to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import lrm_hf
from examples import grow_model, train_lrm
from lrm_hf import LRMConfig, LRMModel, LRMPipeline


@pytest.fixture(scope="module")
def small() -> LRMModel:
    torch.manual_seed(0)
    return LRMModel(LRMConfig(**train_lrm.SMALL_CONFIG | {"lift_upscale": 4})).double().eval()


def grown(model: LRMModel, *flags: str) -> LRMModel:
    return grow_model.grow(model, grow_model.parse_args(["model", "output", *flags])).double().eval()


@torch.no_grad()
def planes(model: LRMModel) -> Tensor:
    pictures = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return model.forward_planes(pictures * 4 - 2)[0]


@pytest.mark.parametrize(
    "flags", [["--width", "2"], ["--decoder_layers", "6", "--encoder_layers", "4"], ["--width", "3", "--seed", "1"]]
)
def test_it_computes_what_it_did(small: LRMModel, flags: list[str]) -> None:
    larger = grown(small, *flags)
    assert larger.num_parameters() > 1.2 * small.num_parameters()
    expected = planes(small)
    torch.testing.assert_close(planes(larger), expected, atol=1e-6 * float(expected.abs().max()), rtol=0)


def test_an_mlp_of_a_width_that_is_no_multiple() -> None:
    torch.manual_seed(0)
    odd = LRMModel(LRMConfig(**train_lrm.SMALL_CONFIG | {"mlp_ratio": 2.67})).double().eval()
    expected = planes(odd)
    torch.testing.assert_close(planes(grown(odd, "--width", "2")), expected, atol=1e-6, rtol=1e-6)


def test_copies_of_a_unit_part_ways(small: LRMModel) -> None:
    """Their outputs count differently, so that their gradients differ."""
    larger = grown(small, "--width", "2")
    pictures = torch.rand(1, 3, 128, 128, dtype=torch.float64)
    larger.forward_planes(pictures)[0].square().mean().backward()
    gradient = larger.decoder.layers[1].mlp.fc1.weight.grad
    first, second = gradient.chunk(2)
    assert float((first - second).norm() / first.norm()) > 0.5


def test_new_blocks_lie_between_old_ones(small: LRMModel) -> None:
    larger = grown(small, "--decoder_layers", "6")
    old = [block.self_attn.q_proj.weight for block in small.decoder.layers]
    new = [block.self_attn.q_proj.weight for block in larger.decoder.layers]
    places = [next((i for i, a in enumerate(new) if torch.equal(a, b.double())), None) for b in old]
    assert places == [0, 2, 3, 5]
    for place in (1, 4):
        block = larger.decoder.layers[place]
        assert not bool(block.mlp.fc2.weight.any()) and not bool(block.self_attn.out_proj.weight.any())


def test_finer_tokens(small: LRMModel) -> None:
    larger = grown(small, "--tokens", "2")
    assert larger.config.triplane_low_res == 2 * small.config.triplane_low_res
    assert larger.config.lift_upscale * 2 == small.config.lift_upscale
    assert planes(larger).shape == planes(small).shape


def test_finer_tokens_continue_a_slope() -> None:
    """Tokens that hold their row and a one, in planes that hold each texel's row."""
    side = 6
    rows = torch.arange(side, dtype=torch.float64)[:, None].expand(side, side)
    tokens = torch.stack([rows, torch.ones_like(rows)], dim=-1).flatten(0, 1).repeat(3, 1)[None]
    kernel = torch.zeros(2, 1, 2, 2, dtype=torch.float64)
    kernel[0] = 1.0
    kernel[1, 0] = torch.tensor([[-0.25, -0.25], [0.25, 0.25]])
    state = grow_model.refined({"pos_embed": tokens, "upsampler.weight": kernel}, side, 2)
    states = state["pos_embed"].unflatten(1, (3, 2 * side, 2 * side)).permute(0, 1, 4, 2, 3)[0]
    found = torch.nn.functional.conv_transpose2d(states, state["upsampler.weight"], stride=2)[:, 0]
    expected = (torch.arange(4 * side, dtype=torch.float64) + 0.5) / 4 - 0.5
    inside = slice(8, -8)  # beyond, the interpolation of positions feels the edge
    torch.testing.assert_close(found[0, inside, 5], expected[inside])


def test_from_directory_to_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = LRMModel.from_pretrained(lrm_hf.bundled_model()).config.num_hidden_layers + 1
    grow_model.main([str(lrm_hf.bundled_model()), str(tmp_path / "larger"), f"--decoder_layers={blocks}"])
    pipe = LRMPipeline.from_pretrained(tmp_path / "larger")
    assert pipe.model.config.num_hidden_layers == blocks
    assert f"to {pipe.model.num_parameters():,}" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--decoder_layers", "3"], ["--encoder_layers", "2"]])
def test_nothing_becomes_smaller(small: LRMModel, flags: list[str]) -> None:
    with pytest.raises(ValueError, match=rf"{flags[0]} must be at least \d, got {flags[1]}"):
        grown(small, *flags)
