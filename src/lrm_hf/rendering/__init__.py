# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Volume rendering of triplane fields."""

from .renderer import RenderOutput, render


__all__ = ["RenderOutput", "render"]
