# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""One module per command of `lrm-hf`: `add_parser` declares its arguments, the function beside it runs it."""
