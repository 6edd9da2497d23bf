# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What training scripts share: views of objects, data sources, losses, optimisers."""
