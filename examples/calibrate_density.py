#!/usr/bin/env python
# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Scales a trained model's densities so that its silhouettes of new objects are right, and saves the pipeline.

    python -m lrm_hf.training.procedural pool/held --num-objects 60 --sources 1 --targets 8 --seed 99
    python examples/calibrate_density.py my-lrm/pipeline --pool pool/held

A model is surer of the shapes that it was trained on than it should be of new ones: there its opacities are too high.
One number mends that, as temperature scaling does for classifiers (Guo et al. 2017): an offset to the field's
`density_bias`, the one with the best mask IoU (PSNR, printed beside it, would go on towards fog). The pool must hold
objects that were not trained on. For `exp` densities `density_threshold` is scaled along, so that meshes stay as
they are.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import math
import tempfile
from pathlib import Path

import torch

from lrm_hf import LRMPipeline, render
from lrm_hf.evaluation.images import mask_iou
from lrm_hf.training.losses import psnr
from lrm_hf.training.view_pool import ViewPool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", help="directory of the pipeline; its config is changed")
    parser.add_argument("--pool", nargs="+", required=True, help="views of objects that were not trained on")
    parser.add_argument("--offsets", nargs="+", type=float, default=[0.0, -0.1, -0.2, -0.3, -0.4, -0.5])
    parser.add_argument("--objects", type=int, default=60, help="draws from the pool")
    parser.add_argument("--views", type=int, default=4, help="views of each, apart from the source's")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


@torch.no_grad()
def scores(
    pipe: LRMPipeline, pool: ViewPool, offsets: list[float], objects: int, views: int, seed: int
) -> list[tuple[float, float]]:
    """Mean mask IoU, and mean PSNR in dB on white, over novel views for each offset."""
    processor, config = pipe.image_processor, pipe.model.config.field_config
    mean, std = (torch.tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std))
    generator = torch.Generator().manual_seed(seed)
    totals = torch.zeros(len(offsets), 2)
    for _ in range(objects):
        batch = pool.draw(
            1, generator, views=views, crop=pool.size, points=1, own_view=0.0, mirror=0.0, recolor=0.0, white=1.0
        )
        field = pipe.model.encode((batch.pixel_values - mean) / std, batch.source_cameras)
        for i, offset in enumerate(offsets):
            changed = copy.deepcopy(config)
            changed.density_bias += offset
            seen = render(dataclasses.replace(field, config=changed), batch.cameras, pool.size, pool.size)
            overlap = mask_iou(seen.opacity[0], batch.opacity[0])
            totals[i] += torch.stack([overlap.mean(), psnr(seen.images.clamp(0, 1), batch.images).mean()])
    return [(overlap, decibels) for overlap, decibels in (totals / objects).tolist()]


def main() -> None:
    args = parse_args()
    pipe = LRMPipeline.from_pretrained(args.pipeline)
    pipe.set_progress_bar_config(disable=True)
    found = scores(pipe, ViewPool(args.pool), args.offsets, args.objects, args.views, args.seed)
    for offset, (overlap, decibels) in zip(args.offsets, found, strict=True):
        print(f"offset {offset:+.2f}: mask IoU {overlap:.4f}, {decibels:.3f} dB", flush=True)
    best = args.offsets[found.index(max(found))]
    config = pipe.model.config.field_config
    config.density_bias = round(config.density_bias + best, 6)
    if config.density_activation == "exp":
        config.density_threshold = round(config.density_threshold * math.exp(best), 4)
    # only the model's config.json is another; it is replaced in one step
    with tempfile.TemporaryDirectory(dir=args.pipeline) as temporary:
        pipe.model.config.save_pretrained(temporary)
        (Path(temporary) / "config.json").replace(Path(args.pipeline) / "model" / "config.json")
    print(f"density_bias {config.density_bias}, density_threshold {config.density_threshold}")


if __name__ == "__main__":
    main()
