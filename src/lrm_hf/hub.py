# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Files from and to the Hub, with errors of one line that say what to do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, create_branch, create_repo, file_exists, hf_hub_download, upload_folder
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # what the client's own library raises, whichever that is
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from . import model_card
from .files import read_json


# of an adapter, as peft names them
ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
HUB_ARGUMENTS = ("revision", "token", "cache_dir", "force_download", "local_files_only")


def repository_name(name: str | None) -> str | None:
    """`name` if it can be that of a Hub repository and is no path here."""
    if name and re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith(".") and not os.path.exists(name):
        return name
    return None


def check_source(source: str, what: str) -> None:
    """Raises FileNotFoundError for what can only be a path, where there is no such directory."""
    if not os.path.isdir(source) and (os.path.isabs(source) or source.startswith(".") or source.count("/") > 1):
        raise FileNotFoundError(f"There is no directory {source!r} to load {what} from.")


def find_file(source: str, filename: str, hub: dict[str, Any]) -> str | None:
    """Path of a file, downloaded if need be; None where the directory or repository has no such file.

    Raises:
        OSError: if there is no such repository, or it can't be reached.
    """
    if os.path.isdir(source):
        path = os.path.join(source, filename)
        return path if os.path.isfile(path) else None
    try:
        with readable_errors(source, hub):
            return hf_hub_download(source, filename, **hub)
    except LocalEntryNotFoundError as error:
        if _is_cached(source, hub):
            return None
        raise OSError(
            f"{source!r} is not a directory, and the Hub can't be reached and has not been downloaded from: "
            f"{_line(error)}"
        ) from error
    except EntryNotFoundError:
        return None


def find_adapter(source: str, subfolder: str | None, hub: dict[str, Any]) -> tuple[str, str]:
    """Paths of an adapter's configuration and weights.

    Raises:
        OSError: if there is no such directory or repository, or it holds something else.
    """
    check_source(source, "an adapter")
    folder = f"{subfolder}/" if subfolder else ""
    config = find_file(source, folder + ADAPTER_CONFIG_FILE, hub)
    if config is None:
        where = f"{source!r}" + (f", folder {subfolder!r}," if subfolder else "")
        if find_file(source, folder + "model_index.json", hub) or find_file(source, folder + "config.json", hub):
            raise OSError(f"{where} holds a whole model, no adapter: load it with LRMPipeline.from_pretrained.")
        raise OSError(f"{where} holds no adapter: it has no {ADAPTER_CONFIG_FILE}.")
    weights = find_file(source, folder + ADAPTER_WEIGHTS_FILE, hub)
    if weights is None:
        raise OSError(
            f"{source!r} has an {ADAPTER_CONFIG_FILE} but no {ADAPTER_WEIGHTS_FILE}; pickled weights are not loaded."
        )
    return config, weights


def kind_of(directory: str | os.PathLike[str]) -> str:
    """ "pipeline", "model" or "adapter": what of ours a directory holds.

    Raises:
        OSError: if it does not exist, or holds nothing of ours.
    """
    path = Path(directory)
    if not path.is_dir():
        raise FileNotFoundError(f"there is no directory {os.fspath(directory)!r}.")
    if (path / ADAPTER_CONFIG_FILE).exists():
        return "adapter"
    for kind, file, key, ours in (
        ("pipeline", "model_index.json", "_class_name", ("LRMPipeline",)),
        ("model", "config.json", "model_type", ("lrm", "triposr")),
    ):
        if (path / file).exists():
            content = read_json(path / file)
            if content.get(key) in ours:
                return kind
            raise OSError(f"{os.fspath(directory)!r} is no LRM: its {file} says {key} {content.get(key)!r}.")
    raise OSError(
        f"{os.fspath(directory)!r} holds no saved pipeline, model or adapter: it has no model_index.json, config.json "
        f"or {ADAPTER_CONFIG_FILE}."
    )


@contextmanager
def readable_errors(source: str, hub: dict[str, Any]) -> Iterator[None]:
    """What goes wrong while something is loaded from a repository, as OSErrors of one line; a missing file stays what
    it is."""
    where = f"{source!r} is not a directory, and"
    try:
        yield
    except EntryNotFoundError:
        raise
    except GatedRepoError as error:
        raise OSError(
            f"{where} on the Hub it is gated: ask for access at {constants.ENDPOINT}/{source}, then log in (`hf auth "
            "login`) or pass `token`."
        ) from error
    except RevisionNotFoundError as error:
        raise OSError(f"{where} on the Hub it has no revision {hub.get('revision')!r}.") from error
    except RepositoryNotFoundError as error:
        kind = _other_kind(source, hub)
        if kind is not None:
            raise OSError(f"{where} on the Hub it is a {kind}, not a model.") from error
        raise OSError(
            f"{where} there is no such repository on the Hub, or it is private: log in (`hf auth login`) or pass "
            "`token`."
        ) from error
    except HFValidationError as error:
        raise OSError(f"{where} not the name of a Hub repository either: {_line(error)}") from error
    except OfflineModeIsEnabled as error:
        raise OSError(
            f"{where} HF_HUB_OFFLINE is set, and not all of its files have been downloaded before."
        ) from error
    except HfHubHTTPError as error:
        raise OSError(f"{where} the Hub answered: {_line(error)}") from error
    except HTTPError as error:
        raise OSError(
            f"loading {source!r} from the Hub was cut off ({_line(error)}): try again, complete files are kept."
        ) from error


def upload(
    directory: str | os.PathLike[str],
    repo_id: str,
    *,
    commit_message: str = "Upload LRMPipeline",
    private: bool | None = None,
    token: str | None = None,
    create_pr: bool = False,
    revision: str | None = None,
    subfolder: str | None = None,
) -> str:
    """Uploads a directory in one commit. A model card that was written by itself never takes another's place.

    Args:
        repo_id: made if it does not exist.
        private: of a repository that is made.
        revision: branch to commit to; made if it does not exist.
        subfolder: folder in the repository.

    Returns:
        The commit's URL.

    Raises:
        OSError: if the Hub can't be reached, or does not accept it; one line that says what to do.
    """
    try:
        repo_id = create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
        if revision is not None:
            create_branch(repo_id, branch=revision, token=token, exist_ok=True)
        keep_card = model_card.is_automatic(directory) and (
            subfolder is not None or file_exists(repo_id, "README.md", revision=revision, token=token)
        )
        return upload_folder(
            repo_id=repo_id,
            folder_path=directory,
            path_in_repo=subfolder,
            commit_message=commit_message,
            token=token,
            create_pr=create_pr,
            revision=revision,
            ignore_patterns=["README.md"] if keep_card else None,
        )
    except OfflineModeIsEnabled as error:
        raise OSError(f"can't push to {repo_id!r}: HF_HUB_OFFLINE is set.") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = {
            401: "you are not logged in, or the token is not valid: run `hf auth login`, or pass `token`",
            403: "your token may not write there: make one that may at https://huggingface.co/settings/tokens",
        }.get(status, _line(error))
        raise OSError(f"can't push to {repo_id!r}: {advice}.") from error
    except HTTPError as error:
        raise OSError(f"can't push to {repo_id!r}: {constants.ENDPOINT} can't be reached ({_line(error)}).") from error


def _other_kind(source: str, hub: dict[str, Any]) -> str | None:
    """Whether a name that is no model's is that of something else."""
    api = HfApi(token=hub.get("token"))
    try:
        return next((kind for kind in ("dataset", "space") if api.repo_exists(source, repo_type=kind)), None)
    except (HTTPError, OSError):  # only for a better message
        return None


def _is_cached(source: str, hub: dict[str, Any]) -> bool:
    """Whether some files of a repository have been downloaded before."""
    cache = Path(hub.get("cache_dir") or constants.HF_HUB_CACHE)
    return (cache / f"models--{source.replace('/', '--')}").is_dir()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
