# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What test_hub.py runs in a process of its own, since the Hub's address is read when its client is imported.

Arguments: a directory with a saved pipeline, a directory for caches and results. Writes planes and messages there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file
from tiny_models import pictures

from lrm_hf import LRMModel, LRMPipeline


def main(saved: Path, work: Path) -> None:
    planes: dict[str, torch.Tensor] = {}
    report: dict[str, str] = {}

    def use(name: str, pipe: DiffusionPipeline) -> None:
        pipe.set_progress_bar_config(disable=True)
        out = pipe(pictures(2), output_type="pil", num_views=1, height=16, width=16)
        planes[f"{name}.planes"] = out.field.planes
        planes[f"{name}.frames"] = torch.from_numpy(np.stack([np.asarray(views[0]) for views in out.frames]))
        report[name] = type(pipe).__name__

    def error_of(name: str, call: Callable[[], object]) -> None:
        try:
            call()
        except OSError as error:
            report[name] = str(error)

    pipe = LRMPipeline.from_pretrained(saved)
    use("local", pipe)
    report["commit"] = str(pipe.push_to_hub("me/tiny", commit_message="first"))
    use("pulled", LRMPipeline.from_pretrained("me/tiny", cache_dir=work / "cache"))
    use("from the cache", LRMPipeline.from_pretrained("me/tiny", cache_dir=work / "cache", local_files_only=True))
    arguments = {"custom_pipeline": "me/tiny", "trust_remote_code": True, "cache_dir": work / "other_cache"}
    use("through diffusers", DiffusionPipeline.from_pretrained("me/tiny", **arguments))

    # a directory can be pushed as it is saved
    pipe.save_pretrained(work / "second", push_to_hub=True, repo_id="me/tiny", commit_message="second")
    pipe.save_pretrained(work / "private", push_to_hub=True, repo_id="me/private", private=True)
    use("private", LRMPipeline.from_pretrained("me/private", cache_dir=work / "cache"))

    LRMModel.from_pretrained(saved / "model").push_to_hub("me/model-alone")
    use("model alone", LRMPipeline.from_pretrained("me/model-alone", cache_dir=work / "cache"))

    cache = {"cache_dir": work / "empty_cache"}
    error_of("missing", lambda: LRMPipeline.from_pretrained("me/nothing", **cache))
    error_of("private to a stranger", lambda: LRMPipeline.from_pretrained("me/private", token=False, **cache))
    error_of("revision", lambda: LRMPipeline.from_pretrained("me/tiny", revision="v7", **cache))
    error_of("nothing in the cache", lambda: LRMPipeline.from_pretrained("me/tiny", local_files_only=True, **cache))
    error_of("not a pipeline", lambda: LRMPipeline.from_pretrained("me/notes", **cache))
    pipe.push_to_hub("me/notes")

    save_file(planes, work / "planes.safetensors")
    (work / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
