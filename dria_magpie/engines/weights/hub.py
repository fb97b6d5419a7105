"""Gets weights from the Hugging Face hub, and the checksum that the hub states for them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from dria_magpie.engines.weights.names import HubFile
from dria_magpie.errors import ModelFileError


def stated_sha256(source: HubFile) -> str:
    """Ask the hub for a file's checksum, in hex.

    Raises:
        ModelFileError: the hub cannot be asked, or has no such file, or states none.
    """
    hub = _import_hub()
    try:
        found = hub.HfApi().get_paths_info(source.repository, source.file)
    except Exception as error:
        raise _explain(source, error) from error
    if not found:
        raise ModelFileError(
            f"{source.repository} has no file {source.file}; "
            f"see https://huggingface.co/{source.repository}/tree/main"
        )
    lfs = getattr(found[0], "lfs", None)
    if lfs is None:
        raise ModelFileError(f"the hub states no checksum for {source.name}; choose another file")
    return str(lfs.sha256)


def download(source: HubFile, scratch: Path) -> Path:
    """Bring the file into a directory, going on where an earlier call broke off.

    Raises:
        ModelFileError: the hub cannot be reached, refuses, or the disk is full.
    """
    hub = _import_hub()
    try:
        return Path(hub.hf_hub_download(source.repository, source.file, local_dir=scratch))
    except Exception as error:
        raise _explain(source, error) from error


def _import_hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ModelFileError(
            "the hub takes huggingface_hub: pip install 'dria-magpie[local]'"
        ) from error
    module: ModuleType = huggingface_hub
    return module


def _explain(source: HubFile, error: Exception) -> ModelFileError:
    """Put an error of the client, which has many bases between its versions, into our words."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in {401, 403, 404}:
        advice = "check the name; for a gated repository accept its terms and set HF_TOKEN"
    else:
        advice = "check the network and the disk, then try again: it goes on where it broke off"
    words = str(error).strip().splitlines() or [type(error).__name__]
    return ModelFileError(f"cannot fetch {source.name}: {words[0]}; {advice}")
