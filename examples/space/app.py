# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The page of `lrm-hf app` as a Hugging Face Space."""

import torch

from lrm_hf.app import Limits, Studio, launch_page


# Visitors choose among these and nothing else. Models of the Hub can be added by name, and adapters.
MODELS = ["bundled"]
ADAPTERS: list[str] = []


if __name__ == "__main__":
    studio = Studio(
        MODELS,
        adapters=ADAPTERS,
        any_model=False,
        device="cuda" if torch.cuda.is_available() else "cpu",
        limits=Limits(resolution=256, texture=1024, textured_faces=50_000),
    )
    studio.load()
    launch_page(studio, host="0.0.0.0", port=7860, max_queue=20)
