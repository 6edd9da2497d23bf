# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The corridor from picture to mesh and frames. Importing this imports diffusers and registers us with it."""

from diffusers.pipelines import pipeline_loading_utils

from .pipeline_lrm import LRMPipeline
from .pipeline_output import LRMPipelineOutput


__all__ = ["LRMPipeline", "LRMPipelineOutput"]


def _register_with_diffusers() -> None:
    """diffusers loads components from the Hub only if it knows their library, and then writes ["lrm_hf", "LRMModel"]
    into model_index.json, which survives that files move within the package."""
    methods = ["save_pretrained", "from_pretrained"]
    pipeline_loading_utils.LOADABLE_CLASSES["lrm_hf"] = {"PreTrainedModel": methods, "ImageProcessingMixin": methods}


_register_with_diffusers()
