"""Find the control net of `--control`: a short name, a folder, a file, a name in the model folders, or a hub id."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Downloading, Listener, Notice, no_op
from artgen.registry import diffusers_folder, hashes, hub, model_folders
from artgen.registry.control_nets.control_net import ControlNet
from artgen.registry.control_nets.fit import NET_CLASSES, check_compatible, denoiser_config, net_architecture
from artgen.registry.control_nets.kinds import check_kind, net_kinds, union_modes
from artgen.registry.control_nets.net_table import NetEntry, default_entry, default_kinds, find_entry, net_entries
from artgen.registry.control_nets.single_file import read_net_config
from artgen.registry.hub import cache
from artgen.registry.hub.names import HUB_ID_PATTERN, check_revision
from artgen.registry.local_parts import find_part
from artgen.registry.model_configs import check_config_fits_weights, read_config
from artgen.registry.resolved import ResolvedModel
from artgen.registry.safetensors_header import read_header, reject_pickle
from artgen.spec.control import CONTROL_KINDS, ControlSpec, map_kind
from artgen.spec.fields import describe_value

COMPONENT = "controlnet"
_TITLE = "control net"
_HUB_FILE = re.compile(r"([^/]+/[^/]+)/((?!.*(?:^|/)\.\.?(?:/|$))[^\\:]+\.safetensors)")
"""Address of a file on the hub: OWNER/NAME/FILE.safetensors."""

_HINT = (
    "Give a hub id (OWNER/NAME), a folder with config.json, a .safetensors file, or a name in the folder controlnet of "
    "your model_folders."
)


@dataclass(frozen=True)
class NetSearch:
    """Store what the search for a net depends on, besides its name.

    Attributes:
        model: the model that the net is for.
        offline: do not use the network.
        download: download the weights; else only the configuration.
        listener: receives the events of downloads.
    """

    model: ResolvedModel
    offline: bool = False
    download: bool = True
    listener: Listener = no_op


def resolve_net(spec: ControlSpec, search: NetSearch) -> ControlNet:
    """Find the net of a control image on the disk, or download it, and check that it fits the model.

    The configuration of a net on the hub is checked before its weights are downloaded.

    Raises:
        UsageError: the kind has no default net for the model.
        InputFileError: a file is damaged, or is not a control net.
        ModelUnavailableError: the net is unknown, is not on the disk and the network is disabled, or does not fit.
        RefusedError: the weights are a pickle.
    """
    name = spec.model
    if name is None or (spec.kind == "raw" and name in CONTROL_KINDS):
        default = _default_net(spec, search.model)
        return _resolve_entry(default.name, default, search)
    if entry := find_entry(name):
        _check_entry(name, entry, spec, search.model)
        return _resolve_entry(name, entry, search)
    if path := find_part("controlnet", name):
        return _local_net(name, path, search.model)
    source, _, revision = name.partition("@")
    check_revision(revision or None)
    repo, file = match.groups() if (match := _HUB_FILE.fullmatch(source)) else (source, "")
    if not HUB_ID_PATTERN.fullmatch(repo):
        raise _unknown_error(name)
    return _hub_net(_Remote(name, repo, file, revision or None, find_entry(source)), search)


def _check_entry(name: str, entry: NetEntry, spec: ControlSpec, model: ResolvedModel) -> None:
    """Check what the table says about a net, before anything is downloaded."""
    net = ControlNet(name, Path(), entry.class_name, entry.architecture, entry.kinds, modes=entry.modes)
    config = denoiser_config(model)
    if entry.architecture != model.architecture or not entry.fits_denoiser(config):
        # The values that the table lists differ, or else the architecture.
        check_compatible(replace(net, config=entry.fits), model)
    check_kind(net, spec)


def _default_net(spec: ControlSpec, model: ResolvedModel) -> NetEntry:
    kind = map_kind(spec)
    config = denoiser_config(model)
    if entry := default_entry(kind, model.architecture, config):
        return entry
    if kind == "raw":
        raise UsageError(
            "raw needs the net that reads the control map: a net, or the kind of the map.",
            f"--control {spec._replace(model='canny')}",
            settings=("control",),
        )
    kinds = default_kinds(model.architecture, config)
    hint = f"Kinds with a default net for this model: {', '.join(kinds)}. " if kinds else ""
    raise UsageError(
        f"The kind {kind} has no default net for '{model.short_name}'.",
        f"{hint}Name a net: --control {spec._replace(model='OWNER/NAME')}",
        settings=("control",),
    )


def _local_net(name: str, path: Path, model: ResolvedModel) -> ControlNet:
    if path.is_file():
        net = _file_net(name, path)
        check_compatible(net, model)
        return replace(net, sha256=hashes.file_hash(path))
    return _folder_net(name, path, model)


def _file_net(name: str, path: Path) -> ControlNet:
    """Return a net of a single file without its hash. The configuration is derived from the tensors."""
    class_name, config = read_net_config(path)
    return describe_net(ControlNet(name, path, class_name, "", config=config, files=(path,)))


def _folder_net(name: str, path: Path, model: ResolvedModel, entry: NetEntry | None = None) -> ControlNet:
    """Return the net of a folder with config.json and weights, or of its folder `controlnet`."""
    folder = next((each for each in (path, path / COMPONENT) if (each / "config.json").is_file()), None)
    if folder is None:
        raise ModelUnavailableError(f"'{name}' is not a control net: '{path}' has no config.json.", _HINT)
    net = _configured_net(name, folder, read_config(folder / "config.json"), entry)
    check_compatible(net, model)
    weights = next((found for found in diffusers_folder.find_weights(folder) if found.is_complete), None)
    if weights is None:
        for pickle in sorted(folder.iterdir()):
            reject_pickle(pickle)
        raise ModelUnavailableError(
            f"Cannot load the control net '{name}': '{folder}' has no complete .safetensors weights.",
            "Use another copy.",
        )
    shapes = {key: shape for file in weights.files for key, (_, shape) in read_header(file).tensors.items()}
    check_config_fits_weights(folder / "config.json", net.config, shapes)
    if net.class_name == "ControlNetModel" and "task_embedding" in shapes:  # as in copies of xinsir's union net
        config = {"num_control_type": shapes["task_embedding"][0], **net.config}
        net = describe_net(replace(net, class_name="ControlNetUnionModel", config=config), entry)
    return replace(net, files=weights.files, sha256=hashes.model_hash(weights.files))


def _configured_net(name: str, folder: Path, config: Mapping[str, Any], entry: NetEntry | None) -> ControlNet:
    class_name = entry.class_name if entry else config.get("_class_name")  # the union net of SDXL names another class
    if class_name not in NET_CLASSES:
        raise ModelUnavailableError(
            f"Cannot use '{name}' as a control net: its class is {describe_value(class_name)}. Supported classes: "
            f"{', '.join(NET_CLASSES)}.",
            _HINT,
        )
    return describe_net(ControlNet(name, folder, str(class_name), "", config=config), entry)


def describe_net(net: ControlNet, entry: NetEntry | None = None) -> ControlNet:
    """Fill in the architecture, the kinds and the modes of a net from its configuration and its entry of the table."""
    architecture = entry.architecture if entry else net_architecture(net.class_name, net.config)
    modes = dict(entry.modes) if entry and entry.modes else union_modes(net.class_name, net.config)
    is_inpaint = entry.is_inpaint if entry else net.reads_mask or "inpaint" in Path(net.name).name.lower()
    return replace(
        net,
        architecture=architecture,
        kinds=entry.kinds if entry else net_kinds(net.config, modes),
        modes=modes,
        is_inpaint=is_inpaint,
        license=entry.license if entry else "",
        source=entry.source if entry else net.source,
    )


@dataclass(frozen=True)
class _Remote:
    """Store the address of a net on the hub."""

    name: str
    repo: str
    file: str
    revision: str | None
    entry: NetEntry | None


def _resolve_entry(name: str, entry: NetEntry, search: NetSearch) -> ControlNet:
    if entry.bundled_folder is not None:
        return _folder_net(name, entry.bundled_folder, search.model, entry)
    return _hub_net(_Remote(name, entry.source, entry.file or "", None, entry), search)


def _hub_net(remote: _Remote, search: NetSearch) -> ControlNet:
    snapshot = cache.snapshot_folder(remote.repo, remote.revision)
    if snapshot is None or not _is_complete(snapshot, remote.file):
        if search.offline or cache.is_offline():
            raise ModelUnavailableError(
                f"The control net '{remote.name}' is not on this computer, and the network is disabled (--offline or "
                "HF_HUB_OFFLINE).",
                "Run the command once with a network.",
            )
        pending, preview = _fetch_preview(remote, search.model)
        if not search.download:
            return preview
        if note := pending.size_note():
            search.listener(Notice(note))
        on_progress: Callable[[str, int, int], None] = lambda file, done, total: search.listener(  # noqa: E731
            Downloading(file, done, total)
        )
        snapshot = hub.finish(pending, on_progress=on_progress)
    if remote.file:
        net = describe_net(_file_net(remote.name, snapshot / remote.file), remote.entry)
        check_compatible(net, search.model)
        net = replace(net, sha256=hashes.file_hash(net.path))
    else:
        net = _folder_net(remote.name, snapshot, search.model, remote.entry)
    return replace(net, source=remote.repo, revision=snapshot.name)


def _is_complete(snapshot: Path, file: str) -> bool:
    if file:
        return (snapshot / file).is_file()
    folders = [each for each in (snapshot, snapshot / COMPONENT) if (each / "config.json").is_file()]
    return bool(folders) and any(found.is_complete for found in diffusers_folder.find_weights(folders[0]))


def _fetch_preview(remote: _Remote, model: ResolvedModel) -> tuple[hub.PendingDownload, ControlNet]:
    """Download the configuration of a net or the header of its file, and check it. Return the download of the rest."""
    found: list[ControlNet] = []

    def check_config(path: Path) -> None:
        found.append(_configured_net(remote.name, path.parent, read_config(path), remote.entry))
        check_compatible(found[0], model)

    if remote.file:
        pending = hub.fetch_configs(remote.repo, remote.revision, file=remote.file)
        header = hub.fetch_header(pending)
        if header is None:
            raise _unknown_error(remote.name)
        net = describe_net(replace(_file_net(remote.name, header), files=()), remote.entry)
        check_compatible(net, model)
    else:
        pending = hub.fetch_component(
            remote.repo, COMPONENT, _TITLE, revision=remote.revision, check_config=check_config
        )
        net = found[0]
    weights = [file for file in pending.selection.files if file.name.endswith(".safetensors")]
    is_known = all(file.is_lfs for file in weights)  # else the ETag is not a SHA-256
    return pending, replace(
        net,
        source=remote.repo,
        revision=pending.listing.commit,
        sha256=hashes.combined_hash([file.etag for file in weights]) if is_known else "",
        download_bytes=pending.num_bytes,
    )


def _unknown_error(name: str) -> ModelUnavailableError:
    similar = difflib.get_close_matches(name, net_entries(), n=3)
    hint = f"Did you mean {' or '.join(similar)}?" if similar else model_folders.similar_names_hint("controlnet", name)
    return ModelUnavailableError(f"Cannot find the control net {describe_value(name)}.", hint or _HINT)
