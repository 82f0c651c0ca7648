"""Damage, gaps and danger in a model, found before anything slow (`check`) or by reading every byte (`verify`)."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, RefusedError
from artgen.registry import diffusers_folder, hashes
from artgen.registry.catalog import ASSETS_FOLDER
from artgen.registry.hub import cache, download
from artgen.registry.references import ModelReference, parse_reference
from artgen.registry.resolved import ResolvedModel
from artgen.registry.safetensors_header import PICKLE_SUFFIXES, SafetensorsHeader, read_header

ALLOWED_LIBRARIES = frozenset({"diffusers", "transformers", "stable_diffusion", "stable_diffusion_xl"})
"""Where components' classes may come from; the last two are diffusers' own modules."""

OnVerify = Callable[[str, int, int], None]


@dataclass(frozen=True)
class FileCheck:
    """One file of a model: `ok`, or what is wrong with it. `detail` is its hash or the reason."""

    model: str
    file: str
    ok: bool
    detail: str


def check_model_files(model: ResolvedModel) -> None:
    """Look a model over quickly: complete, parsing, of the promised lengths, and without code of its own.

    Reads configurations and safetensors headers only, some milliseconds for any model.

    Raises:
        RefusedError: remote code, or weights that only pickle can read.
        ModelUnavailableError: a file is missing, truncated or damaged; names it and the command that repairs it.
    """
    if model.is_file:
        _read_weights_header(model.name, model.path)
        return
    repair = _repair_hint(model)
    try:
        reject_remote_code(model.path)
        _check_complete(model, repair)
        weights = diffusers_folder.select_weights(model.path)[1]
    except InputFileError as error:
        raise ModelUnavailableError(error.message, repair) from None
    for component, chosen in weights.items():
        headers = [_read_weights_header(model.name, file, repair) for file in chosen.files]
        _check_tensors(model, component, chosen, headers, repair)


def reject_remote_code(folder: Path) -> None:
    """Refuse a folder that asks for code of its own: diffusers and transformers would import it.

    Raises:
        RefusedError: a pipeline class or a component from a module of the model's, or `auto_map` in a configuration.
        InputFileError: a configuration that does not parse.
    """
    index = diffusers_folder.read_model_index(folder)
    hint = "artgen runs no code that comes with a model. Use another copy of it."
    if not isinstance(index.get("_class_name"), str):
        raise RefusedError(f"{folder.name} asks for a pipeline written in Python of its own.", hint)
    for name, library, class_name in diffusers_folder.iter_components(index):
        place = diffusers_folder.component_folder(folder, name, class_name)
        if library not in ALLOWED_LIBRARIES or list(place.glob("*.py")):
            raise RefusedError(f"{folder.name} takes its {name} ({class_name}) from code of its own ({library}).", hint)
        for config in place.glob("*.json"):
            if config.name.endswith("config.json") and "auto_map" in diffusers_folder.read_json(config):
                raise RefusedError(f"{name}/{config.name} asks for code of its own (auto_map).", hint)


def _check_complete(model: ResolvedModel, repair_hint: str) -> None:
    missing = diffusers_folder.missing_files(model.path)
    for lack in missing:
        if lack.endswith("*.safetensors"):
            name = lack.rpartition("/")[0]
            place = model.path / name if (model.path / name).is_dir() else model.path
            pickles = sorted(p.name for p in place.iterdir() if p.suffix in PICKLE_SUFFIXES)
            if pickles:
                raise RefusedError(
                    f"The {name} of {model.name} has only {pickles[0]}, a Python pickle that can run code.",
                    "Use a copy of the model with .safetensors weights, or convert it where nothing can be lost.",
                )
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelUnavailableError(f"{model.name} lacks {', '.join(missing[:3])}{more}.", repair_hint)


def _read_weights_header(name: str, path: Path, repair_hint: str = "Download the file again.") -> SafetensorsHeader:
    try:
        return read_header(path)
    except InputFileError as error:
        raise ModelUnavailableError(f"{name}: {error.message}", repair_hint) from None


def _check_tensors(
    model: ResolvedModel,
    component: str,
    weights: diffusers_folder.WeightFiles,
    headers: list[SafetensorsHeader],
    repair_hint: str,
) -> None:
    """Every tensor of a shard index is in its shard, and a UNet's first layer is as wide as its configuration says."""
    shapes = {name: shape for header in headers for name, (_, shape) in header.tensors.items()}
    if not shapes:
        raise ModelUnavailableError(f"The {component} of {model.name} has no tensors.", repair_hint)
    if weights.index:
        lacking = sorted(set(diffusers_folder.read_json(weights.index)["weight_map"]) - set(shapes))
        if lacking:
            said = f"The {component} of {model.name} lacks {len(lacking)} of its tensors, first {lacking[0]}."
            raise ModelUnavailableError(said, repair_hint)
    first = shapes.get("conv_in.weight")
    if component == "unet" and first and first[1] != model.unet_channels:
        said = f"The unet of {model.name} takes {first[1]} channels and its config.json says {model.unet_channels}."
        raise ModelUnavailableError(said, repair_hint)


def _repair_hint(model: ResolvedModel) -> str:
    """The command that mends a model of this kind."""
    if model.path.is_relative_to(ASSETS_FOLDER):
        return "Install artgen again: pip install --force-reinstall artgen"
    if model.revision:
        return f"Run `artgen models pull {model.name} --force`."
    return f"Replace the file, or copy the model again; `artgen models verify {model.name}` looks at all of it."


def verify_model_files(name: str, on_progress: OnVerify | None = None) -> list[FileCheck]:
    """Read every file of a model that is on this disk and say which are what they should be.

    Cached files are compared with the hash that is their blob's name (SHA-256, or git's SHA-1 for small files),
    bundled ones and other folders with `SHA256SUMS` where there is one; all safetensors headers are checked.

    Raises:
        ModelUnavailableError: unknown, or not on this disk.
        RefusedError: a pickle.
    """
    reference = parse_reference(name)
    root = _model_root(reference)
    sums = hashes.read_sha256sums(root) if root.is_dir() else {}
    files = sorted(p for p in root.rglob("*") if p.is_file() or p.is_symlink()) if root.is_dir() else [root]
    findings = [_missing_file(reference, file) for file in sums if not (root / file).is_file()]
    for path in files:
        relative = path.relative_to(root).as_posix() if path != root else path.name
        if relative in sums or relative != "SHA256SUMS":
            findings.append(_verify_file(reference, path, relative, sums.get(relative), on_progress))
    if root.is_dir():
        findings += _missing_files(reference, root)
    return findings


def _missing_file(reference: ModelReference, file: str) -> FileCheck:
    return FileCheck(reference.name, file, False, "missing")


def _missing_files(reference: ModelReference, root: Path) -> Iterator[FileCheck]:
    try:
        reject_remote_code(root)
        for lack in diffusers_folder.missing_files(root):
            yield _missing_file(reference, lack)
    except ArtgenError as error:
        yield FileCheck(reference.name, "model_index.json", False, error.message)


def _model_root(reference: ModelReference) -> Path:
    if reference.kind != "hub":
        if not Path(reference.target).exists():
            raise ModelUnavailableError(f"The model {reference.name} is not on this computer.", "Install artgen again.")
        return Path(reference.target)
    folder = cache.snapshot_folder(reference.target, reference.revision)
    if folder is None:
        hint = f"Run `artgen models pull {reference.name}` first."
        raise ModelUnavailableError(f"The model {reference.name} is not on this computer.", hint)
    return folder


def _verify_file(
    reference: ModelReference, path: Path, relative: str, expected: str | None, on_progress: OnVerify | None
) -> FileCheck:
    if not path.is_file():
        return FileCheck(reference.name, relative, False, "missing (a broken link)")
    blob = path.readlink().name if path.is_symlink() else ""
    expected = expected or (blob if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob) else None)
    size, done = path.stat().st_size, 0

    def heard(count: int) -> None:
        nonlocal done
        done += count
        if on_progress:
            on_progress(relative, done, size)

    try:
        if path.suffix == ".safetensors":
            read_header(path)
        found = (
            download.blob_hash(path, is_lfs=False)
            if expected and len(expected) == 40
            else hashes.compute_sha256(path, heard)
        )
    except ArtgenError as error:
        return FileCheck(reference.name, relative, False, error.message)
    if expected and found != expected:
        return FileCheck(reference.name, relative, False, f"its hash is {found[:10]} and should be {expected[:10]}")
    return FileCheck(reference.name, relative, True, found if expected or path.suffix == ".safetensors" else "readable")
