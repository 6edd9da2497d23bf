# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The flags that training scripts share, and what is made of those of the losses."""

from __future__ import annotations

import argparse

from .objective import LossWeights, Objective
from .source_frame import FRAMES


def positive_integer(text: str) -> int:
    """The type of flags that count something, which there must be at least one of."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def add_run_arguments(
    parser: argparse.ArgumentParser,
    *,
    max_train_steps: int,
    warmup_steps: int,
    learning_rate: float,
    ema_decay: float,
    log_every: int,
    save_every: int,
    sample_every: int,
) -> None:
    """Flags of data, training, states and logs: what `TrainingRun` reads. The keywords are defaults of the flags of
    their names."""
    data = parser.add_argument_group("data")
    data.add_argument(
        "--pool", nargs="+", required=True, help="directories of any layout in docs/training_data.md, or `procedural`"
    )
    data.add_argument("--pool_weights", nargs="+", type=float, help="how often each is drawn from; default by size")
    data.add_argument("--limit", type=positive_integer, help="use at most this many objects of each directory")
    data.add_argument(
        "--picture_size", type=positive_integer, help="side of the pictures in pixels; default as they are"
    )
    data.add_argument("--frame", choices=FRAMES, default="world", help="how an object is turned by its source view")
    data.add_argument("--source_distance", type=float, help="scenes are scaled to have their source camera there")
    data.add_argument("--own_view", type=float, default=0.25, help="share of objects whose source is a target too")
    data.add_argument("--mirror", type=float, default=0.5, help="share of objects mirrored left to right")
    data.add_argument("--recolor", type=float, default=0.3, help="share of objects with permuted colour channels")
    data.add_argument("--white", type=float, default=0.5, help="share of targets on white, the others on any colour")
    data.add_argument("--foreground", type=float, default=0.7, help="share of crops that are centred on the object")
    data.add_argument(
        "--dataloader_num_workers",
        type=int,
        default=0,
        help="processes that draw batches ahead, the same ones; 0: the training process draws them",
    )
    data.add_argument("--validation_pool", nargs="+", help="directories with held-out objects")
    data.add_argument("--validation_objects", type=positive_integer, default=8, help="how many of them are looked at")
    data.add_argument("--output_dir", required=True, help="where results, states, sheets and logs go")

    run = parser.add_argument_group("training")
    run.add_argument("--max_train_steps", type=positive_integer, default=max_train_steps)
    run.add_argument("--batch_size", type=positive_integer, default=8, help="objects per process and batch")
    run.add_argument("--gradient_accumulation_steps", type=positive_integer, default=1, help="batches per step")
    run.add_argument("--views", type=positive_integer, default=2, help="target views per object")
    run.add_argument("--crop", type=positive_integer, default=20, help="side of the target crops in pixels")
    run.add_argument("--samples", type=positive_integer, default=20, help="samples per ray in training")
    run.add_argument("--points", type=positive_integer, default=2048, help="points per object with known occupancy")
    run.add_argument("--learning_rate", type=float, default=learning_rate, help="of AdamW")
    run.add_argument("--warmup_steps", type=int, default=warmup_steps, help="then a cosine to 2 %% of the rate")
    run.add_argument("--max_grad_norm", type=float, default=1.0, help="gradients are scaled down to this norm")
    run.add_argument("--ema_decay", type=float, default=ema_decay, help="of the averaged weights; 0: the last ones")
    run.add_argument("--mixed_precision", choices=("no", "fp16", "bf16"), default="no")
    run.add_argument(
        "--allow_tf32", action="store_true", help="NVIDIA GPUs: matrix products with operands of 10 bits, much faster"
    )
    run.add_argument("--gradient_checkpointing", action="store_true", help="less memory, a third more time")
    run.add_argument("--seed", type=int, default=0)

    log = parser.add_argument_group("states and logs")
    log.add_argument("--log_every", type=positive_integer, default=log_every, metavar="STEPS")
    log.add_argument(
        "--save_every", type=positive_integer, default=save_every, metavar="STEPS", help="between states to resume from"
    )
    log.add_argument("--keep_states", type=positive_integer, default=2, help="how many of the latest stay")
    log.add_argument(
        "--sample_every",
        type=int,
        default=sample_every,
        metavar="STEPS",
        help="between validations: a sheet of renders and a score, of the pool's own objects if no others are given; "
        "0: never",
    )
    log.add_argument(
        "--report_to", choices=("tensorboard", "wandb", "none"), help="tracker; default tensorboard if installed"
    )
    log.add_argument("--push_to_hub", metavar="REPO", help="upload the result there as well")


def add_loss_arguments(parser: argparse.ArgumentParser, *, variation_weight: float) -> None:
    """Flags of the losses: what `build_objective` reads."""
    losses = parser.add_argument_group("losses (each is logged by its name; weight 0: it is not computed)")
    losses.add_argument("--pixel_loss", choices=("mse", "l1"), default="mse", help="squared or absolute error")
    losses.add_argument("--pixel_weight", type=float, default=1.0, help="colours of the crops")
    losses.add_argument(
        "--opacity_loss", choices=("mse", "bce", "iou"), default="mse", help="see `losses.opacity_loss`"
    )
    losses.add_argument("--opacity_weight", type=float, default=0.3, help="silhouette")
    losses.add_argument("--perceptual_weight", type=float, default=0.0, help="LPIPS, or a backbone's features")
    losses.add_argument(
        "--perceptual_backbone", metavar="DIR_OR_REPO", help="vision model whose features are compared; default LPIPS"
    )
    losses.add_argument("--depth_weight", type=float, default=0.0, help="depth of the crops")
    losses.add_argument("--entropy_weight", type=float, default=0.0, help="opacities between 0 and 1")
    losses.add_argument("--occupancy_weight", type=float, default=0.1, help="points of known occupancy")
    losses.add_argument("--surface_weight", type=float, default=1.0, help="colour of points on surfaces")
    losses.add_argument("--variation_weight", type=float, default=variation_weight, help="total variation on planes")


def build_objective(args: argparse.Namespace) -> Objective:
    """From the flags of `add_loss_arguments`, and `samples`."""
    names = LossWeights.__dataclass_fields__
    weights = LossWeights(**{name: getattr(args, f"{name}_weight") for name in names})
    return Objective(weights, args.pixel_loss, args.opacity_loss, args.perceptual_backbone, args.samples)
