"""Check a model's files: quickly before slow work (`check_model_files`), or by hash (`verify_model_files`)."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, RefusedError
from artgen.registry import diffusers_folder, hashes, model_configs
from artgen.registry.catalog import ASSETS_FOLDER, known_models
from artgen.registry.checkpoint_content import read_weights_header
from artgen.registry.component_fit import check_components_fit
from artgen.registry.config_checks import check_configs
from artgen.registry.hub import cache as hub_cache
from artgen.registry.hub import download
from artgen.registry.hub.select_files import missing_weights_error
from artgen.registry.references import ModelReference, parse_reference
from artgen.registry.resolved import ResolvedModel
from artgen.registry.safetensors_header import PICKLE_SUFFIXES, SafetensorsHeader, read_header
from artgen.registry.single_file import check_gguf_package
from artgen.system.counts import counted
from artgen.system.files import wrap_read_errors

if TYPE_CHECKING:
    from artgen.registry.upscalers import UpscalerEntry

MAX_LISTED_FILES = 3

OnVerify = Callable[[str, int, int], None]


@dataclass(frozen=True)
class FileCheck:
    """Store the result for one file of a model.

    Attributes:
        model: name of the model.
        file: path relative to the model's folder.
        ok: whether the file is valid.
        detail: the hash, or the reason.
    """

    model: str
    file: str
    ok: bool
    detail: str


def check_model_files(model: ResolvedModel) -> None:
    """Check that a model is complete, that its files are valid and have the right lengths, and that it has no code.

    This reads only configurations and safetensors headers, which takes some milliseconds. The configurations of a model
    with the attribute `remote` were checked when it was resolved.

    Raises:
        RefusedError: the model has code, or weights only as pickles.
        ModelUnavailableError: a file is missing, truncated or damaged, or a configuration does not fit the
            weights; the hint is the command that repairs the model.
    """
    if model.remote is not None:
        return
    if model.is_file:
        _check_single_file(model)
        return
    repair_hint = _repair_hint(model)
    try:
        check_configs(model.path)
        _check_complete(model, repair_hint)
        weights = diffusers_folder.select_weights(model.path, model.omitted)[1]
    except InputFileError as error:
        raise ModelUnavailableError(error.message, repair_hint) from None
    for component, weight_files in weights.items():
        headers = [_read_weights_header(model.name, file, repair_hint) for file in weight_files.files]
        shapes = {name: shape for header in headers for name, (_, shape) in header.tensors.items()}
        _check_tensors(model, component, weight_files, shapes, repair_hint)
        config = weight_files.files[0].with_name("config.json")
        model_configs.check_config_fits_weights(config, model_configs.read_config(config), shapes)
    check_components_fit(model)


def _check_single_file(model: ResolvedModel) -> None:
    """Check a single file, and the model that provides the components that it lacks."""
    _read_weights_header(model.name, model.path)
    contents = model.single_file
    if contents is None:
        return
    check_gguf_package(model)
    if contents.base is None:
        return
    repair_hint = f"Run `artgen models pull {contents.base_name} --force`."
    try:
        check_configs(contents.base)
        for component, files in contents.base_weights().items():
            for file in files.files:
                _read_weights_header(contents.base_name, file, repair_hint)
            config = contents.config / component / "config.json"
            shapes = {name: shape for file in files.files for name, (_, shape) in read_header(file).tensors.items()}
            model_configs.check_config_fits_weights(config, model_configs.read_config(config), shapes)
    except InputFileError as error:
        raise ModelUnavailableError(error.message, repair_hint) from None


def _check_complete(model: ResolvedModel, repair_hint: str) -> None:
    missing = diffusers_folder.missing_files(model.path, model.omitted)
    for name in (path.removesuffix("/*.safetensors") for path in missing if path.endswith("/*.safetensors")):
        folder = model.path / name if (model.path / name).is_dir() else model.path
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLE_SUFFIXES)
        if pickles:
            raise RefusedError(
                f"Cannot load '{model.name}': its {name} has only {pickles[0]}, a Python pickle that can run code.",
                f"Use a copy of the model with .safetensors weights, or run `artgen models convert '{model.path}'`.",
            )
    for name in (path.removesuffix("/*.safetensors") for path in missing if path.endswith("/*.safetensors")):
        folder = model.path / name
        names = [path.name for path in folder.iterdir() if path.suffix == ".safetensors"] if folder.is_dir() else []
        if names and not model.revision:
            raise missing_weights_error(model.name, name, names)
    if missing:
        num_more = len(missing) - MAX_LISTED_FILES
        more = f" and {num_more} more" if num_more > 0 else ""
        listed = ", ".join(missing[:MAX_LISTED_FILES])
        raise ModelUnavailableError(f"Cannot load '{model.name}': it lacks {listed}{more}.", repair_hint)


def _read_weights_header(name: str, path: Path, repair_hint: str = "Download the file again.") -> SafetensorsHeader:
    try:
        return read_weights_header(path)
    except InputFileError as error:
        raise ModelUnavailableError(f"Cannot load '{name}': {error.message}", repair_hint) from None


def _check_tensors(
    model: ResolvedModel,
    component: str,
    weights: diffusers_folder.WeightFiles,
    shapes: Mapping[str, tuple[int, ...]],
    repair_hint: str,
) -> None:
    """Check that shards contain all tensors of their index, and that a UNet has the configured input channels."""
    what_failed = f"Cannot load '{model.name}': its {component}"
    if not shapes:
        raise ModelUnavailableError(f"{what_failed} has no tensors.", repair_hint)
    if weights.index:
        missing = sorted(set(model_configs.read_config(weights.index)["weight_map"]) - set(shapes))
        if missing:
            reason = f"lacks {len(missing)} of its tensors, first {missing[0]}"
            raise ModelUnavailableError(f"{what_failed} {reason}.", repair_hint)
    conv_in = shapes.get("conv_in.weight", ())
    if component == "unet" and len(conv_in) == 4 and conv_in[1] != model.unet_channels:
        reason = f"has {counted(conv_in[1], 'input channel')} instead of {model.unet_channels} in its config.json"
        raise ModelUnavailableError(f"{what_failed} {reason}.", repair_hint)


def _repair_hint(model: ResolvedModel) -> str:
    """Return the command that repairs a model."""
    if model.path.is_relative_to(ASSETS_FOLDER):
        return "Install artgen again: pip install --force-reinstall artgen"
    if model.revision:
        return f"Run `artgen models pull {model.name} --force`."
    return f"Replace the file, or copy the model again; `artgen models verify {model.name}` checks all files."


def verify_model_files(name: str, on_progress: OnVerify | None = None) -> list[FileCheck]:
    """Read every file of a model or of an upscaling network on the disk, and compare it with its hash.

    The hash of a cached file is the name of its blob (SHA-256, or git's SHA-1 for small files). The hashes of bundled
    models and other folders are in `SHA256SUMS`, if that file exists. All safetensors headers are validated.

    Raises:
        ModelUnavailableError: the model is unknown or not on the disk.
        RefusedError: the model is a pickle.
    """
    from artgen.registry.upscalers.upscaler import find_entry  # only this function needs these modules
    from artgen.registry.web import find_stored

    is_known = name in known_models()
    upscaler = None if is_known else find_entry(name)
    stored = None if is_known or upscaler else find_stored(name)
    if upscaler is not None:
        reference = _upscaler_reference(upscaler)
    else:
        reference = ModelReference("file", name, str(stored.path)) if stored else parse_reference(name)
    root = _model_root(reference)
    sums = hashes.read_sha256sums(root) if root.is_dir() else {}
    if stored and stored.sha256:
        sums = {stored.path.name: stored.sha256}
    files = sorted(path for path in root.rglob("*") if path.is_file() or path.is_symlink()) if root.is_dir() else [root]
    checks = [_missing_file(reference, file) for file in sums if root.is_dir() and not (root / file).is_file()]
    for path in files:
        relative = path.relative_to(root).as_posix() if path != root else path.name
        if relative in sums or relative != "SHA256SUMS":
            checks.append(_verify_file(reference, path, relative, sums.get(relative), on_progress))
    if reference.file and not (root / reference.file).is_file():
        checks.append(_missing_file(reference, reference.file))
    elif root.is_dir() and not reference.file:
        checks += _missing_files(reference, root) if upscaler is None else _missing_upscaler_files(reference, root)
    return checks


def _upscaler_reference(entry: "UpscalerEntry") -> ModelReference:
    if entry.bundled_folder is not None:
        return ModelReference("folder", entry.name, str(entry.bundled_folder))
    return ModelReference("hub", entry.name, entry.source)


def _missing_upscaler_files(reference: ModelReference, root: Path) -> Iterator[FileCheck]:
    from artgen.registry.upscalers.folders import is_complete

    if reference.kind == "hub" and not is_complete(root):
        yield _missing_file(reference, "weights")


def _missing_file(reference: ModelReference, file: str) -> FileCheck:
    return FileCheck(reference.name, file, False, "missing")


def _missing_files(reference: ModelReference, root: Path) -> Iterator[FileCheck]:
    try:
        check_configs(root)
        for file in diffusers_folder.missing_files(root):
            yield _missing_file(reference, file)
    except ArtgenError as error:
        yield FileCheck(reference.name, "model_index.json", False, error.message)


def _model_root(reference: ModelReference) -> Path:
    message = f"The model '{reference.name}' is not on this computer."
    if reference.kind != "hub":
        if not Path(reference.target).exists():
            raise ModelUnavailableError(message, "Install artgen again.")
        return Path(reference.target)
    folder = hub_cache.snapshot_folder(reference.target, reference.revision)
    if folder is None:
        raise ModelUnavailableError(message, f"Run `artgen models pull {reference.name}` first.")
    return folder


def _verify_file(
    reference: ModelReference, path: Path, relative: str, expected: str | None, on_progress: OnVerify | None
) -> FileCheck:
    if not path.is_file():
        reason = "not a regular file" if path.exists() else "missing (a broken link)"
        return FileCheck(reference.name, relative, False, reason)
    blob = path.readlink().name if path.is_symlink() else ""
    expected = expected or (blob if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob) else None)
    size, done = path.stat().st_size, 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        if on_progress:
            on_progress(relative, done, size)

    is_weights = path.suffix in (".safetensors", ".gguf")
    if path.suffix == ".json" and size > model_configs.MAX_VOCABULARY_BYTES:
        return FileCheck(reference.name, relative, False, f"too large for a configuration: {size:,} bytes")
    try:
        if is_weights:
            read_weights_header(path)
        elif not expected:  # no hash to compare, so its content is not read
            with wrap_read_errors(path), path.open("rb"):
                return FileCheck(reference.name, relative, True, "readable")
        is_git_hash = len(expected or "") == 40
        digest = download.blob_hash(path, is_lfs=False) if is_git_hash else hashes.compute_sha256(path, on_bytes)
    except ArtgenError as error:
        return FileCheck(reference.name, relative, False, error.message)
    if expected and digest != expected:
        return FileCheck(reference.name, relative, False, f"hash {digest[:10]} instead of {expected[:10]}")
    return FileCheck(reference.name, relative, True, digest)
