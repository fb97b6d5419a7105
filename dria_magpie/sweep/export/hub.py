"""Pushes an export to the Hugging Face hub."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any

from dria_magpie.errors import DriaMagpieError, InvalidInputError, UnsupportedError
from dria_magpie.sweep.export.text import one_line, shorten
from dria_magpie.sweep.export.values import Exported

_LONGEST_REASON = 400


def push(exported: Exported, repo: str) -> str:
    """Upload the data and its card to a dataset of the hub, both in one commit.

    A dataset that is missing is made, and is private: who made it opens it in its settings on
    the hub. One that is there keeps its other files and stays as open as it is; its README.md
    is replaced. The token comes from HF_TOKEN or ``hf auth login``.

    Args:
        exported: what `export_rows` gave.
        repo: ``owner/name``, or a name alone for a dataset of the token's owner.

    Returns:
        The URL of the dataset.

    Raises:
        InvalidInputError: the hub takes no such name, or the files are gone.
        UnsupportedError: huggingface_hub is not installed.
        DriaMagpieError: there is no token, or the hub cannot be reached, or it refuses.
    """
    hub = _import_hub()
    _check(exported, repo)
    token = _find_token(hub, repo)
    api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    try:
        url = api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        api.create_commit(
            url.repo_id,
            _additions(hub, exported),
            commit_message=f"Export {exported.rows} dialogues",
            repo_type="dataset",
        )
    except Exception as error:
        raise _explain(repo, token, error) from error
    return str(url)


def _import_hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UnsupportedError(
            "the hub takes huggingface_hub: pip install 'dria-magpie[export]'"
        ) from error
    module: ModuleType = huggingface_hub
    return module


def _check(exported: Exported, repo: str) -> None:
    checks = importlib.import_module("huggingface_hub.utils")
    try:
        checks.validate_repo_id(repo)
    except ValueError as error:
        raise InvalidInputError(
            f"{repo!r} is no name of a dataset on the hub; it is like owner/name, "
            "of letters, digits, '-', '_' and '.'"
        ) from error
    for path in (exported.file, exported.card):
        if not path.is_file():
            raise InvalidInputError(f"{path} is gone; export again, then push")


def _find_token(hub: ModuleType, repo: str) -> str:
    try:
        token = hub.get_token()
    except Exception as error:
        raise _explain(repo, "", error) from error
    if not token:
        raise DriaMagpieError(
            "the hub takes a token that may write: `hf auth login`, or set HF_TOKEN; "
            "tokens are made at https://huggingface.co/settings/tokens"
        )
    # HTTP libraries quote what they cannot send, and the token would be read in a log.
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise DriaMagpieError(
            "the token for the hub has characters that no token has; "
            "`hf auth login` anew, or set HF_TOKEN to the token alone"
        )
    return str(token)


def _additions(hub: ModuleType, exported: Exported) -> list[Any]:
    named = {exported.file.name: exported.file, "README.md": exported.card}
    return [
        hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=path)
        for name, path in named.items()
    ]


def _explain(repo: str, token: str, error: Exception) -> DriaMagpieError:
    """Put an error of the client, which has many bases between its versions, into our words."""
    status = _find_status(error)
    if status == 401:
        advice = "the token is not valid: `hf auth login`, or set HF_TOKEN"
    elif status in {403, 404}:
        advice = f"the token must be allowed to write to {repo}; check the name and the token"
    elif status == 400 or (status is None and isinstance(error, ValueError)):
        advice = "export again, then push"
    elif status is not None:
        advice = "try again later"
    else:
        advice = "check the network, and that HF_HUB_OFFLINE is not set, then push again"
    words = shorten(one_line(str(error)) or type(error).__name__, _LONGEST_REASON)
    if token:
        words = words.replace(token, "…")
    return DriaMagpieError(f"cannot push to {repo}: {words.rstrip('.')}; {advice}")


def _find_status(error: BaseException | None) -> int | None:
    """Look for an HTTP status in an error and in what caused it: uploads wrap theirs."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__
    return None
