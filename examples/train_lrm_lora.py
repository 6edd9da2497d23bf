#!/usr/bin/env python
# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Fine-tunes an LRM on objects of your own with a low-rank adapter: a small file, and the model itself stays as it is.

    python -m lrm_hf.training.mesh_views MESH_DIR pool/mine
    accelerate launch examples/train_lrm_lora.py --pool pool/mine --output_dir my-adapter

    pipe = LRMPipeline.from_pretrained(...)  # the model that --model names
    pipe.load_lora_weights("my-adapter")

Settings may stand in a YAML file (`--yaml`). A run that was interrupted goes on from its last state when the same
command is given again. `my-adapter/best` is the adapter that was best on the objects of `--validation_pool`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model

from lrm_hf import LRMPipeline, bundled_model, lora_config
from lrm_hf.training.arguments import add_loss_arguments, add_run_arguments, build_objective
from lrm_hf.training.configuration import parse_settings
from lrm_hf.training.run import TrainingRun


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_run_arguments(
        parser,
        max_train_steps=500,
        warmup_steps=20,
        learning_rate=2e-3,
        ema_decay=0.99,
        log_every=20,
        save_every=100,
        sample_every=100,
    )
    add_loss_arguments(parser, variation_weight=0.0)
    parser.add_argument("--model", default=bundled_model(), help="pipeline to fine-tune, a directory or Hub repository")
    parser.add_argument("--scale", type=int, default=2, help="factor by which targets are averaged down")
    add = parser.add_argument_group("adapter").add_argument
    add("--target", choices=("decoder", "encoder", "all"), default="decoder", help="what is adapted")
    add("--mlp", action="store_true", help="the blocks' MLPs too, not the attention alone")
    add("--rank", type=int, default=8)
    add("--alpha", type=float, help="default: the rank")
    add("--use_rslora", action="store_true", help="scale by the rank's square root")
    add("--use_dora", action="store_true", help="magnitudes apart from directions")
    return parse_settings(parser, argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    run = TrainingRun(args, "train_lrm_lora")
    pipe = LRMPipeline.from_pretrained(args.model)
    if args.gradient_checkpointing:
        pipe.model.gradient_checkpointing_enable()
    # the layers go into the pipeline's model: what is trained is what the pipeline saves
    config = lora_config(
        args.target, args.rank, args.alpha, mlp=args.mlp, use_rslora=args.use_rslora, use_dora=args.use_dora
    )
    model: Any = get_peft_model(pipe.model, config).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.learning_rate, weight_decay=0.0)  # an update that small needs none
    objective = build_objective(args)

    def write_adapter(model: Any, directory: Path) -> None:
        pipe.save_lora_weights(directory)

    run.prepare(model, [optimizer], pipe.image_processor, write_adapter, lambda step: args.scale)
    for step in run.steps():
        for batch, generator in run.batches():
            with run.accumulate():
                loss, parts = objective(run.model, batch, generator)
                run.descend(loss, parts)
        run.finish_step(step)

    run.finish()
    if args.push_to_hub and run.accelerator.is_main_process:
        pipe = LRMPipeline.from_pretrained(args.model)
        pipe.load_lora_weights(args.output_dir)
        pipe.push_lora_to_hub(args.push_to_hub)


if __name__ == "__main__":
    main()
