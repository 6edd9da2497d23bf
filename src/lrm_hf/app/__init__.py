# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What people use without writing code: the page (`lrm-hf app`, Gradio), the HTTP endpoint (`lrm-hf serve`, FastAPI).

`limits` reads pictures from strangers, `studio` does the work for both of them, `results` keeps fields of objects for a
while, so that meshes are made anew without the model. `page` and `actions` are the Gradio page, `server`, `reading` and
`jobs` the endpoint, `serving` runs either. gradio and fastapi are imported where they are used: the extras `app` and
`serve`.
"""

from .limits import Limits
from .page import create_page, launch_page, page_application
from .server import create_server, run_server
from .studio import MeshSettings, PictureSettings, Studio


__all__ = [
    "Limits",
    "MeshSettings",
    "PictureSettings",
    "Studio",
    "create_page",
    "create_server",
    "launch_page",
    "page_application",
    "run_server",
]
