# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What test_sharing.py runs, each function in a process of its own: the Hub's address, and whether it is offline, are
read when its client is imported.

Arguments: the function, a directory with a saved pipeline (`saved`) and an adapter for it (`adapter`), where planes and
messages are written to as well.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


planes: dict[str, Any] = {}
report: dict[str, Any] = {}


def error_of(name: str, call: Callable[[], object]) -> None:
    try:
        call()
    except Exception as error:
        report[name] = f"{type(error).__name__}: {error}"


def use(name: str, pipe: Any) -> None:
    from tiny_models import pictures

    pipe.set_progress_bar_config(disable=True)
    planes[name] = pipe(pictures(2), output_type="field").field.planes


def owner(work: Path) -> None:
    """Pushes, and loads again."""
    from contextlib import redirect_stdout
    from io import StringIO

    from hub_server import READ_ONLY_TOKEN
    from huggingface_hub import constants

    from lrm_hf import LRMModel, LRMPipeline, cli

    cache = {"cache_dir": work / "cache"}
    pipe = LRMPipeline.from_pretrained(work / "saved")
    use("base", pipe)
    pipe.push_to_hub("me/tiny", max_shard_size="30KB")
    pipe.push_to_hub("me/tiny", revision="v2", commit_message="on a branch")
    pipe.model.push_to_hub("me/model-alone", private=True)
    pipe.image_processor.push_to_hub("me/model-alone")
    pulled = LRMPipeline.from_pretrained("me/tiny", **cache)
    use("shards", pulled)
    use("branch", LRMPipeline.from_pretrained("me/tiny", revision="v2", **cache))
    use("model alone", LRMPipeline.from_pretrained("me/model-alone", **cache))

    pulled.load_lora_weights(work / "adapter", adapter_name="odd")
    use("adapted", pulled)
    pulled.save_lora_weights(work / "again", push_to_hub=True, repo_id="me/odd", private=True)
    report["adapter commit"] = pulled.push_lora_to_hub("me/odd2")
    pulled.push_to_hub("me/fused", fuse_lora=True)
    pulled.unload_lora_weights()
    pulled.load_lora_weights("me/odd", **cache)
    use("adapter from the Hub", pulled)
    pulled.unload_lora_weights()
    use("unloaded", pulled)
    use("fused", LRMPipeline.from_pretrained("me/fused", **cache))

    strange = {"token": False, "cache_dir": work / "empty"}
    error_of("private adapter", lambda: pulled.load_lora_weights("me/odd", **strange))
    error_of("missing adapter", lambda: pulled.load_lora_weights("me/nothing", **strange))
    error_of("no adapter", lambda: pulled.load_lora_weights("me/tiny", **cache))
    error_of("nothing at all", lambda: pulled.load_lora_weights("me/notes", **cache))
    error_of("adapter as a pipeline", lambda: LRMPipeline.from_pretrained("me/odd", **cache))
    error_of("gated", lambda: LRMPipeline.from_pretrained("me/gated", **cache))
    error_of("gated adapter", lambda: pulled.load_lora_weights("me/gated", **cache))
    error_of("a data set", lambda: LRMPipeline.from_pretrained("me/pictures", **cache))
    error_of("push without a token", lambda: pipe.push_to_hub("me/new", token=False))
    error_of("push of a model without a token", lambda: LRMModel.push_to_hub(pipe.model, "me/new", token=False))
    error_of("push with a token to read", lambda: pulled.push_to_hub("me/new", token=READ_ONLY_TOKEN))

    # cut off twice, the client goes on by itself; cut off for good, it does so when it is called again. Of a chunk that
    # was cut off it keeps nothing, and its chunks are larger than these files
    constants.DOWNLOAD_CHUNK_SIZE = 500
    use("interrupted", LRMPipeline.from_pretrained("me/interrupted", **cache))
    error_of("dead line", lambda: LRMPipeline.from_pretrained("me/dead-line", **cache))
    use("line mended", LRMPipeline.from_pretrained("me/dead-line", **cache))

    printed = StringIO()
    with redirect_stdout(printed):
        report["codes"] = [
            cli.main(["push", str(work / "saved"), "me/by-command", "--private", "--message", "by command"]),
            cli.main(["push", str(work / "adapter"), "me/adapter-by-command", "--revision", "v3"]),
            cli.main(["push", str(work / "saved"), "me/new", "--token", READ_ONLY_TOKEN]),
            cli.main(["push", str(work), "me/new"]),
            cli.main(["push", str(work / "nowhere"), "me/new"]),
        ]
    report["printed"] = printed.getvalue().splitlines()


def stranger(work: Path) -> None:
    """Nobody imports lrm_hf by name."""
    from diffusers import DiffusionPipeline
    from transformers import AutoModel

    arguments = {"custom_pipeline": "me/tiny", "trust_remote_code": True, "cache_dir": work / "stranger"}
    error_of("diffusers alone", lambda: DiffusionPipeline.from_pretrained("me/tiny", **arguments))
    report["not imported before"] = "lrm_hf.pipelines" not in sys.modules
    model = AutoModel.from_pretrained("me/model-alone", trust_remote_code=True, cache_dir=work / "stranger")
    nested = AutoModel.from_pretrained(
        "me/tiny", subfolder="model", trust_remote_code=True, cache_dir=work / "stranger"
    )
    other = AutoModel.from_pretrained("me/triposr", trust_remote_code=True, cache_dir=work / "stranger")
    report["other class"] = f"{type(other).__module__}.{type(other).__name__}"
    report["class"] = f"{type(model).__module__}.{type(model).__name__}"
    model.save_pretrained(work / "saved by a stranger")
    report["files"] = sorted(path.name for path in (work / "saved by a stranger").iterdir())
    report["auto_map"] = json.loads((work / "saved by a stranger/config.json").read_text())["auto_map"]

    import lrm_hf.pipelines  # noqa: F401

    pipe = DiffusionPipeline.from_pretrained("me/tiny", **arguments)
    report["pipeline"] = type(pipe).__name__
    use("diffusers", pipe)
    for name, loaded in (("AutoModel", model), ("AutoModel of a pipeline", nested)):
        pipe.register_modules(model=loaded.eval())
        use(name, pipe)


def offline(work: Path) -> None:
    from lrm_hf import LRMPipeline

    cache = {"cache_dir": work / "cache"}
    pipe = LRMPipeline.from_pretrained("me/tiny", **cache)
    use("base", pipe)
    pipe.load_lora_weights("me/odd", **cache)
    use("adapted", pipe)
    error_of("missing", lambda: LRMPipeline.from_pretrained("me/nothing", **cache))
    error_of("missing adapter", lambda: pipe.load_lora_weights("me/nothing", **cache))
    error_of("push", lambda: pipe.push_to_hub("me/new"))


def main(name: str, work: Path) -> None:
    from safetensors.torch import save_file

    globals()[name](work)
    save_file(planes, work / f"{name}.safetensors")
    (work / f"{name}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
