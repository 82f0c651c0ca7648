"""Compare the recorded model, device and versions with this machine, and reject records of removed features."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from artgen import registry
from artgen.errors import InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.jobs.job import GenerationJob, Job
from artgen.registry import location_index
from artgen.registry.hub.names import HUB_ID_PATTERN
from artgen.spec import fast
from artgen.spec.fields import describe_value
from artgen.spec.records import recorded_schema
from artgen.spec.refiner import parse_refiner
from artgen.spec.settings import MAX_BATCH_SIZE
from artgen.system import hardware
from artgen.system.optional_packages import installed_version

PIXEL_AFFECTING_PACKAGES = ("torch", "diffusers", "transformers", "scikit-image", "openvino")
"""Packages whose versions may affect the pixels."""


FORMER_GUIDANCE_NOTE = (
    "An earlier version of artgen generated the image. In that version, the guidance scale or the negative prompt had "
    "no effect on this model. The setting is changed, so that the pixels are identical."
)


def former_guidance(job: Job, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that generate the image of a record of an earlier version; empty for other records.

    Earlier versions passed no true CFG scale: Qwen-Image used scale 4 with a negative prompt and no guidance without
    one, and Flux ignored negative prompts. Their records have the architecture `other` or no `true_cfg_scale`.
    """
    if not isinstance(job, GenerationJob):
        return {}
    entry = job.model.pipeline_entry
    if entry.guidance == "true-cfg" and record.get("architecture") == "other" and "guidance_scale" in record:
        former = entry.true_cfg_scale if record.get("negative_prompt") else 1.0
        return {} if job.request.guidance_scale == former else {"guidance_scale": former}
    is_former = entry.negative_prompt == "true-cfg" and "true_cfg_scale" not in record and "artgen" in record
    return {"negative_prompt": ""} if is_former and record.get("negative_prompt") else {}


def single_file_notes(provenance: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a note for each recorded property of a single file that the file does not contain, if it has changed.

    These are the model of the components that the file lacks, and the sampling that its name or its `NAME.artgen.json`
    implies.
    """
    subjects = {
        "model_base": "The components that the file does not include",
        "model_sampling": "The detected sampling",
    }
    for key, subject in subjects.items():
        recorded, found = record.get(key), provenance.get(key)
        if "model" in record and recorded and recorded != found:
            verbs = ("were from", "are now from") if key == "model_base" else ("was", "is now")
            yield f"{subject} {verbs[0]} {recorded!r} and {verbs[1]} {found!r}. The pixels may differ."


class FoundByHash(Protocol):
    """Describe what a search by hash returns: a model or a VAE."""

    @property
    def name(self) -> str: ...
    @property
    def short_name(self) -> str: ...
    @property
    def path(self) -> Path: ...


WEIGHTS_PROVENANCE = ("source", "revision", "hash")
"""Suffixes of the provenance that identifies the weights of a setting, such as `model_hash`."""

PINNED_SETTINGS: Mapping[str, tuple[str, Callable[[object], Sequence[FoundByHash]]]] = {
    "model": ("model", registry.find_models_by_hash),
    "vae": ("VAE", registry.find_vaes_by_hash),
    "refiner": ("refiner", registry.find_models_by_hash),
}
"""Settings that name weights: the name in messages, and a function that finds local weights by their hash. A recorded
path of weights is never opened."""


def pinned_model(
    record: Mapping[str, Any], purpose: str, hint: str = "", setting: str = "model"
) -> tuple[str, list[str]]:
    """Return the recorded model or VAE, and notes about it.

    A model of the hub has its recorded revision, such as `ada/fox@<commit>`. A local model is found by its recorded
    hash in the index of the models that were used on this machine. A recorded path is never opened.

    Args:
        record: record with a model.
        purpose: begin of the error messages, such as "Cannot replay 'fox.png'".
        hint: hint of the errors; empty: `--set SETTING=PATH`.
        setting: key of `PINNED_SETTINGS`.

    Raises:
        InputFileError: the recorded revision is not valid.
        ModelUnavailableError: the local model is not on this machine, or the name is unknown.
        RefusedError: the recorded name is a path.
    """
    label, find_by_hash = PINNED_SETTINGS[setting]
    hint = hint or f"Set the path of the {label}: --set {setting}=PATH"
    name, suffix, source = str(record[setting]), "", str(record.get(f"{setting}_source") or "")
    revision = record.get(f"{setting}_revision")
    try:
        if setting == "refiner":
            name, base_fraction = parse_refiner(name)
            suffix = f":{base_fraction}"
        found = registry.recorded_model_name(name, source, revision) if source != "local" else None
    except UsageError as error:
        raise InputFileError(f"{purpose}: its record is invalid. {error.message}", error.hint) from error
    if found is not None:
        return found + suffix, []
    digest = record.get(f"{setting}_hash")
    # artgen records local models without folders.
    is_path = any(separator in name for separator in "/\\") or name.startswith("~")
    models = [] if is_path else sorted(find_by_hash(digest), key=lambda model: model.short_name != name)
    if models:
        return models[0].name + suffix, [f"Using the {label} '{models[0].path}', which has the recorded SHA-256."]
    if is_path:
        kind = "also a local path" if HUB_ID_PATTERN.fullmatch(name.partition("@")[0]) else "a path"
        raise RefusedError(f"{purpose}: its {label} {name!r} is {kind}, and paths from metadata are not opened.", hint)
    known_hash = f" with SHA-256 {digest}" if digest else ""
    raise ModelUnavailableError(
        f"{purpose}: the {label} {name!r}{known_hash} is not on this computer, or was moved or changed. Paths from "
        f"metadata are not opened. {location_index.damage_note() or ''}".rstrip(),
        hint,
    )


def is_device_available(record: Mapping[str, Any]) -> bool:
    """Return whether this machine has a device of the recorded kind."""
    device = str(record.get("device", "auto"))
    if device.startswith("cuda"):
        return bool(hardware.cuda_device_count())
    return device != "mps" or hardware.has_mps()


def recorded_batch_size(record: Mapping[str, Any]) -> int:
    """Return the recorded batch size; 1 if it is missing or invalid."""
    batch_size = record.get("batch_size")
    return batch_size if isinstance(batch_size, int) and 1 < batch_size <= MAX_BATCH_SIZE else 1


def difference_notes(record: Mapping[str, Any]) -> list[str]:
    """Return notes about optimizations that round differently and about other versions of packages."""
    notes = []
    inexact_optimizations = record.get("rounding")
    if isinstance(inexact_optimizations, list) and inexact_optimizations:
        names = ", ".join(map(str, inexact_optimizations))
        notes.append(f"The image was generated with {names}. The pixels may differ slightly.")
    for package in PIXEL_AFFECTING_PACKAGES:
        recorded = record.get(package)
        installed = recorded and installed_version(package)
        if installed and str(recorded).partition("+")[0] != installed.partition("+")[0]:
            notes.append(
                f"The image was generated with {package} {recorded}, and {installed} is installed. The pixels may "
                "differ."
            )
    return notes


def reject_removed_approximations(path: Path, record: Mapping[str, Any]) -> None:
    """Reject a record with an approximation of `--fast` that was removed.

    Raises:
        InputFileError: the record has such an approximation.
    """
    for name, version in fast.removed_presets(str(record.get("fast") or "")).items():
        raise InputFileError(
            f"Cannot replay '{path}': the approximation '{name}' was removed; artgen {version} is the last version "
            "that supports it.",
            "To replay without approximations, add --set fast=.",
        )


def reject_former_feather(path: Path, record: Mapping[str, Any]) -> None:
    """Reject `feather` of outpaint in a record without a schema number: it softened the edge of the new border.

    Raises:
        InputFileError: the record has such a value.
    """
    if (
        record["task"] == "outpaint"
        and "artgen" in record
        and recorded_schema(record) is None
        and record.get("feather")
    ):
        raise InputFileError(
            f"Cannot replay '{path}': --feather of outpaint had another effect in artgen "
            f"{describe_value(record['artgen'])}.",
            "To replay with the current effect, add --set feather=16.",
        )
