"""From a picture back to the request that made it.

What a picture says is data: file names in it are looked for only beside the picture and in the current folder, and
used only when their SHA-256 is the recorded one, LoRAs likewise and in the user's folder of LoRAs; a recorded model is
used only when it is an alias or a hub id, never as a path.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen import metadata, registry
from artgen.errors import InputFileError, ModelUnavailableError, UsageError
from artgen.jobs.job import Job
from artgen.registry import lora as lora_files
from artgen.spec import fast, settings
from artgen.spec.lora import LoraSpec, parse_lora
from artgen.spec.records import from_record
from artgen.spec.requests import TASKS, Request
from artgen.spec.settings import MAX_BATCH_SIZE, options_of, path_settings
from artgen.system import hardware

A1111_KEYS = ("prompt", "negative_prompt", "steps", "scheduler", "sigmas", "guidance_scale", "seed", "width", "height")
"""Fields that are taken from other tools' notes; a model's name there means nothing here."""

IGNORED_KEYS = frozenset({"model", "model_hash", "Version", "RNG", "lora", "lora_autov3", "Lora hashes"})
"""What other tools say and no note is due for: it is said otherwise, or on pixels it has no say here."""

PIXEL_AFFECTING_PACKAGES = ("torch", "diffusers", "transformers", "scikit-image")
"""Versions on which pixels may depend."""


@dataclass(frozen=True)
class ReplaySpec:
    """A picture to make again.

    Attributes:
        request: what to make.
        expected_hashes: facts the new record must agree with (`model_hash`), so that another model is not taken for it.
        notes: why the pixels may differ.
        batch_size: of the device batch that it was drawn in; with others, kernels round otherwise.
    """

    request: Request
    expected_hashes: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    batch_size: int = 1

    def check_job(self, job: Job) -> None:
        """Holds a prepared job to the facts.

        Raises:
            ModelUnavailableError: the model, or a part that `fast` named, has other weights than what drew the picture.
        """
        for name, value in self.expected_hashes.items():
            if job.provenance.get(name) != value and name == "fast_parts":
                here = ", ".join(job.provenance.get(name, ["none"]))
                raise ModelUnavailableError(
                    f"It was drawn with {', '.join(map(str, value))}; here is {here}.",
                    f"--set fast={getattr(job.request, 'fast', None)} draws with the present ones all the same.",
                )
            if job.provenance.get(name) != value:
                raise ModelUnavailableError(
                    f"{job.request.model} has other weights than the picture's model: {name} {str(value)[:10]}... was "
                    f"recorded, {str(job.provenance.get(name))[:10]}... is here.",
                    f"--set model={job.request.model} draws with the present ones all the same.",
                )


def read_replay_spec(path: Path, changes: Mapping[str, str]) -> ReplaySpec:
    """Reads a picture, its sidecar or A1111 text, and applies `--set` changes.

    Args:
        path: PNG, JPEG, WebP, a `.json` record or a text file in A1111's form.
        changes: setting name -> value as typed; an empty value leaves the setting open.

    Raises:
        InputFileError: nothing is recorded, or an input picture or a LoRA of the original cannot be found.
        UsageError: a change names no setting or is out of its limits; the model was a local file.
    """
    found = metadata.read_metadata(path)
    notes = list(found.notes)
    if found.record:
        record = dict(found.record)
    elif found.fields.get("prompt") is not None:
        record = _from_other_tool(found.fields, changes, notes)
        if "lora" not in changes:
            _find_other_tool_loras(path, found.fields, record, notes)
    else:
        raise InputFileError(
            f"{path} does not say how it was made.",
            "`artgen info` shows what a picture holds; metadata may be stripped.",
        )
    if "task" not in record and "seed" not in record:
        raise InputFileError(
            f"{path} holds no prompt or seed; it was saved with --metadata minimal.",
            "Pictures saved with --metadata full, the default, can be made again.",
        )
    if not isinstance(record.get("task"), str) or record["task"] not in TASKS:
        raise InputFileError(f"{path} was made by {record.get('task')!r}, which replay does not know.")
    known = options_of(TASKS[record["task"]].request_class)
    record, changes = settings.canonical_keys(record, known), settings.canonical_keys(changes, known)
    if "fast" not in changes:
        _reject_removed_presets(path, record)
    changed = _apply_changes(record, changes)
    _find_input_files(path, record, changes)
    if found.record and "lora" not in changes:
        _find_loras(path, record)
    expected = _pin_model(record, changes)
    if isinstance(parts := record.get("fast_parts"), list) and "fast" not in changes:
        expected["fast_parts"] = parts
    there = _choose_device(record, changed, notes)
    if found.record and not changed:
        _add_version_notes(record, notes)
    rows = _recorded_batch_size(record, notes) if there and not changed else 1
    return ReplaySpec(_build_request(record), expected, tuple(notes), rows)


def _reject_removed_presets(path: Path, record: Mapping[str, Any]) -> None:
    for name, version in fast.removed_presets(str(record.get("fast") or "")).items():
        raise InputFileError(
            f"Cannot replay '{path}': '--fast {name}' was removed; artgen {version} is the last version that supports "
            "it.",
            "To replay without approximations, add --set fast=.",
        )


def _build_request(record: Mapping[str, Any]) -> Request:
    try:
        return from_record(record)
    except UsageError as error:
        raise InputFileError(f"The record cannot be followed: {error.message}", error.hint) from error


def _apply_changes(record: dict[str, Any], changes: Mapping[str, str]) -> bool:
    """Puts changes into the record; says whether pixels are meant to differ."""
    cls = TASKS[record["task"]].request_class
    for name, text in changes.items():
        record[name] = settings.parse_value(cls, name, text)
        if name == "scheduler":
            record.pop("sigmas", None)
    if not changes:
        return False
    # What the task cannot do without is filled in: here only the changes are on trial.
    needed: dict[str, Any] = {"image": "-", "mask": "-", "expand": "1"}
    if "expand" in changes or "target_size" in changes:
        needed |= {"expand": record.get("expand"), "target_size": record.get("target_size")}
    known = options_of(cls)
    try:
        from_record(
            {
                "task": record["task"],
                **{k: v for k, v in needed.items() if k in known},
                **{k: record[k] for k in changes},
            }
        )
    except UsageError as error:
        raise UsageError(f"--set: {error.message}", error.hint) from error
    return bool(set(changes) - {"model", *path_settings(cls)})


def _find_input_files(path: Path, record: dict[str, Any], changes: Mapping[str, str]) -> None:
    for name in path_settings(TASKS[record["task"]].request_class):
        if name in changes:
            continue
        wanted = record.get(f"{name}_sha256")
        file_name = Path(str(record.get(name, ""))).name
        candidates = [folder / file_name for folder in (path.parent, Path())] if file_name else []
        match = next((file for file in candidates if wanted and _file_sha256(file) == wanted), None)
        if match is None:
            raise InputFileError(
                f"{path} was made from {name} {file_name!r}, which is not beside it or in this folder "
                f"(SHA-256 {str(wanted)[:10]}...).",
                f"Say where it is: --set {name}=PATH",
            )
        record[name] = str(match)


def _find_loras(path: Path, record: dict[str, Any]) -> None:
    """Puts the files in the place of the names.

    Raises:
        InputFileError: one is not to be found, or has other contents than the recorded one.
    """
    named, digests = record.get("lora") or [], record.get("lora_sha256") or []
    if not isinstance(named, list) or not isinstance(digests, list) or len(named) != len(digests):
        raise InputFileError("The record cannot be followed: its LoRAs and their hashes do not match.", LORA_HINT)
    record["lora"] = [_find_lora(path, str(text), str(digest)) for text, digest in zip(named, digests, strict=True)]


LORA_HINT = "Say which: --set lora=PATH:0.8, or --set lora= to draw without."


def _find_lora(path: Path, text: str, digest: str) -> str:
    try:
        lora = parse_lora(text)
    except UsageError as error:
        raise InputFileError(f"The record cannot be followed: {error.message}", LORA_HINT) from error
    adapter = lora_files.find_recorded(lora.name, digest, (path.parent, Path()))
    if adapter is None:
        raise InputFileError(
            f"{path} was drawn with the LoRA {lora.file_name!r} (SHA-256 {digest[:10]}...), which is not beside it, in "
            "this folder or in your lora_folder; a file of that name and other contents does not count.",
            f"Say where it is: --set lora=PATH:{lora.scale:g}, or --set lora= to draw without.",
        )
    return str(LoraSpec(str(adapter.path), lora.scale))


def _find_other_tool_loras(path: Path, fields: Mapping[str, Any], record: dict[str, Any], notes: list[str]) -> None:
    """Takes the LoRAs that another tool names, as far as they are here with the hash that it says."""
    found = []
    for text, digest in zip(fields.get("lora", ()), fields.get("lora_autov3", ()), strict=False):
        try:
            found.append(_find_lora(path, text, digest))
        except InputFileError:
            notes.append(f"its LoRA {text} is not here, or has another hash; add --set lora=PATH:SCALE to use it")
    if found:
        record["lora"] = found


def _file_sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError:
        return None


def _pin_model(record: dict[str, Any], changes: Mapping[str, str]) -> dict[str, Any]:
    if "model" in changes or "model" not in record:
        return {}
    name = str(record["model"])
    if record.get("model_source") == "local":
        raise UsageError(
            f"It was drawn with the local model {name!r} (SHA-256 {str(record.get('model_hash'))[:10]}...).",
            "Say where that is: --set model=PATH",
        )
    reference = registry.parse_reference(name)
    if reference.kind in ("folder", "file") and reference.info is None:
        raise UsageError(
            f"It names {name!r} as its model, a path on this computer; what a picture says is not followed there.",
            "Say which model to use: --set model=...",
        )
    revision = record.get("model_revision")
    if revision and "@" not in name:
        record["model"] = f"{name}@{revision}"
    return {"model_hash": record["model_hash"]} if record.get("model_hash") else {}


def _choose_device(record: dict[str, Any], changed: bool, notes: list[str]) -> bool:
    """Whether the device that drew it is here; if not, another is taken."""
    device = str(record.get("device", "auto"))
    gone = (device.startswith("cuda") and not hardware.cuda_device_count()) or (
        device == "mps" and not hardware.has_mps()
    )
    if gone:
        record["device"], record["dtype"] = "auto", "auto"
        record.pop("offload", None)  # it needs that device, and no pixel depends on it
        notes.append(f"it was drawn on {device}, which is not here; the pixels will differ slightly")
    fallbacks = record.get("fallbacks")
    if isinstance(fallbacks, list) and "vae tiling" in fallbacks:
        record["vae_tiling"] = True
    if not changed and isinstance(rounding := record.get("rounding"), list) and rounding:
        notes.append(f"it was drawn with {', '.join(map(str, rounding))}; pixels may differ slightly")
    return not gone


def _recorded_batch_size(record: Mapping[str, Any], notes: list[str]) -> int:
    rows = record.get("batch_size")
    if not isinstance(rows, int) or not 1 < rows <= MAX_BATCH_SIZE:
        return 1
    notes.append(f"it was drawn as one of {rows} at a time; so it is again, which takes as long, for the same bits")
    return rows


def _add_version_notes(record: Mapping[str, Any], notes: list[str]) -> None:
    import importlib.metadata

    for package in PIXEL_AFFECTING_PACKAGES:
        then, now = record.get(package), importlib.metadata.version(package)
        if then and str(then).partition("+")[0] != now.partition("+")[0]:
            notes.append(f"it was drawn with {package} {then}; this is {now}, and pixels may differ")


def _from_other_tool(fields: Mapping[str, Any], changes: Mapping[str, str], notes: list[str]) -> dict[str, Any]:
    """A record from what another tool says; what means nothing here is left open, with a note."""
    record = {"task": "txt2img", **{name: fields[name] for name in ("prompt", "negative_prompt") if name in fields}}
    for name in A1111_KEYS:
        if name not in fields or name in record or name in changes:
            continue
        value = fields[name]
        # Noise levels mean nothing without the scheduler they were said of.
        orphan = name == "sigmas" and "scheduler" not in record and "scheduler" in fields
        if orphan and "scheduler" in changes:
            continue
        try:
            if not orphan:
                from_record({**record, name: value})
                record[name] = value
        except UsageError:
            instead = "one is drawn at random" if name == "seed" else "the model's own is used"
            notes.append(f"its {name} {str(value)[:80]!r} is not understood here; {instead}")
    if strange := [name for name in fields if name not in A1111_KEYS and name not in IGNORED_KEYS]:
        more = f" and {len(strange) - 8} more" if len(strange) > 8 else ""
        notes.append(f"it also says {', '.join(strange[:8])}{more}, which means nothing here")
    if fields.get("model") and "model" not in changes:
        notes.append(f"it was drawn elsewhere with {fields['model']!r}; add --set model=... to use the same")
    return record
