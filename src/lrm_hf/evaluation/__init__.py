# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""How good a model is: pinned protocols, metrics of pictures and surfaces, baselines, reports.

`protocols` says what is measured; `images`, `geometry`, `surfaces` and `alignment` measure; `ground_truth` prepares
objects; `methods` answers; `measure` puts it together; `report` shows it. `lrm-hf evaluate` is all of it.
"""
