"""Describe, verify, convert and remove models, for the commands and the functions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from artgen import registry
from artgen.api import upscaler_models
from artgen.api.model_lists import iter_models, model_details, stored_details
from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Listener, Loading, Notice
from artgen.registry import web
from artgen.registry.hub import cache
from artgen.registry.model_license import model_license
from artgen.registry.training_provenance import read_training_provenance

MAX_README_BYTES = 1 << 20
"""Maximum number of bytes of a README that is read."""

BUNDLED_HINT = "Install artgen again: pip install --force-reinstall artgen"

MODEL_FILE_FIELDS = (
    "architecture", "pipeline", "family", "revision", "variant", "size_multiple", "steps", "guidance_scale",
    "scheduler", "sigmas", "unet_channels", "latent_channels", "is_flow_matching", "max_prompt_tokens", "prediction",
    "source", "license", "description", "notes",
)  # fmt: skip
"""Details of a model that are read from its files: attributes of `ResolvedModel`."""

TXT2IMG_ONLY_FIELDS = ("width", "height", "steps", "guidance_scale", "scheduler", "sigmas", "latent_channels")
"""Details that only text-to-image models have."""


@dataclass(frozen=True)
class ModelCard:
    """Describe one model in detail.

    Attributes:
        name: name for `model`.
        path: folder or file of the model; None if it is not downloaded.
        details: settings, license, size and other properties, as `artgen models show --json` prints them.
        readme: text of the README in the model folder; empty if there is none.
        install_hint: command that downloads or repairs the model.
    """

    name: str
    path: Path | None
    details: Mapping[str, Any]
    readme: str
    install_hint: str


def describe_model(name: str) -> ModelCard:
    """Return the details of a model: default settings, license, path and README.

    Args:
        name: alias, OWNER/NAME[@REVISION], folder or file.

    Raises:
        UsageError, ModelUnavailableError, RefusedError, InputFileError: the model is unknown or damaged.
    """
    stored = find_stored(name)
    if stored and stored.kind != "model":
        details = _unset_details() | dict(stored.details) | asdict(stored_details(stored)) | {"path": str(stored.path)}
        details |= _training_fields(stored.path)
        return ModelCard(name, stored.path, details, "", "")
    if entry := upscaler_models.find_upscaler(name):
        folder = upscaler_models.local_folder(entry)
        details = _unset_details() | asdict(upscaler_models.upscaler_details(entry))
        details |= {"path": str(folder) if folder else None}
        return ModelCard(name, folder, details, _read_readme(folder), upscaler_models.install_hint(entry))
    reference = registry.parse_reference(name)
    model_info = reference.info or registry.ModelInfo(name=reference.name, source=reference.target, builtin=False)
    model = registry.find_local_model(name)
    details = asdict(model_details(name, model_info)) | {"path": str(model.path) if model else None}
    details = _unset_details() | dict(dict(stored.details) if stored else {}) | details
    described = model
    if model is None and not model_info.builtin and reference.kind == "hub" and not cache.is_offline():
        described = registry.resolve_reference(reference, download=False)
    details |= _details_of_files(described) if described else _details_of_catalog(model_info)
    if details.get("architecture") == "pixel":
        details |= dict.fromkeys(TXT2IMG_ONLY_FIELDS)
    details |= _training_fields(model.path) if model else {}
    return ModelCard(
        name,
        model.path if model else None,
        details,
        _read_readme(model.path if model and not model.is_file else None),
        _install_hint(reference, force=False),
    )


def _unset_details() -> dict[str, Any]:
    return dict.fromkeys((*MODEL_FILE_FIELDS, "included", "base"))


def _training_fields(path: Path) -> dict[str, Any]:
    """Return the provenance of the training images of a LoRA or a model; empty if artgen did not train it."""
    if not path.is_dir() and path.suffix != ".safetensors":
        return {}
    provenance = read_training_provenance(path)
    return provenance.fields() if provenance else {}


def _details_of_files(model: registry.ResolvedModel) -> dict[str, Any]:
    """Return the details that the files of a model contain, on the disk or on the hub."""
    details = {name: getattr(model, name) for name in MODEL_FILE_FIELDS}
    details["license"] = model_license(model) or "unknown"
    if model.remote is not None:
        details["width"], details["height"] = model.native_size
        details["download_size"] = model.remote.download_bytes
    if model.single_file:
        details |= {"included": model.single_file.parts, "base": model.single_file.base_name}
    return details


def _details_of_catalog(model_info: registry.ModelInfo) -> dict[str, Any]:
    keys = ("steps", "guidance_scale", "scheduler", "sigmas", "download_size")
    return {key: getattr(model_info, key) for key in keys}


def _read_readme(folder: Path | None) -> str:
    readme = folder / "README.md" if folder else None
    if readme is None or not readme.is_file():
        return ""
    with readme.open("rb") as file:
        return file.read(MAX_README_BYTES).decode("utf-8", "replace")


def downloaded_models() -> Sequence[str]:
    """Return the names of all models and upscaling networks on the disk."""
    found = [*iter_models(), *upscaler_models.iter_upscalers()]
    return list(dict.fromkeys(each.name for each in found if each.on_disk))


def verify_files(name: str, listener: Listener) -> list[registry.FileCheck]:
    """Return the result for each file of a model."""
    return list(registry.verify_model_files(name, lambda file, *_: listener(Loading(file))))


def repair_hint(name: str) -> str:
    """Return a hint that explains how to repair a model."""
    if upscaler := upscaler_models.find_upscaler(name):
        if upscaler.bundled_folder is not None:
            return BUNDLED_HINT
        return f"{upscaler_models.install_hint(upscaler).removesuffix('`.')} --force`."
    stored = find_stored(name)
    if stored and stored.source:
        return f"Run `artgen models pull {stored.source} --force`."
    return _install_hint(registry.parse_reference(name), force=True)


def _install_hint(reference: registry.ModelReference, force: bool) -> str:
    """Return a hint that explains how to install or repair a model."""
    if reference.kind == "hub":
        return f"Run `artgen models pull {reference.name}{' --force' if force else ''}`."
    if reference.kind == "bundled":
        return BUNDLED_HINT
    return "Copy the model again from its source."


def local_path(name: str) -> Path:
    """Return the absolute path of a local model: a folder or a file.

    Raises:
        ModelUnavailableError: the model is unknown or not downloaded.
    """
    if stored := find_stored(name):
        return stored.path
    entry = upscaler_models.find_upscaler(name)
    model = None if entry else registry.find_local_model(name)
    path = upscaler_models.local_folder(entry) if entry else model.path if model else None
    if path is None:
        hint = upscaler_models.install_hint(entry) if entry else _install_hint(registry.parse_reference(name), False)
        raise ModelUnavailableError(f"Cannot print the path of '{name}': the model is not downloaded.", hint)
    return path.absolute()


@dataclass(frozen=True)
class Removal:
    """Describe a model that can be deleted.

    Attributes:
        target: file in artgen's model folder, or model of the hub.
        num_bytes: size on the disk.
    """

    target: web.StoredFile | registry.ModelReference
    num_bytes: int

    @property
    def is_shared(self) -> bool:
        """Return whether the files are in the cache that is shared with other tools."""
        return isinstance(self.target, registry.ModelReference)

    @property
    def label(self) -> str:
        """Return the path of the file, or the id of the hub model."""
        return self.target.target if isinstance(self.target, registry.ModelReference) else str(self.target.path)

    def run(self) -> int:
        """Delete the files and return the number of freed bytes."""
        if isinstance(self.target, registry.ModelReference):
            return cache.remove_model(self.target.target, self.target.revision)
        return web.remove(self.target)


def find_removal(name: str) -> Removal:
    """Return what `artgen models remove` deletes.

    Raises:
        UsageError: artgen did not download the model.
        ModelUnavailableError: the model is unknown.
    """
    if stored := find_stored(name):
        return Removal(stored, stored.path.stat().st_size)
    entry = upscaler_models.find_upscaler(name)
    is_bundled = entry is not None and entry.bundled_folder is not None
    reference = registry.parse_reference("tiny" if is_bundled else entry.source if entry else name)
    if reference.kind != "hub":
        raise UsageError(f"Cannot delete '{name}': it was not downloaded by artgen.", "Delete the files manually.")
    return Removal(reference, cache.size_on_disk(reference.target))


def find_stored(name: str) -> web.StoredFile | None:
    """Return a file in artgen's own model folder; None if another kind of model has the name."""
    return None if name in registry.known_models() else web.find_stored(name)


def iter_conversions(file: Path, output: str | None, overwrite: bool, listener: Listener) -> Iterator[Path]:
    """Convert a checkpoint, or each checkpoint of a model folder, and yield the path of each new file."""
    from artgen.outputs.parse_output import path_of_file_option
    from artgen.registry.convert import convert_pickle, default_output
    from artgen.registry.convert_folder import convert_folder

    if file.is_dir():
        if output is not None:
            raise UsageError("Cannot use --output with a folder: the files are written beside the pickles.")
        for path, notes in convert_folder(file, overwrite=overwrite):
            _send_notices(notes, listener)
            yield path
        return
    target = default_output(file)
    if output is not None:
        target = path_of_file_option(output, target.name, "--output")
    conversion = convert_pickle(file, target, overwrite=overwrite)
    _send_notices(conversion.notes, listener)
    yield conversion.path


def _send_notices(texts: Sequence[str], listener: Listener) -> None:
    for text in texts:
        listener(Notice(text))
