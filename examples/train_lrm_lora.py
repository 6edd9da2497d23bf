#!/usr/bin/env python
# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Fine-tunes an LRM on objects of your own with a low-rank adapter: a small file, and the model itself stays as it is.

python -m lrm_hf.training.mesh_views MESH_DIR pool/mine
accelerate launch examples/train_lrm_lora.py --pool pool/mine --output_dir my-adapter

pipe = LRMPipeline.from_pretrained(...)  # the model that --model names
pipe.load_lora_weights("my-adapter")
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from peft import get_peft_model

from lrm_hf import LRMImageProcessor, LRMPipeline, bundled_model, lora_config
from lrm_hf.training.losses import occupancy_loss, psnr, surface_color_loss
from lrm_hf.training.optimization import cosine_schedule
from lrm_hf.training.view_pool import TrainingBatch, ViewPool


logger = logging.getLogger("train_lrm_lora")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", default=bundled_model(), help="pipeline to fine-tune, a directory or Hub repository")
    add("--pool", nargs="+", required=True, help="directories with rendered views (.npz)")
    add("--pool_weights", nargs="+", type=float, help="how often each is drawn from; default by size")
    add("--output_dir", required=True, help="where the adapter goes")
    add("--push_to_hub", metavar="REPO", help="upload the adapter there as well")
    adapter = parser.add_argument_group("adapter")
    adapter.add_argument("--target", choices=("decoder", "encoder", "all"), default="decoder", help="what is adapted")
    adapter.add_argument("--mlp", action="store_true", help="the blocks' MLPs too, not the attention alone")
    adapter.add_argument("--rank", type=int, default=8)
    adapter.add_argument("--alpha", type=float, help="default: the rank")
    adapter.add_argument("--use_rslora", action="store_true", help="scale by the rank's square root")
    adapter.add_argument("--use_dora", action="store_true", help="magnitudes apart from directions")
    run = parser.add_argument_group("training")
    run.add_argument("--max_train_steps", type=int, default=500)
    run.add_argument("--batch_size", type=int, default=8, help="objects per process and step")
    run.add_argument("--gradient_accumulation_steps", type=int, default=1)
    run.add_argument("--learning_rate", type=float, default=2e-3)
    run.add_argument("--warmup_steps", type=int, default=20)
    run.add_argument("--max_grad_norm", type=float, default=1.0)
    run.add_argument("--views", type=int, default=2, help="target views per object")
    run.add_argument("--crop", type=int, default=20, help="side of the target crops in pixels")
    run.add_argument("--scale", type=int, default=2, help="factor by which targets are averaged down")
    run.add_argument("--samples", type=int, default=20, help="samples per ray")
    run.add_argument("--points", type=int, default=2048, help="points per object with known occupancy")
    run.add_argument("--opacity_weight", type=float, default=0.3, help="of the silhouette's loss")
    run.add_argument("--occupancy_weight", type=float, default=0.1, help="of the points' loss")
    run.add_argument("--surface_weight", type=float, default=1.0, help="of the surface colours' loss")
    run.add_argument("--mixed_precision", choices=("no", "fp16", "bf16"), default="no")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--log_every", type=int, default=20)
    return parser.parse_args(argv)


def losses(model: Any, batch: TrainingBatch, args: argparse.Namespace, generator: torch.Generator) -> dict[str, Any]:
    """Each loss by name, weighted; the first is the mean squared error of the pixels."""
    output = model(
        batch.pixel_values,
        batch.source_cameras,
        batch.cameras,
        batch.images,
        background=batch.background,
        anchors=batch.anchors,
        full_size=batch.full_size,
        num_samples=args.samples,
        generator=generator,
    )
    field = getattr(model, "module", model).planes_to_field(output.planes)
    inside = (batch.points.abs() < field.config.radius).all(-1, keepdim=True)
    density, _ = field.query(batch.points)
    _, rgb = field.query(batch.surface)
    return {
        "pixel": output.loss,
        "opacity": args.opacity_weight * F.mse_loss(output.opacity, batch.opacity),
        "occupancy": args.occupancy_weight * occupancy_loss(density * inside, batch.occupied * inside),
        "surface": args.surface_weight * surface_color_loss(rgb, batch.surface_rgb, batch.surface_weight),
    }


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    accelerator = Accelerator(
        gradient_accumulation_steps=args.gradient_accumulation_steps, mixed_precision=args.mixed_precision
    )
    set_seed(args.seed)
    pipe = LRMPipeline.from_pretrained(args.model)
    pool = ViewPool(args.pool, args.pool_weights)
    processor = pipe.image_processor
    if processor.size != {"height": pool.size, "width": pool.size} or processor.background != 1.0:
        raise ValueError(
            f"--pool holds pictures of {pool.size} pixels on white, the model takes {processor.size} on "
            f"{processor.background}."
        )

    # the layers go into the pipeline's model: what is trained is what the pipeline saves
    config = lora_config(
        args.target, args.rank, args.alpha, mlp=args.mlp, use_rslora=args.use_rslora, use_dora=args.use_dora
    )
    model: Any = get_peft_model(pipe.model, config).train()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    share = sum(p.numel() for p in trainable) / pipe.model.num_parameters()
    logger.info("%d objects, %d parameters, %.1f %% of all", len(pool), sum(p.numel() for p in trainable), 100 * share)
    optimizer = torch.optim.AdamW(trainable, lr=args.learning_rate, weight_decay=0.0)
    schedule = cosine_schedule(args.warmup_steps, args.max_train_steps)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    model, optimizer = accelerator.prepare(model, optimizer)

    running: dict[str, float] = {}
    for step in range(args.max_train_steps):
        for micro_step in range(args.gradient_accumulation_steps):
            seed = ((args.seed * 1_000_003 + step) * 64 + micro_step) * 256 + accelerator.process_index
            generator = torch.Generator().manual_seed(seed)
            batch = pool.draw(
                args.batch_size, generator, views=args.views, crop=args.crop, scale=args.scale, points=args.points
            )
            batch.pixel_values = as_processed(batch.pixel_values, processor)
            batch = to_device(batch, accelerator.device)
            with accelerator.accumulate(model):
                parts = losses(model, batch, args, generator)
                accelerator.backward(sum(parts.values()))
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(trainable, args.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
            for name, value in parts.items():
                running[name] = running.get(name, 0.0) + float(value.detach())
        scheduler.step()
        if (step + 1) % args.log_every == 0 and accelerator.is_main_process:
            means = {name: value / args.log_every / args.gradient_accumulation_steps for name, value in running.items()}
            quality = psnr(torch.zeros(1, 1, 1), torch.full((1, 1, 1), means["pixel"] ** 0.5))
            values = " ".join(f"{name} {value:.4f}" for name, value in means.items())
            logger.info("step %d loss %.4f %s psnr %.2f", step + 1, sum(means.values()), values, quality)
            running = {}

    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        upload = {"push_to_hub": True, "repo_id": args.push_to_hub} if args.push_to_hub else {}
        pipe.save_lora_weights(args.output_dir, **upload)
        logger.info("wrote %s", args.output_dir)


def as_processed(pictures: torch.Tensor, processor: LRMImageProcessor) -> torch.Tensor:
    """What the image processor does to pictures in [0, 1] that are cut out, framed and sized already."""
    if not processor.do_normalize:
        return pictures
    mean, std = (torch.tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std))
    return (pictures - mean) / std


def to_device(batch: TrainingBatch, device: torch.device) -> TrainingBatch:
    values = {name: value.to(device) if hasattr(value, "to") else value for name, value in vars(batch).items()}
    return TrainingBatch(**values)


if __name__ == "__main__":
    main()
