#!/usr/bin/env python
# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Saves a pipeline whose weights are the mean of several pipelines' weights (Wortsman et al., "Model soups", 2022).

    python examples/average_weights.py run/fourth/pipeline run/third/pipeline run/pipeline

Everything else is the first one's. Worth a try where one run has started from the weights of the other.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from lrm_hf import LRMPipeline


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipelines", nargs="+", help="directories or Hub repositories, two or more")
    parser.add_argument("output", type=Path, help="directory for the result")
    args = parser.parse_args()
    if len(args.pipelines) < 2:
        parser.error("there is nothing to average: give two pipelines or more, and the output directory")
    pipes = [LRMPipeline.from_pretrained(name) for name in args.pipelines]
    states = [pipe.model.state_dict() for pipe in pipes]
    for name, state in zip(args.pipelines, states, strict=True):
        if {key: value.shape for key, value in state.items()} != {key: v.shape for key, v in states[0].items()}:
            parser.error(f"{name} has other weights than {args.pipelines[0]}, by name or by shape")
    mean = {key: torch.stack([state[key] for state in states]).mean(dim=0) for key in states[0]}
    pipes[0].model.load_state_dict(mean)
    pipes[0].save_pretrained(args.output)


if __name__ == "__main__":
    main()
