"""Download models and files, for the command and the function."""

from dataclasses import dataclass, replace
from pathlib import Path

from artgen import registry
from artgen.api.model_operations import local_path
from artgen.api.upscaler_models import find_upscaler, pull_upscaler
from artgen.errors import ArtgenError
from artgen.events import Downloading, Listener, Notice
from artgen.registry import hub, model_folders, web
from artgen.registry.model_folders import DESCRIPTIONS, OPTIONS
from artgen.registry.upscalers import UpscalerEntry


@dataclass(frozen=True)
class PulledFile:
    """Describe a downloaded model or file.

    Attributes:
        path: folder of a model, or the file.
        usage: option that uses the file, such as `--lora NAME`; empty if no option takes it.
    """

    path: Path
    usage: str


def local_file(name: str) -> PulledFile:
    """Return a bundled or local model, for which `pull_source` returns None."""
    return PulledFile(local_path(name), f"-m {name}")


PullSource = registry.ModelReference | web.Source | UpscalerEntry
"""Origin of a download: a model, an upscaler, or a file of the hub, of Civitai or of another web server."""


def parse_pull_source(name: str) -> PullSource:
    """Return the origin that a name or an address means: alias, OWNER/NAME[@REVISION], civitai:MODEL[@VERSION], ..."""
    return web.parse_source(name) or find_upscaler(name) or registry.parse_reference(name)


def pull_source(source: PullSource, force: bool, listener: Listener) -> PulledFile | None:
    """Download a model or a file. Return None if there is nothing to download, with a notice."""
    if isinstance(source, registry.ModelReference):
        return _pull_model(source, force, listener)
    if isinstance(source, UpscalerEntry):
        return PulledFile(pull_upscaler(source, force, listener), f"--upscaler {source.name}")
    if not isinstance(source, web.HubSource):
        return _pull_file(source, force, listener)
    if source.file is None:
        name = f"{source.repo}@{source.revision}" if source.revision else source.repo
        return _pull_model(registry.parse_reference(name), force, listener)
    return _pull_hub_file(source, source.file, force, listener)


def _pull_model(reference: registry.ModelReference, force: bool, listener: Listener) -> PulledFile | None:
    """Download a model of the hub into the cache."""
    if reference.kind != "hub":
        listener(Notice(f"'{reference.name}' is not a model of the Hugging Face Hub. Nothing to download."))
        return None
    folder = registry.download_model(reference, force=force, listener=listener)
    registry.check_model_files(registry.resolve_reference(replace(reference, revision=folder.name), offline=True))
    return PulledFile(folder, f"-m {reference.name}")


def _pull_hub_file(source: web.HubSource, file: str, force: bool, listener: Listener) -> PulledFile:
    """Download one file of the hub into the cache."""
    folder = hub.pull(
        source.repo,
        revision=source.revision,
        file=file,
        force=force,
        on_progress=lambda name, done, total: listener(Downloading(name, done, total)),
    )
    return _pulled_file(folder / file, web.content_kind(folder / file), None, listener)


def _pull_file(source: web.CivitaiSource | web.WebSource, force: bool, listener: Listener) -> PulledFile:
    """Download a file into artgen's model folder."""
    stored = web.pull(
        source,
        force=force,
        on_progress=lambda name, done, total: listener(Downloading(name, done, total)),
        on_note=lambda text: listener(Notice(text)),
    )
    return _pulled_file(stored.path, stored.kind, stored.name, listener)


def _pulled_file(path: Path, kind: model_folders.Kind | None, name: str | None, listener: Listener) -> PulledFile:
    """Return a downloaded file, and send a notice about its use."""
    if kind in OPTIONS:
        usage = f"{OPTIONS[kind]} {name if name and _is_found(name, path, kind) else path}"
        listener(Notice(f"Use it with `{usage}`."))
        return PulledFile(path, usage)
    found = DESCRIPTIONS[kind] if kind else "unknown"
    listener(Notice(f"The kind of the file is {found}. No option of artgen takes it."))
    return PulledFile(path, "")


def _is_found(name: str, path: Path, kind: model_folders.Kind) -> bool:
    """Return whether a name means this file, and not an alias or another file."""
    try:
        if kind == "model":
            return Path(registry.parse_reference(name).target) == path
        return model_folders.find(kind, name) == path
    except ArtgenError:
        return False
