# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""How good a model is: protocols, metrics, baselines."""
