#!/usr/bin/env python
# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Makes a larger model that starts where a trained one has come to (Chen et al., "Net2Net", ICLR 2016).

    python examples/grow_model.py run/pipeline run/larger --width 2 --decoder_layers 6 --encoder_layers 6
    python examples/train_lrm.py --init_from run/larger/model ...

Transformers become wider: each unit stands there several times, and weights from it are split among its copies in
unequal parts, so that they part ways in training. They become deeper: new blocks, spread evenly, add nothing to begin
with. Until here the model computes what it did, but for rounding. With `--tokens 2` each plane has twice as many tokens
along each side, at places between which positions are interpolated; planes keep their number of texels, and what they
hold becomes smoother, which some hundred steps mend.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrm_hf import LRMConfig, LRMModel, LRMPipeline


# not made of the units that are copied
NARROW = ("camera_embedder.", "pixel_lift.", "field_mlp.")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("pipeline", help="directory or Hub repository of an LRM with a ViT encoder and modulated blocks")
    add("output", type=Path, help="directory for the larger one")
    add("--width", type=int, default=1, help="factor on the widths of encoder and decoder")
    add("--decoder_layers", type=int, help="default as they are; otherwise at least as many")
    add("--encoder_layers", type=int, help="default as they are; otherwise at least as many")
    add("--tokens", type=int, choices=(1, 2), default=1, help="factor on the plane tokens along each side")
    add("--seed", type=int, default=0)
    return parser.parse_args(argv)


def grown_config(config: LRMConfig, args: argparse.Namespace) -> LRMConfig:
    values = config.to_dict()
    encoder = values["encoder_config"]
    if encoder["model_type"] != "vit" or config.decoder_block != "condition_modulation" or not config.lift_samples:
        raise ValueError("`pipeline` must have a ViT encoder, modulated blocks and picture features in its planes.")
    for part, layers, name in ((values, args.decoder_layers, "decoder"), (encoder, args.encoder_layers, "encoder")):
        layers = layers or part["num_hidden_layers"]
        if layers < part["num_hidden_layers"]:
            raise ValueError(f"--{name}_layers must be at least {part['num_hidden_layers']}, got {layers}.")
        part["num_hidden_layers"] = layers
        part["hidden_size"] *= args.width
        part["num_attention_heads"] *= args.width
    encoder["intermediate_size"] *= args.width
    intermediate = args.width * int(config.hidden_size * config.mlp_ratio)
    values["mlp_ratio"] = intermediate / values["hidden_size"]
    if int(values["hidden_size"] * values["mlp_ratio"]) != intermediate:
        values["mlp_ratio"] = math.nextafter(values["mlp_ratio"], math.inf)
    if values["lift_upscale"] % args.tokens:
        raise ValueError(f"--tokens {args.tokens} does not divide the lift_upscale of {values['lift_upscale']}.")
    values["triplane_low_res"] *= args.tokens
    values["lift_upscale"] //= args.tokens
    return LRMConfig(**values)


def wider_outputs(name: str, value: Tensor, width: int) -> Tensor:
    """Copies the units that come out: they are a weight's first dimension, but for `pos_embed` and the like."""
    if name.endswith(("pos_embed", "position_embeddings", "cls_token")):
        return value.repeat(1, 1, width)
    if "token_lift.mix" in name:  # one layer for each plane
        return value.repeat(1, width, *[1] * (value.ndim - 2))
    if ".modulation." in name:  # shift and scale
        return torch.cat([half.repeat(width, *[1] * (value.ndim - 1)) for half in value.chunk(2)])
    return value.repeat(width, *[1] * (value.ndim - 1))


def split_inputs(value: Tensor, width: int, dim: int, generator: torch.Generator) -> Tensor:
    """Weights of copied units: shares that add up to what they were, and differ by as much as they are large."""
    noise = torch.stack([torch.randn(value.shape, generator=generator) for _ in range(width)])
    noise = (noise - noise.mean(dim=0)) * value.square().mean().sqrt() / width
    return torch.cat((value / width + noise).unbind(), dim=dim)


def widened(state: dict[str, Tensor], width: int, generator: torch.Generator) -> dict[str, Tensor]:
    """The state of a model whose encoder and decoder are `width` times as wide."""
    result = {}
    for name, value in state.items():
        if width > 1 and not name.startswith(NARROW):
            to_units = not name.startswith(("upsampler.", "token_lift.squeeze."))
            matrix = value.ndim == 2 and ".modulation." not in name and not name.startswith("token_lift.mix.")
            if name == "upsampler.weight":
                value = split_inputs(value, width, 0, generator)
            elif matrix:
                value = split_inputs(value, width, 1, generator)
            if to_units:
                value = wider_outputs(name, value, width)
        result[name] = value
    return result


def deepened(state: dict[str, Tensor], fresh: dict[str, Tensor], prefix: str, old: int, new: int) -> dict[str, Tensor]:
    """Blocks of `state` spread evenly over `new` places; what lies between is fresh, and adds nothing."""
    places = [(2 * i + 1) * new // (2 * old) for i in range(old)]
    result = {name: value for name, value in state.items() if not name.startswith(prefix)}
    for place in range(new):
        for name, value in fresh.items():
            head = f"{prefix}{place}."
            if not name.startswith(head):
                continue
            rest = name.removeprefix(head)
            if place in places:
                value = state[f"{prefix}{places.index(place)}.{rest}"]
            elif rest.removesuffix(".weight").removesuffix(".bias").endswith(("out_proj", "o_proj", "fc2")):
                value = torch.zeros_like(value)
            result[name] = value
    return result


def refined(state: dict[str, Tensor], side: int, factor: int) -> dict[str, Tensor]:
    """`factor` times as many tokens along each side of the planes, each of which stands for texels that are closer."""
    positions = state["pos_embed"].unflatten(1, (3, side, side))[0].permute(0, 3, 1, 2)
    positions = F.interpolate(positions, scale_factor=factor, mode="bilinear", align_corners=False)
    kernel = state["upsampler.weight"]
    mean = kernel.mean(dim=(2, 3), keepdim=True)
    return state | {
        "pos_embed": positions.permute(0, 2, 3, 1).flatten(0, 2)[None],
        "upsampler.weight": mean + (kernel - mean) / factor,
    }


@torch.no_grad()
def grow(model: LRMModel, args: argparse.Namespace) -> LRMModel:
    """
    Raises:
        ValueError: if the model is of another kind, or would become smaller.
    """
    generator = torch.Generator().manual_seed(args.seed)
    torch.manual_seed(args.seed)
    config: Any = model.config
    larger = LRMModel(grown_config(config, args))
    fresh = larger.state_dict()
    state = widened(model.state_dict(), args.width, generator)
    for prefix, old, new in (
        ("decoder.layers.", config.num_hidden_layers, larger.config.num_hidden_layers),
        (
            "encoder.layers.",
            config.encoder_config.num_hidden_layers,
            larger.config.encoder_config.num_hidden_layers,
        ),
    ):
        state = deepened(state, fresh, prefix, old, new)
    if args.tokens > 1:
        state = refined(state, config.triplane_low_res, args.tokens)
    larger.load_state_dict(state)
    return larger


def main(argv: Sequence[str] | None = None) -> nn.Module:
    args = parse_args(argv)
    pipe = LRMPipeline.from_pretrained(args.pipeline)
    larger = grow(pipe.model, args)
    LRMPipeline(larger, pipe.image_processor).save_pretrained(args.output)
    print(f"{pipe.model.num_parameters():,} parameters to {larger.num_parameters():,}")
    return larger


if __name__ == "__main__":
    main()
