# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What training scripts do around their own steps: processes, seeds, batches, updates, states, logs, validation."""

from __future__ import annotations

import argparse
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..image_processing import LRMImageProcessor
from .checkpoints import Checkpoints, replacing_directory
from .configuration import write_settings
from .objective import as_processed, to_device
from .optimization import cosine_schedule
from .tracking import RunningMeans, log_picture, start_trackers, tracker_names, write_picture
from .validation import Validation
from .view_pool import TrainingBatch, ViewPool
from .weight_average import WeightAverage


logger = logging.getLogger("lrm_hf.training")
BATCHES_PER_STEP = 16384  # seeds that one step has to itself


class _Draws(Dataset[tuple[TrainingBatch, Tensor]]):
    """The batches of some steps of one process, for a data loader's workers to draw."""

    def __init__(self, run: TrainingRun, first_step: int, scales: Callable[[int], int]) -> None:
        self.run, self.first_step, self.scales = run, first_step, scales

    def __len__(self) -> int:
        args = self.run.args
        return max(0, args.max_train_steps - self.first_step) * args.gradient_accumulation_steps

    def __getitem__(self, index: int) -> tuple[TrainingBatch, Tensor]:
        step, micro_step = divmod(index, self.run.args.gradient_accumulation_steps)
        step += self.first_step
        batch, generator = self.run.draw(step, micro_step, self.scales(step))
        return batch, generator.get_state()


class TrainingRun:
    """One run of a training script.

        run = TrainingRun(args, "my-run")
        run.prepare(model, optimizers, processor, write_result, scales=lambda step: 2)
        for step in run.steps():
            for batch, generator in run.batches():
                with run.accumulate():
                    loss, parts = objective(run.model, batch, generator)
                    run.descend(loss, parts)
            run.finish_step(step)
        run.finish("pipeline")

    Steps and batches have seeds of their own: a run that was interrupted goes on as if it had not been, and two
    processes see in a step what one process with twice the accumulation sees.

    Args:
        args: the settings that `add_run_arguments` defines, and `output_dir`.
        name: of the run, for trackers.

    Attributes:
        pool: what batches are drawn from.
        model: as accelerate wrapped it, once prepared; `plain` is the model within.
    """

    def __init__(self, args: argparse.Namespace, name: str) -> None:
        from accelerate import Accelerator
        from accelerate.utils import ProjectConfiguration, set_seed

        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
        logging.getLogger("accelerate").setLevel(logging.WARNING)  # it tells of each file of each state
        self.args, self.directory = args, Path(args.output_dir)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.accelerator = Accelerator(
            gradient_accumulation_steps=args.gradient_accumulation_steps,
            mixed_precision=args.mixed_precision,
            log_with=tracker_names(args.report_to) or None,
            project_config=ProjectConfiguration(str(self.directory), logging_dir=str(self.directory / "logs")),
        )
        if not self.accelerator.is_main_process:
            logger.setLevel(logging.WARNING)
        set_seed(args.seed)
        if args.allow_tf32:
            torch.set_float32_matmul_precision("high")
        self.pool = self._open(args.pool, args.pool_weights)
        self.checkpoints = Checkpoints(self.accelerator, self.directory, args.keep_states)
        self.means = RunningMeans()
        self.validation: Validation | None = None
        self.name = name

    def _open(self, directories: list[str], weights: list[float] | None = None) -> ViewPool:
        args = self.args
        return ViewPool(
            directories,
            weights,
            args.limit,
            size=args.picture_size,
            frame=args.frame,
            distance=args.source_distance,
        )

    def _check_processor(self, processor: LRMImageProcessor) -> None:
        size = self.pool.size
        if processor.size != {"height": size, "width": size} or processor.background != 1.0:
            raise ValueError(
                f"--pool holds pictures of {size} pixels on white, the model takes {processor.size} on "
                f"{processor.background}."
            )

    def prepare(
        self,
        model: torch.nn.Module,
        optimizers: list[torch.optim.Optimizer],
        processor: LRMImageProcessor,
        write_result: Callable[[Any, Path], None],
        scales: Callable[[int], int],
    ) -> None:
        """Puts everything in the accelerator's hands, and loads the latest state if there is one.

        Args:
            model: in training mode; its config says at which elevation a canonical source camera stands.
            optimizers: one only with FSDP and DeepSpeed.
            processor: how the model gets its pictures.
            write_result: writes what the run is for; gets the model, not wrapped, whole and with the averaged
                weights, and a directory. Called on the main process.
            scales: by how much the targets of a step are averaged down.

        Raises:
            ValueError: for several optimisers where the kind of distribution takes one, for an adapter under FSDP, if
                the processor's pictures are not those of the pool, and what `Validation` raises.
        """
        self._check_processor(processor)
        self.processor = processor
        accelerator, args = self.accelerator, self.args
        kind = str(accelerator.distributed_type).rpartition(".")[2]
        if kind in ("FSDP", "DEEPSPEED") and len(optimizers) > 1:
            raise ValueError(f"{kind} takes one optimizer: give --muon_learning_rate 0.")
        if kind == "FSDP" and hasattr(model, "peft_config"):
            raise ValueError("an adapter is not trained with FSDP: it is small, take plain data parallelism (DDP).")
        if kind == "DEEPSPEED":  # there is no data loader that it could ask
            accelerator.state.deepspeed_plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = args.batch_size
        schedule = cosine_schedule(args.warmup_steps, args.max_train_steps)
        self.schedulers = [torch.optim.lr_scheduler.LambdaLR(optimizer, schedule) for optimizer in optimizers]
        self.model, *self.optimizers = accelerator.prepare(model, *optimizers)
        self.sharded = kind == "FSDP"
        if self.sharded:
            from torch.distributed.fsdp import register_fsdp_forward_method

            register_fsdp_forward_method(self.model, "encode")
        self.average = WeightAverage(self.plain, args.ema_decay)
        accelerator.register_for_checkpointing(self.average, *self.schedulers)
        self.write_result = write_result
        self.pool.elevation = self.plain.config.source_camera_elevation
        if args.sample_every:
            pool = self._open(args.validation_pool) if args.validation_pool else self.pool
            pool.elevation = self.pool.elevation
            self.validation = Validation(pool, processor, args.validation_objects)
        start_trackers(accelerator, self.name, args)
        if accelerator.is_main_process:
            write_settings(args, self.directory / "settings.yaml")
        trained = [p for p in self.plain.parameters() if p.requires_grad]
        logger.info("%d objects, %d parameters to train", len(self.pool), sum(p.numel() for p in trained))
        self.first_step = self.checkpoints.resume()
        if self.first_step:
            logger.info("resumed at step %d", self.first_step)
        loader = DataLoader(
            _Draws(self, self.first_step, scales),
            batch_size=None,
            num_workers=args.dataloader_num_workers,
            # the pool is in memory: forked workers share it
            multiprocessing_context="fork" if args.dataloader_num_workers else None,
            generator=torch.Generator(),  # draws the workers' seeds, which nothing uses; the global one stays as it is
        )
        self.loader: Iterator[tuple[TrainingBatch, Tensor]] = iter(loader)
        self.started = time.time()

    @property
    def plain(self) -> Any:
        """The model without what accelerate wraps it in."""
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    def steps(self) -> Iterator[int]:
        """The steps that are still to be done, from 0."""
        yield from range(self.first_step, self.args.max_train_steps)

    def draw(self, step: int, micro_step: int, scale: int) -> tuple[TrainingBatch, torch.Generator]:
        """One of this process's batches, in main memory, and the generator that drew it."""
        args = self.args
        number = micro_step * self.accelerator.num_processes + self.accelerator.process_index
        seed = (args.seed * 1_000_003 + step) * BATCHES_PER_STEP + number
        generator = torch.Generator().manual_seed(seed)
        shares = {name: getattr(args, name) for name in ("own_view", "mirror", "recolor", "white", "foreground")}
        batch = self.pool.draw(
            args.batch_size,
            generator,
            views=args.views,
            crop=args.crop,
            scale=scale,
            points=args.points,
            **shares,
        )
        batch.pixel_values = as_processed(batch.pixel_values, self.processor)
        return batch, generator

    def batches(self) -> Iterator[tuple[TrainingBatch, torch.Generator]]:
        """This process's batches of the step, on its device, each with the generator that draws its samples."""
        device = self.accelerator.device
        for _ in range(self.args.gradient_accumulation_steps):
            batch, state = next(self.loader)
            generator = torch.Generator()
            generator.set_state(state)
            if device.type == "cuda":  # millions of numbers a step, which a CPU draws no faster than a GPU trains
                seed = int(torch.randint(2**62, (), generator=generator))
                generator = torch.Generator(device).manual_seed(seed)
            yield to_device(batch, device), generator

    def accumulate(self) -> AbstractContextManager[Any]:
        """Around each batch: gradients are exchanged, and weights changed, after the last of a step only."""
        return self.accelerator.accumulate(self.model)

    def descend(self, loss: Tensor, parts: dict[str, Tensor]) -> None:
        """Backward, clipping, update.

        Args:
            loss: to minimise.
            parts: to be logged beside it.

        Raises:
            FloatingPointError: if the gradient is not finite; in float16 such steps are left out by the scaler.
        """
        self.accelerator.backward(loss)
        self.means.add({"loss": loss, **parts})
        if self.accelerator.sync_gradients:
            norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.args.max_grad_norm)
            if norm is not None:
                norm = norm.full_tensor() if hasattr(norm, "full_tensor") else torch.as_tensor(norm)
                if self.accelerator.mixed_precision != "fp16" and not torch.isfinite(norm):
                    raise FloatingPointError(f"the gradient's norm is {float(norm)}: lower the learning rate.")
                self.means.add({"grad_norm": norm.to(loss.device)})
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()

    def finish_step(self, step: int, **values: float) -> None:
        """Schedules and averages; logs, validates and saves when it is time to.

        Args:
            step: that was just done.
            values: to be logged as they are now.
        """
        args = self.args
        for scheduler in self.schedulers:
            scheduler.step()
        self.average.update()
        done = step + 1
        last = done == args.max_train_steps
        if done % args.log_every == 0 or last:
            self._log(done, values)
        if self.validation is not None and (done % args.sample_every == 0 or last):
            self._validate(done)
        if done % args.save_every == 0 or last:
            self.checkpoints.save(done)

    def _log(self, done: int, values: dict[str, float]) -> None:
        args = self.args
        means = {**self.means.take(self.accelerator), **values, "lr": self.schedulers[0].get_last_lr()[0]}
        means["psnr"] = -10 * math.log10(max(means["mse"], 1e-10))
        batch = args.batch_size * args.gradient_accumulation_steps * self.accelerator.num_processes
        rate = (done - self.first_step) * batch / (time.time() - self.started)
        words = " ".join(f"{name} {value:.4g}" for name, value in means.items())
        logger.info("step %d %s, %.1f objects/s", done, words, rate)
        self.accelerator.log(means, step=done)

    def _validate(self, done: int) -> None:
        """A sheet of renders by the averaged weights; their score decides what `best` holds, if it is of held-out
        objects."""
        held_out = bool(self.args.validation_pool)
        with self.averaged():
            if self.validation is None:
                raise RuntimeError("there is nothing to validate with.")
            result = self.validation(self.plain)
            best = held_out and self.checkpoints.offer(done, result.score, self._writer())
        name = "validation_psnr" if held_out else "training_objects_psnr"
        logger.info("step %d %s %.3f%s", done, name, result.score, ", the best so far" if best else "")
        if self.accelerator.is_main_process:
            write_picture(self.directory / f"sheet_{done:06d}.png", result.sheet)
        self.accelerator.log({name: result.score}, step=done)
        log_picture(self.accelerator, "renders", result.sheet, done)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the model has the averaged weights."""
        with self.average.in_place():
            self._reshard()
            yield
        self._reshard()

    def _reshard(self) -> None:
        """Makes FSDP forget what it has gathered of weights that have changed since."""
        if self.sharded:
            for module in self.model.modules():
                if hasattr(module, "reshard"):
                    module.reshard()

    def _writer(self) -> Callable[[Path], None]:
        """`write_result` with the present weights in a whole model; sharded ones are gathered by all processes."""
        if not self.sharded:
            return lambda directory: self.write_result(self.plain, directory)
        state = self.accelerator.get_state_dict(self.model)

        def write(directory: Path) -> None:
            whole = type(self.plain)(self.plain.config)
            whole.load_state_dict(state)
            self.write_result(whole, directory)

        return write

    def finish(self, name: str | None = None) -> Path:
        """Writes the result with the averaged weights.

        Args:
            name: of the directory below the run's; None: into the run's own, file by file.

        Returns:
            Where it is.
        """
        accelerator = self.accelerator
        self.loader = iter(())  # ends the workers
        accelerator.wait_for_everyone()
        directory = self.directory if name is None else self.directory / name
        with self.averaged():
            write = self._writer()
            if accelerator.is_main_process:
                if name is None:
                    write(directory)
                else:
                    with replacing_directory(directory) as temporary:
                        write(temporary)
                logger.info("wrote %s", directory)
        if self.checkpoints.best_step >= 0:
            logger.info(
                "the best was step %d with %.3f dB: %s",
                self.checkpoints.best_step,
                self.checkpoints.best_score,
                self.directory / "best",
            )
        accelerator.wait_for_everyone()
        accelerator.end_training()
        return directory
