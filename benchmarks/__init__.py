# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Ratios and times that the documentation quotes; run one with `python -m benchmarks.NAME`."""
