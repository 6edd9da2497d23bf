# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""How models are saved and pushed: with what a Hub repository needs beside the weights."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from .. import hub
from ..files import replacing
from ..model_card import write_card


# transformers copies a repository's code file by file, and a package does not survive that: the file is a signpost
REMOTE_CODE_FILE = "modeling_lrm.py"
REMOTE_CODE = '''"""Where AutoModel.from_pretrained(..., trust_remote_code=True) finds the model: in the package lrm_hf.

That has to be installed: https://github.com/lrm-hf/lrm_hf
"""

from lrm_hf import LRMConfig, LRMModel, TripoSRConfig, TripoSRModel  # noqa: F401
'''


class SharingMixin:
    """To be put before `PreTrainedModel`."""

    config: Any

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, Any] | None = None,
        push_to_hub: bool = False,
        max_shard_size: int | str = "50GB",
        variant: str | None = None,
        **kwargs: Any,
    ) -> None:
        """As everywhere in transformers; and a file by which `AutoModel.from_pretrained(..., trust_remote_code=True)`
        finds the class where nobody has imported lrm_hf."""
        # diffusers looks into the signature for what it may pass on
        kwargs |= {"max_shard_size": max_shard_size, "variant": variant, "state_dict": state_dict}
        # with an adapter, transformers writes that alone
        if is_main_process and not getattr(self, "_hf_peft_config_loaded", False):
            directory = Path(save_directory)
            directory.mkdir(parents=True, exist_ok=True)
            with replacing(directory / REMOTE_CODE_FILE) as path:
                path.write_text(REMOTE_CODE, encoding="utf-8")
            module = REMOTE_CODE_FILE.removesuffix(".py")
            classes = {"AutoConfig": type(self.config), "AutoModel": type(self)}
            self.config.auto_map = {auto: f"{module}.{cls.__name__}" for auto, cls in classes.items()}
        super().save_pretrained(save_directory, is_main_process, push_to_hub=push_to_hub, **kwargs)  # type: ignore[misc]

    def push_to_hub(self, repo_id: str, *, max_shard_size: int | str = "50GB", **kwargs: Any) -> str:
        """Uploads the model, with a model card where there is none yet.

        Args:
            repo_id: made if it does not exist.
            max_shard_size: see `save_pretrained`.
            kwargs: `commit_message`, `private`, `token`, `revision` and `create_pr`, as in [`~lrm_hf.hub.upload`].

        Returns:
            The URL of the commit.

        Raises:
            OSError: if the Hub can't be reached, or does not accept it.
        """
        with tempfile.TemporaryDirectory() as directory:
            self.save_pretrained(directory, max_shard_size=max_shard_size)
            write_card(directory, repo_id)
            return hub.upload(directory, repo_id, **{"commit_message": f"Upload {type(self).__name__}", **kwargs})

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoModel") -> None:
        """Nothing: transformers would from then on save copies of the model's source, which can't stand alone."""
