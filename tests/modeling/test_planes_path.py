# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""From pictures to planes without work that is done twice, for both architectures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import IMAGE_SIZE, tiny_config, tiny_model, tiny_triposr
from torch import Tensor, nn

from lrm_hf import orbit_cameras


MODELS = {"lrm": lambda: tiny_model(tiny_config()), "triposr": tiny_triposr}


def pictures(count: int) -> Tensor:
    return torch.rand(count, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", list(MODELS))
@torch.no_grad()
def test_keys_and_values_of_the_picture_are_computed_once(name: str) -> None:
    """In every block one projection of each picture's tokens, which the queries of all three planes share."""
    model: Any = MODELS[name]()
    asked: dict[str, list[tuple[int, ...]]] = {}

    def remember(module: str) -> Any:
        def hook(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            asked.setdefault(module, []).append(tuple(arguments[0].shape))

        return hook

    for module_name, module in model.named_modules():
        if "cross_attn." in module_name or module is model.encoder:
            module.register_forward_pre_hook(remember("encoder" if module is model.encoder else module_name))
    model.forward_planes(pictures(2))
    patches = (IMAGE_SIZE // 8) ** 2
    assert asked.pop("encoder") == [(2, 3, IMAGE_SIZE, IMAGE_SIZE)]
    blocks = model.config.num_hidden_layers
    for projection, tokens in (("k_proj", 1 + patches), ("v_proj", 1 + patches), ("q_proj", 3 * 4**2)):
        shapes = [shape for module, found in asked.items() if module.endswith(projection) for shape in found]
        assert shapes == blocks * [(2, tokens, 32)], projection


@pytest.mark.parametrize("name", list(MODELS))
@torch.no_grad()
def test_a_batch_is_its_pictures_one_by_one(name: str) -> None:
    model: Any = MODELS[name]()
    together = model.forward_planes(pictures(3))[0]
    scale = float(together.abs().max())
    assert float(together.std(dim=0).max()) > 0.01 * scale, "pictures matter"
    for i in range(3):
        alone = model.forward_planes(pictures(3)[i : i + 1])[0]
        # products of other shapes round otherwise, through four blocks
        torch.testing.assert_close(alone / scale, together[i : i + 1] / scale, atol=1e-5, rtol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("name", list(MODELS))
@torch.no_grad()
def test_a_cuda_graph_of_it(name: str) -> None:
    """With cameras that lie on the device already, nothing waits for the device or comes from elsewhere."""
    model: Any = MODELS[name]().cuda()
    cameras = orbit_cameras(2, elevation=10.0).to("cuda")
    static = pictures(2).cuda()
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            model.forward_planes(static, cameras)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = model.forward_planes(static, cameras)[0]
    static.copy_(pictures(2).flip(0))
    graph.replay()
    expected = model.forward_planes(static, cameras)[0]
    # the same kernels, save for libraries' choices that may differ while a graph is captured
    torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)
