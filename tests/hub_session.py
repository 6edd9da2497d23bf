# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Runs of sharing_client.py against a Hub on the loopback interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from hub_server import Hub
from safetensors.torch import load_file

import lrm_hf


TESTS = Path(__file__).parent


class Session:
    """What the runs wrote, by the name of the function that was run: planes, and messages.

    Args:
        work: directory that the client reads from and writes to.
    """

    def __init__(self, hub: Hub, work: Path):
        self.hub, self.work = hub, work
        self.planes: dict[str, dict[str, torch.Tensor]] = {}
        self.report: dict[str, dict[str, Any]] = {}

    def run(self, name: str, **settings: str) -> None:
        """A function of sharing_client.py."""
        stderr = self._run([str(TESTS / "pipelines" / "sharing_client.py"), name, str(self.work)], **settings)
        self.planes[name] = load_file(self.work / f"{name}.safetensors")
        self.report[name] = json.loads((self.work / f"{name}.json").read_text())
        self.report[name]["stderr"] = stderr

    def run_code(self, code: str) -> None:
        """Any code, with `work` as its working directory."""
        self._run(["-c", code])

    def _run(self, arguments: list[str], **settings: str) -> str:
        env = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
        env |= {
            "HF_ENDPOINT": self.hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(self.work / "home"),
            "HF_TOKEN": "hf_loopback",
            "PYTHONPATH": os.pathsep.join([str(Path(lrm_hf.__file__).parent.parent), str(TESTS)]),
            **settings,
        }
        process = subprocess.run(
            [sys.executable, *arguments], env=env, cwd=self.work, capture_output=True, text=True, timeout=600
        )
        assert process.returncode == 0, process.stderr
        return process.stderr
