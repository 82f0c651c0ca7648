"""Download models from Civitai and other web servers into artgen's own model folder.

This package prints nothing: callbacks receive progress and notes.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, ModelUnavailableError, RefusedError
from artgen.registry.checkpoint_content import read_content
from artgen.registry.hashes import compute_sha256
from artgen.registry.hub import cache
from artgen.registry.hub.network_settings import check_connection_settings, headers_with_token
from artgen.registry.hub.ranges import OnProgress
from artgen.registry.model_folders import Kind
from artgen.registry.web import civitai, files
from artgen.registry.web.addresses import CivitaiSource, HubSource, Source, WebSource, parse_source
from artgen.registry.web.store import (
    StoredFile,
    downloads_folder,
    find_stored,
    read_description,
    remove,
    store,
    stored_files,
)
from artgen.system.counts import format_bytes
from artgen.system.files import wrap_write_errors
from artgen.system.temporary import temp_file

__all__ = [
    "CivitaiSource",
    "HubSource",
    "Source",
    "StoredFile",
    "WebSource",
    "content_kind",
    "find_stored",
    "local_path",
    "parse_source",
    "pull",
    "read_description",
    "remove",
    "stored_files",
]

OnNote = Callable[[str], None]
CONTENT_KINDS: Mapping[str, Kind] = {
    "lora": "lora",
    "vae": "vae",
    "embedding": "embedding",
    "controlnet": "controlnet",
    "control_lora": "controlnet",
    "t2i_adapter": "controlnet",
    "text_encoder": "text_encoder",
    "upscaler": "upscaler",
}
"""Kind of the files that are not image models, by the name of `file_kinds`."""


@dataclass(frozen=True)
class _Download:
    """Describe a download: the file, its kind if known, the tag of its name, and the fields of its description."""

    file: files.RemoteFile
    kind: Kind | None
    tag: str
    details: Mapping[str, Any]
    size: int | None = None


def pull(
    source: CivitaiSource | WebSource,
    *,
    force: bool = False,
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
) -> StoredFile:
    """Download a file, check it, and store it in the folder of its kind. An interrupted download is resumed.

    Args:
        source: a model of Civitai, or a file on the web.
        force: verify an existing file, and download it again if it is damaged.
        on_progress: called with (file, bytes done, total bytes).
        on_note: called with a sentence for the user.

    Raises:
        ModelUnavailableError: the network is disabled, the model is unknown or not accessible, or the server cannot be
            reached or sends something else.
        RefusedError: the file is a pickle, its hash is wrong, or it is not a valid model file.
        UsageError: a network setting is not valid.
        OutputError: the disk has too little space, or the folder cannot be written.
    """
    if cache.is_offline():
        raise ModelUnavailableError(
            f"Cannot download '{source.name}': the network is disabled (HF_HUB_OFFLINE).", "Unset HF_HUB_OFFLINE."
        )
    note = on_note or _ignore
    check_connection_settings()
    if isinstance(source, CivitaiSource):
        download = _prepare_civitai(source, note)
    else:
        server = files.web_server(source.url)
        file = files.RemoteFile(source.url, source.name, server, headers_with_token(None), files.check_web_status)
        download = _Download(file, None, "", {"source": source.name})
    if existing := _existing(download, force, note):
        return existing
    announced = files.fetch_file_info(download.file)
    partial = downloads_folder() / f"{files.partial_key(download.file, announced)}.incomplete"
    files.check_disk_space(partial, announced)
    _check_header(announced, download)
    note(f"Downloading '{announced.name}': {format_bytes(announced.size)}.")
    with files.locked(partial):
        files.download(download.file, announced, partial, on_progress)
        sha256 = download.file.sha256 or compute_sha256(partial)
        try:
            kind = _check_content(partial, download, announced.name)
        except ArtgenError:
            partial.unlink()
            raise
        details = {**download.details, "sha256": sha256, "kind": kind}
        return store(partial, kind, announced.name, download.tag or sha256[:8], details)


def local_path(name: str) -> Path | None:
    """Return the path of the downloaded file of an address; None if the name is not the address of a file.

    Raises:
        ModelUnavailableError: the file is not downloaded.
        UsageError, RefusedError: the address is not valid, or that of a pickle; see `parse_source`.
    """
    source = parse_source(name)
    if source is None or (isinstance(source, HubSource) and source.file is None):
        return None
    if isinstance(source, HubSource):
        snapshot = cache.snapshot_folder(source.repo, source.revision)
        paths = [snapshot / str(source.file)] if snapshot else []
    else:
        paths = [stored.path for stored in stored_files() if _is_from(stored, source)]
    if path := next((path for path in reversed(paths) if path.is_file()), None):
        return path
    raise ModelUnavailableError(f"'{source.name}' is not downloaded.", f"Run `artgen models pull {source.name}`.")


def _is_from(stored: StoredFile, source: CivitaiSource | WebSource) -> bool:
    if isinstance(source, WebSource):
        return stored.source == source.name
    model, _, version = stored.source.removeprefix("civitai:").partition("@")
    names = (version, str(stored.details.get("version")).lower())
    is_model = source.model is None or model == str(source.model)
    is_version = source.version is None or source.version.lower() in names
    return stored.source.startswith("civitai:") and is_model and is_version


def content_kind(path: Path) -> Kind | None:
    """Return the kind of a safetensors or GGUF file from its content; None if the content is unknown.

    Raises:
        InputFileError: the file is damaged or is of another format.
    """
    content = read_content(path)
    if content.denoiser:
        return "model"
    return CONTENT_KINDS.get(content.file_kind.kind) if content.file_kind else None


def _ignore(note: str) -> None:
    """Discard a note."""


def _prepare_civitai(source: CivitaiSource, note: OnNote) -> _Download:
    if source.has_token:
        note("The token in the address is not used. Set CIVITAI_TOKEN to this token.")
    model = civitai.fetch_model(source)
    for text in model.notes:
        note(text)
    note(f"License: {model.details['license']}. The license of the base model applies too.")
    if words := model.details["trigger_words"]:
        note(f"Trigger words: {', '.join(words)}.")
    if model.file.sha256 is None:
        note("Civitai has no hash of the file. Only its structure is checked.")
    label = str(model.details["source"])
    files.check_url(model.file.url, label)
    server, headers = civitai.server(), civitai.headers(model.file.url)
    file = files.RemoteFile(
        model.file.url, label, server, headers, civitai.check_status, model.file.sha256, model.file.name
    )
    return _Download(file, model.kind, str(model.version), model.details, model.file.size)


def _existing(download: _Download, force: bool, note: OnNote) -> StoredFile | None:
    """Return the file of an earlier download; None if it must be downloaded."""
    for stored in stored_files():
        same_hash = download.file.sha256 is not None and stored.sha256 == download.file.sha256
        if not same_hash and stored.source != download.details["source"]:
            continue
        if download.file.sha256 not in (None, stored.sha256):
            continue  # the file was replaced on the server
        if force and compute_sha256(stored.path) != stored.sha256:
            note(f"'{stored.path}' is damaged. It is downloaded again.")
            stored.path.unlink()
            return None
        is_same = stored.source == download.details["source"]
        note(f"'{stored.path.name}' {'is downloaded already' if is_same else 'is the same file'}.")
        return stored
    return None


def _check_header(announced: files.AnnouncedFile, download: _Download) -> None:
    """Check the header of a safetensors file before the download, on a sparse file of the same size.

    Raises:
        ArtgenError: see `_check_content`; or the folder cannot be written.
    """
    if announced.header:
        folder = downloads_folder()
        with wrap_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with temp_file(folder, announced.header) as path:
                os.truncate(path, announced.size)
                _check_content(path, download, announced.name)


def _check_content(path: Path, download: _Download, name: str) -> Kind:
    """Return the kind of a download, from its content, else from the server's type.

    Raises:
        RefusedError: the file is not a valid model file.
        ModelUnavailableError: the kind is unknown, or artgen has no use for it.
    """
    message = f"Cannot use '{name}' of '{download.file.label}'"
    try:
        kind, content = content_kind(path) or download.kind, read_content(path).file_kind
    except ArtgenError as error:
        reason = error.message.replace(f"'{path}'", "it").rstrip(".")
        raise RefusedError(f"{message}: {reason}.", "Choose another file.") from None
    if kind is None:
        found = content.description if content else "not a checkpoint, LoRA, VAE or embedding"
        raise ModelUnavailableError(f"{message}: it is {found}.", "Choose another file.")
    return kind
