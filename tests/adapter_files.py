# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Adapters for the tiny models, made by peft alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model
from tiny_models import pictures, tiny_config, tiny_model, tiny_pipeline

from lrm_hf.modeling.adapters import lora_config


def random_adapter(directory: Path, seed: int, model: Any = None, config: Any = None, **options: Any) -> torch.Tensor:
    """Writes an adapter whose weights are all random, as peft does; returns the planes that peft's model makes of two
    pictures with it. `options` are those of `lora_config`."""
    peft_model = get_peft_model(model or tiny_model(tiny_config()), config or lora_config(**options)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(peft_model.named_parameters()):
            if "lora_" in name:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        peft_model.save_pretrained(directory)
        return peft_model(pixel_values()).planes


def pixel_values() -> torch.Tensor:
    return tiny_pipeline().image_processor(pictures(2), return_tensors="pt").pixel_values
