# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`lrm-hf push`: a saved pipeline, model or adapter to the Hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import DONE, quiet


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "push",
        help="a saved pipeline, model or adapter to the Hub",
        description="Uploads DIR in one commit and prints its URL. The model card, README.md in DIR, is written first, "
        "from what is in DIR and from the options below; one that you have edited is kept as it is. With --card-only "
        "it stops then, so that you can edit the card.",
    )
    command.set_defaults(run=push)
    add = command.add_argument
    add("directory", metavar="DIR", help="what save_pretrained or save_lora_weights wrote")
    add("repository", metavar="REPO", help="Hub repository, such as me/my-lrm; made if it does not exist")
    add("--private", action="store_true", help="if it is made, only you can see it")
    add("--revision", metavar="BRANCH", help="branch to commit to; made if it does not exist")
    add("--message", metavar="TEXT", help="of the commit")
    add("--token", help="default: $HF_TOKEN, or that of `hf auth login`")
    add("--card-only", action="store_true", help="write the model card, upload nothing")
    card = command.add_argument_group("model card")
    card.add_argument("--license", metavar="ID", help="such as apache-2.0 or cc-by-nc-4.0")
    card.add_argument("--base-model", metavar="REPO", help="Hub repository that this was made from")
    card.add_argument("--training-data", metavar="TEXT", help="what it was trained on, and under which licences")
    card.add_argument("--metrics", metavar="JSON", help='file with {"protocol": "...", "metrics": {"PSNR": 18.2}}')
    card.add_argument("--limits", metavar="TEXT", help="what it can't do")
    add("--debug", action="store_true", help="show tracebacks")


def push(arguments: argparse.Namespace) -> int:
    """Writes the model card if there is none, then uploads."""
    from .. import hub
    from ..model_card import is_automatic, write_card

    quiet(arguments.debug)
    directory = Path(arguments.directory)
    kind = hub.kind_of(directory)
    names = ("license", "base_model", "training_data", "metrics", "limits")
    told = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if told and (directory / "README.md").exists() and not is_automatic(directory):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in told)
        raise ValueError(
            f"{str(directory / 'README.md')!r} has been edited: {options} would change it. Edit it by hand."
        )
    card = write_card(directory, arguments.repository, **told, anew=bool(told))
    if arguments.card_only:
        print(card)
        return DONE
    url = hub.upload(
        directory,
        arguments.repository,
        commit_message=arguments.message or f"Upload {kind}",
        private=arguments.private or None,
        token=arguments.token,
        revision=arguments.revision,
    )
    print(url)
    return DONE
