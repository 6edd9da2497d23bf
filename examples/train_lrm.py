#!/usr/bin/env python
# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Trains an LRM on objects that were rendered ahead, from scratch or from given weights, and writes a pipeline
directory that loads.

    python -m lrm_hf.training.mesh_views MESH_DIR pool/real
    python -m lrm_hf.training.procedural pool/procedural --num-objects 3000
    accelerate launch examples/train_lrm.py --pool pool/real pool/procedural --output_dir my-lrm

The default architecture is that of the bundled model; `--config` takes another `LRMConfig` as JSON. Settings may stand
in a YAML file (`--yaml`). A run that was interrupted goes on from its last state when the same command is given again.
`my-lrm/pipeline` is the last result, `my-lrm/best` the one that was best on the objects of `--validation_pool`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lrm_hf import LRMConfig, LRMImageProcessor, LRMModel, LRMPipeline
from lrm_hf.files import read_json
from lrm_hf.training.arguments import add_loss_arguments, add_run_arguments, build_objective
from lrm_hf.training.configuration import parse_settings
from lrm_hf.training.optimization import build_optimizers
from lrm_hf.training.run import TrainingRun


# the bundled model: small enough for a CPU, with picture features lifted into the planes
SMALL_CONFIG = {
    "encoder_config": {
        "model_type": "vit",
        "hidden_size": 96,
        "intermediate_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 128,
        "patch_size": 8,
        "initializer_range": 0.06,
    },
    "field_config": {
        "channels": 24,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "hidden_act": "silu",
        "density_activation": "exp",
        "sampling": "uniform",
        "num_samples": 64,
        "density_threshold": 4.0,
    },
    "image_size": 128,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "camera_embed_dim": 64,
    "triplane_low_res": 8,
    "lift_samples": 8,
    "lift_channels": 16,
    "lift_planes": [0, 1, 2],
    "lift_upscale": 3,
    "source_camera_elevation": 20.0,
    "initializer_range": 0.06,
}
# white, the background, becomes zero: what lies outside of a picture looks like background to convolutions and lifts
IMAGE_MEAN, IMAGE_STD = [1.0, 1.0, 1.0], [0.5, 0.5, 0.5]
# median share of the picture's side that the objects of the pools take
FOREGROUND_RATIO = 0.65


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_run_arguments(
        parser,
        max_train_steps=10000,
        warmup_steps=100,
        learning_rate=2e-3,
        ema_decay=0.998,
        log_every=50,
        save_every=500,
        sample_every=1000,
    )
    add_loss_arguments(parser, variation_weight=1e-4)
    add = parser.add_argument_group("model").add_argument
    add("--config", help="LRMConfig as a JSON file; default: the bundled model's architecture")
    add("--init_from", help="start from the weights of this model directory or Hub repository")
    add = parser.add_argument_group("training from scratch").add_argument
    add("--scales", nargs="+", type=int, default=[2, 1], help="target downscaling, in equal parts of the run")
    add(
        "--lift_upscales",
        nargs="+",
        type=int,
        help="the config's lift_upscale in equal parts of the run; small ones are cheaper, and the last should be the "
        "config's own (default: that alone)",
    )
    add("--muon_learning_rate", type=float, default=5e-3, help="Muon, for the blocks' matrices; 0: AdamW for all")
    add("--weight_decay", type=float, default=0.01, help="of matrices and kernels; biases, norms, embeddings have none")
    add("--final_point_weight", type=float, default=0.3, help="factor on the losses of points at the end of the run")
    return parse_settings(parser, argv)


def stage(values: list[int], step: int, steps: int) -> int:
    """The value whose turn it is, where each has an equal part of the run."""
    return values[min(len(values) - 1, step * len(values) // steps)]


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    run = TrainingRun(args, "train_lrm")
    if args.init_from:
        model = LRMModel.from_pretrained(args.init_from)
    else:
        model = LRMModel(LRMConfig(**(read_json(args.config) if args.config else SMALL_CONFIG)))
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    model.train()
    processor = LRMImageProcessor(
        size={"height": run.pool.size, "width": run.pool.size},
        foreground_ratio=FOREGROUND_RATIO,
        do_normalize=True,
        image_mean=IMAGE_MEAN,
        image_std=IMAGE_STD,
    )
    lift_upscales = args.lift_upscales or [model.config.lift_upscale]
    optimizers = build_optimizers(model, args.learning_rate, args.muon_learning_rate or None, args.weight_decay)
    objective = build_objective(args)

    def write_pipeline(model: LRMModel, directory: Path) -> None:
        LRMPipeline(model, processor).save_pretrained(directory)

    def scale(step: int) -> int:
        return stage(args.scales, step, args.max_train_steps)

    run.prepare(model, optimizers, processor, write_pipeline, scale)
    for step in run.steps():
        run.plain.config.lift_upscale = stage(lift_upscales, step, args.max_train_steps)
        objective.point_factor = 1 + (args.final_point_weight - 1) * step / args.max_train_steps
        for batch, generator in run.batches():
            with run.accumulate():
                loss, parts = objective(run.model, batch, generator)
                run.descend(loss, parts)
        run.finish_step(step, scale=scale(step))

    run.plain.config.lift_upscale = lift_upscales[-1]  # also where there were fewer steps than parts of the run
    directory = run.finish("pipeline")
    if args.push_to_hub and run.accelerator.is_main_process:
        LRMPipeline.from_pretrained(directory).push_to_hub(args.push_to_hub)


if __name__ == "__main__":
    main()
