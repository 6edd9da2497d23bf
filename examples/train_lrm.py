#!/usr/bin/env python
# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Trains an LRM on objects that were rendered ahead, and writes a pipeline directory that loads.

    python -m lrm_hf.training.mesh_views MESH_DIR pool/real
    python -m lrm_hf.training.procedural pool/procedural --num-objects 3000
    accelerate launch examples/train_lrm.py --pool pool/real pool/procedural --output_dir my-lrm

The default architecture is that of the bundled model; `--config` takes another `LRMConfig` as JSON. A run that was
interrupted goes on from its last state when the same command is given again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, set_seed
from PIL import Image
from torch.optim.swa_utils import AveragedModel

from lrm_hf import LRMConfig, LRMImageProcessor, LRMModel, orbit_cameras, render
from lrm_hf.files import replacing
from lrm_hf.training.losses import occupancy_loss, plane_variation_loss, psnr, surface_color_loss
from lrm_hf.training.optimization import build_optimizers, cosine_schedule
from lrm_hf.training.view_pool import TrainingBatch, ViewPool


logger = logging.getLogger("train_lrm")

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


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = parser.add_argument_group("data")
    data.add_argument("--pool", nargs="+", required=True, help="directories with rendered views (.npz)")
    data.add_argument("--pool_weights", nargs="+", type=float, help="how often each is drawn from; default by size")
    data.add_argument("--limit", type=int, help="use at most this many objects of each directory")
    model = parser.add_argument_group("model")
    model.add_argument("--config", help="LRMConfig as a JSON file; default: the bundled model's architecture")
    model.add_argument("--init_from", help="start from the weights of this model directory or Hub repository")
    model.add_argument("--output_dir", required=True, help="where states, samples and the final pipeline go")
    run = parser.add_argument_group("training")
    run.add_argument("--max_train_steps", type=int, default=10000)
    run.add_argument("--batch_size", type=int, default=8, help="objects per process and step")
    run.add_argument("--gradient_accumulation_steps", type=int, default=1)
    run.add_argument("--views", type=int, default=2, help="target views per object")
    run.add_argument("--crop", type=int, default=20, help="side of the target crops in pixels")
    run.add_argument(
        "--scales", nargs="+", type=int, default=[2, 1], help="target downscaling, in equal parts of the run"
    )
    run.add_argument(
        "--lift_upscales",
        nargs="+",
        type=int,
        help="the config's lift_upscale in equal parts of the run; small ones "
        "are cheaper, and the last should be the config's own (default: that alone)",
    )
    run.add_argument("--samples", type=int, default=20, help="samples per ray in training")
    run.add_argument("--points", type=int, default=2048, help="points per object with known occupancy")
    run.add_argument("--learning_rate", type=float, default=2e-3, help="AdamW")
    run.add_argument(
        "--muon_learning_rate", type=float, default=5e-3, help="Muon, for the blocks' matrices; 0 turns it off"
    )
    run.add_argument("--weight_decay", type=float, default=0.01)
    run.add_argument("--warmup_steps", type=int, default=100)
    run.add_argument("--max_grad_norm", type=float, default=1.0)
    run.add_argument("--ema_decay", type=float, default=0.998)
    run.add_argument("--mixed_precision", choices=("no", "fp16", "bf16"), default="no")
    run.add_argument("--gradient_checkpointing", action="store_true")
    run.add_argument("--seed", type=int, default=0)
    weights = parser.add_argument_group("losses")
    weights.add_argument("--opacity_weight", type=float, default=0.3, help="silhouette")
    weights.add_argument("--occupancy_weight", type=float, default=0.1, help="points of known occupancy")
    weights.add_argument("--surface_weight", type=float, default=1.0, help="colour of points on surfaces")
    weights.add_argument(
        "--final_point_weight", type=float, default=0.3, help="factor on the two losses of points at the end of the run"
    )
    weights.add_argument("--variation_weight", type=float, default=1e-4, help="total variation on planes")
    log = parser.add_argument_group("states and logs")
    log.add_argument("--log_every", type=int, default=50)
    log.add_argument("--save_every", type=int, default=500, help="steps between states to resume from")
    log.add_argument("--sample_every", type=int, default=1000, help="steps between sheets of renders")
    return parser.parse_args()


def warming_average(decay: float):
    """Exponential average whose memory grows with the number of updates, so that it forgets the initial weights."""

    def average(old: torch.Tensor, new: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        return old.lerp(new, 1 - min(decay, (1 + float(count)) / (10 + float(count))))

    return average


def stage(values: list[int], step: int, steps: int) -> int:
    """The value whose turn it is, where each has an equal part of the run."""
    return values[min(len(values) - 1, step * len(values) // steps)]


def normalize(pictures: torch.Tensor) -> torch.Tensor:
    """What the image processor does to pictures in [0, 1]."""
    mean, std = (torch.tensor(values, device=pictures.device)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
    return (pictures - mean) / std


def losses(
    model, batch: TrainingBatch, args: argparse.Namespace, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Each loss by name, unweighted."""
    output = model(
        normalize(batch.pixel_values),
        batch.source_cameras,
        batch.cameras,
        batch.images,
        background=batch.background,
        anchors=batch.anchors,
        full_size=batch.full_size,
        num_samples=args.samples,
        generator=generator,
        chunk_size=2**30,
    )
    inner = model.module if hasattr(model, "module") else model
    field = inner.planes_to_field(output.planes)
    inside = (batch.points.abs() < field.config.radius).all(-1, keepdim=True)
    density, _ = field.query(batch.points)
    _, rgb = field.query(batch.surface)
    return {
        "pixel": output.loss,
        "opacity": torch.nn.functional.mse_loss(output.opacity, batch.opacity),
        "occupancy": occupancy_loss(density * inside, batch.occupied * inside),
        "surface": surface_color_loss(rgb, batch.surface_rgb, batch.surface_weight),
        "variation": plane_variation_loss(field),
    }


@torch.no_grad()
def write_sheet(model: LRMModel, batch: TrainingBatch, path: Path) -> None:
    """Source pictures, and what the model makes of them from five sides."""
    model.eval()
    field = model.encode(normalize(batch.pixel_values), batch.source_cameras)
    height, width = batch.pixel_values.shape[-2:]
    cameras = orbit_cameras(azimuths=[0.0, 30.0, 60.0, 120.0, 180.0], elevation=20.0)
    views = render(field, cameras, height, width).images
    rows = torch.cat([batch.pixel_values[:, None], views], dim=1)  # [batch, 6, 3, height, width]
    sheet = rows.permute(0, 3, 1, 4, 2).reshape(rows.shape[0] * rows.shape[3], -1, 3)
    Image.fromarray((sheet.clamp(0, 1) * 255).round().byte().cpu().numpy()).save(path)
    model.train()


def main() -> None:
    args = parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    output_dir = Path(args.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        mixed_precision=args.mixed_precision,
        project_config=ProjectConfiguration(
            project_dir=str(output_dir), automatic_checkpoint_naming=True, total_limit=2
        ),
    )
    set_seed(args.seed)
    if args.init_from:
        model = LRMModel.from_pretrained(args.init_from)
    else:
        config = json.loads(Path(args.config).read_text()) if args.config else SMALL_CONFIG
        model = LRMModel(LRMConfig(**config))
    lift_upscales = args.lift_upscales or [model.config.lift_upscale]
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    model.train()
    ema = AveragedModel(model, avg_fn=warming_average(args.ema_decay)).to(accelerator.device)
    optimizers = build_optimizers(model, args.learning_rate, args.muon_learning_rate or None, args.weight_decay)
    schedule = cosine_schedule(args.warmup_steps, args.max_train_steps)
    schedulers = [torch.optim.lr_scheduler.LambdaLR(optimizer, schedule) for optimizer in optimizers]
    model = accelerator.prepare(model)
    optimizers = [accelerator.prepare(optimizer) for optimizer in optimizers]
    accelerator.register_for_checkpointing(ema, *schedulers)
    pool = ViewPool(args.pool, args.pool_weights, args.limit)
    logger.info(
        "%d objects, %.2f M parameters", len(pool), sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6
    )

    step = 0
    progress_file = output_dir / "progress.json"
    if progress_file.exists():
        progress = json.loads(progress_file.read_text())
        accelerator.load_state(str(output_dir / progress["state"]))
        step = progress["step"]
        accelerator.project_configuration.iteration = progress["iteration"]
        logger.info("resumed at step %d", step)

    weights = {"pixel": 1.0, "opacity": args.opacity_weight, "variation": args.variation_weight}
    running: dict[str, float] = {}
    started = time.time()
    first = step
    while step < args.max_train_steps:
        scale = stage(args.scales, step, args.max_train_steps)
        accelerator.unwrap_model(model).config.lift_upscale = stage(lift_upscales, step, args.max_train_steps)
        weights["occupancy"], weights["surface"] = (
            weight * (1 + (args.final_point_weight - 1) * step / args.max_train_steps)
            for weight in (args.occupancy_weight, args.surface_weight)
        )
        for micro_step in range(args.gradient_accumulation_steps):
            # every step has its own seed, so that a resumed run sees what an uninterrupted one would have seen
            seed = ((args.seed * 1_000_003 + step) * 64 + micro_step) * 256 + accelerator.process_index
            generator = torch.Generator().manual_seed(seed)
            batch = pool.draw(
                args.batch_size, generator, views=args.views, crop=args.crop, scale=scale, points=args.points
            )
            batch = move(batch, accelerator.device)
            with accelerator.accumulate(model):
                parts = losses(model, batch, args, generator)
                loss = sum(weights[name] * value for name, value in parts.items())
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(model.parameters(), args.max_grad_norm)
                    if not torch.isfinite(norm):
                        raise SystemExit(f"the gradient is not finite at step {step}: lower the learning rate.")
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
            for name, value in {**parts, "loss": loss, "grad_norm": norm}.items():
                running[name] = running.get(name, 0.0) + float(value.detach())
        for scheduler in schedulers:
            scheduler.step()
        ema.update_parameters(accelerator.unwrap_model(model))
        step += 1

        if step % args.log_every == 0 and accelerator.is_main_process:
            means = {
                name: value / (args.log_every * args.gradient_accumulation_steps) for name, value in running.items()
            }
            rate = (step - first) * args.batch_size * args.gradient_accumulation_steps / (time.time() - started)
            logger.info(
                "step %d scale %d lr %.2e %s psnr %.2f, %.1f objects/s",
                step,
                scale,
                schedulers[0].get_last_lr()[0],
                " ".join(f"{name} {value:.4f}" for name, value in means.items()),
                float(psnr(torch.zeros(1, 1, 1), torch.full((1, 1, 1), means["pixel"] ** 0.5))),
                rate,
            )
            running = {}
        if step % args.save_every == 0 or step == args.max_train_steps:
            state = accelerator.save_state(safe_serialization=False)
            if accelerator.is_main_process:
                record = {
                    "step": step,
                    "state": os.path.relpath(state, output_dir),
                    "iteration": accelerator.project_configuration.iteration,
                }
                with replacing(progress_file) as temporary:
                    temporary.write_text(json.dumps(record))
        if (step % args.sample_every == 0 or step == args.max_train_steps) and accelerator.is_main_process:
            fixed = pool.draw(8, torch.Generator().manual_seed(12345), views=1)
            write_sheet(ema.module, move(fixed, accelerator.device), output_dir / f"sheet_{step:06d}.png")

    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        from lrm_hf import LRMPipeline

        processor = LRMImageProcessor(
            size={"height": pool.size, "width": pool.size},
            foreground_ratio=FOREGROUND_RATIO,
            do_normalize=True,
            image_mean=IMAGE_MEAN,
            image_std=IMAGE_STD,
        )
        LRMPipeline(ema.module.eval(), processor).save_pretrained(output_dir / "pipeline")
        logger.info("wrote %s", output_dir / "pipeline")


def move(batch: TrainingBatch, device: torch.device) -> TrainingBatch:
    values = {name: value.to(device) if hasattr(value, "to") else value for name, value in vars(batch).items()}
    return TrainingBatch(**values)


if __name__ == "__main__":
    main()
