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

from artgen import adapters, machine, metadata, registry, settings
from artgen.errors import InputFileError, ModelUnavailableError, UsageError
from artgen.loras import Lora, parse_lora
from artgen.prepare import Prepared
from artgen.records import from_record
from artgen.requests import TASKS, Request
from artgen.settings import LARGEST_BATCH, settings_of

FILES = ("image", "mask")
FOREIGN = ("prompt", "negative_prompt", "steps", "scheduler", "sigmas", "guidance_scale", "seed", "width", "height")
"""Fields that are taken from other tools' notes; a model's name there means nothing here."""

NO_MATTER = frozenset({"model", "model_hash", "Version", "RNG", "lora", "lora_autov3", "Lora hashes"})
"""What other tools say and no note is due for: it is said otherwise, or on pixels it has no say here."""

PIXEL_FACTS = ("torch", "diffusers", "transformers", "scikit-image")
"""Versions on which pixels may depend."""


@dataclass(frozen=True)
class Plan:
    """A picture to make again.

    Attributes:
        request: what to make.
        expected: facts the new record must agree with (`model_hash`), so that another model is not taken for it.
        notes: why the pixels may differ.
        rows: of the device batch that it was drawn in; with others, kernels round otherwise.
    """

    request: Request
    expected: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    rows: int = 1

    def check(self, job: Prepared) -> None:
        """Holds a prepared job to the facts.

        Raises:
            ModelUnavailableError: the model, or a part that `fast` named, has other weights than what drew the picture.
        """
        for name, value in self.expected.items():
            if job.facts.get(name) != value and name == "fast_parts":
                here = ", ".join(job.facts.get(name, ["none"]))
                raise ModelUnavailableError(
                    f"It was drawn with {', '.join(map(str, value))}; here is {here}.",
                    f"--set fast={getattr(job.request, 'fast', None)} draws with the present ones all the same.",
                )
            if job.facts.get(name) != value:
                raise ModelUnavailableError(
                    f"{job.model.name} has other weights than the picture's model: {name} {str(value)[:10]}... was "
                    f"recorded, {str(job.facts.get(name))[:10]}... is here.",
                    f"--set model={job.model.name} draws with the present ones all the same.",
                )


def plan(path: Path, changes: Mapping[str, str]) -> Plan:
    """Reads a picture, its sidecar or A1111 text, and applies `--set` changes.

    Args:
        path: PNG, JPEG, WebP, a `.json` record or a text file in A1111's form.
        changes: setting name -> value as typed; an empty value leaves the setting open.

    Raises:
        InputFileError: nothing is recorded, or an input picture or a LoRA of the original cannot be found.
        UsageError: a change names no setting or is out of its limits; the model was a local file.
    """
    found = metadata.read(path)
    notes = list(found.notes)
    if found.record:
        record = dict(found.record)
    elif found.fields.get("prompt") is not None:
        record = _foreign(found.fields, changes, notes)
        if "lora" not in changes:
            _find_foreign_loras(path, found.fields, record, notes)
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
    changed = _apply(record, changes)
    _find_files(path, record, changes)
    if found.record and "lora" not in changes:
        _find_loras(path, record)
    expected = _model(record, changes)
    if isinstance(parts := record.get("fast_parts"), list) and "fast" not in changes:
        expected["fast_parts"] = parts
    there = _device(record, changed, notes)
    if found.record and not changed:
        _version_notes(record, notes)
    rows = _rows(record, notes) if there and not changed else 1
    return Plan(_request(record), expected, tuple(notes), rows)


def _request(record: Mapping[str, Any]) -> Request:
    try:
        return from_record(record)
    except UsageError as error:
        raise InputFileError(f"The record cannot be followed: {error.message}", error.hint) from error


def _apply(record: dict[str, Any], changes: Mapping[str, str]) -> bool:
    """Puts changes into the record; says whether pixels are meant to differ."""
    cls = TASKS[record["task"]]
    for name, text in changes.items():
        record[name] = settings.parse(cls, name, text)
        if name == "scheduler":
            record.pop("sigmas", None)
    if not changes:
        return False
    # What the task cannot do without is filled in: here only the changes are on trial.
    needed: dict[str, Any] = {"image": "-", "mask": "-", "expand": "1"}
    if "expand" in changes or "to" in changes:
        needed |= {"expand": record.get("expand"), "to": record.get("to")}
    known = settings_of(cls)
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
    return bool(set(changes) - set(FILES) - {"model"})


def _find_files(path: Path, record: dict[str, Any], changes: Mapping[str, str]) -> None:
    for name in FILES:
        if name not in settings_of(TASKS[record["task"]]) or name in changes:
            continue
        wanted = record.get(f"{name}_sha256")
        file_name = Path(str(record.get(name, ""))).name
        candidates = [folder / file_name for folder in (path.parent, Path())] if file_name else []
        match = next((file for file in candidates if wanted and _sha256(file) == wanted), None)
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
        raise InputFileError("The record cannot be followed: its LoRAs and their hashes do not match.", SAY_LORAS)
    record["lora"] = [_lora(path, str(text), str(digest)) for text, digest in zip(named, digests, strict=True)]


SAY_LORAS = "Say which: --set lora=PATH:0.8, or --set lora= to draw without."


def _lora(path: Path, text: str, digest: str) -> str:
    try:
        lora = parse_lora(text)
    except UsageError as error:
        raise InputFileError(f"The record cannot be followed: {error.message}", SAY_LORAS) from error
    adapter = adapters.recorded(lora.name, digest, (path.parent, Path()))
    if adapter is None:
        raise InputFileError(
            f"{path} was drawn with the LoRA {lora.file!r} (SHA-256 {digest[:10]}...), which is not beside it, in this "
            "folder or in your lora_folder; a file of that name and other contents does not count.",
            f"Say where it is: --set lora=PATH:{lora.scale:g}, or --set lora= to draw without.",
        )
    return str(Lora(str(adapter.path), lora.scale))


def _find_foreign_loras(path: Path, fields: Mapping[str, Any], record: dict[str, Any], notes: list[str]) -> None:
    """Takes the LoRAs that another tool names, as far as they are here with the hash that it says."""
    found = []
    for text, digest in zip(fields.get("lora", ()), fields.get("lora_autov3", ()), strict=False):
        try:
            found.append(_lora(path, text, digest))
        except InputFileError:
            notes.append(f"its LoRA {text} is not here, or has another hash; add --set lora=PATH:SCALE to use it")
    if found:
        record["lora"] = found


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError:
        return None


def _model(record: dict[str, Any], changes: Mapping[str, str]) -> dict[str, Any]:
    if "model" in changes or "model" not in record:
        return {}
    name = str(record["model"])
    if record.get("model_source") == "local":
        raise UsageError(
            f"It was drawn with the local model {name!r} (SHA-256 {str(record.get('model_hash'))[:10]}...).",
            "Say where that is: --set model=PATH",
        )
    reference = registry.parse(name)
    if reference.kind in ("folder", "file") and reference.card is None:
        raise UsageError(
            f"It names {name!r} as its model, a path on this computer; what a picture says is not followed there.",
            "Say which model to use: --set model=...",
        )
    revision = record.get("model_revision")
    if revision and "@" not in name:
        record["model"] = f"{name}@{revision}"
    return {"model_hash": record["model_hash"]} if record.get("model_hash") else {}


def _device(record: dict[str, Any], changed: bool, notes: list[str]) -> bool:
    """Whether the device that drew it is here; if not, another is taken."""
    device = str(record.get("device", "auto"))
    gone = (device.startswith("cuda") and not machine.cuda_devices()) or (device == "mps" and not machine.has_mps())
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


def _rows(record: Mapping[str, Any], notes: list[str]) -> int:
    rows = record.get("batch_size")
    if not isinstance(rows, int) or not 1 < rows <= LARGEST_BATCH:
        return 1
    notes.append(f"it was drawn as one of {rows} at a time; so it is again, which takes as long, for the same bits")
    return rows


def _version_notes(record: Mapping[str, Any], notes: list[str]) -> None:
    import importlib.metadata

    for package in PIXEL_FACTS:
        then, now = record.get(package), importlib.metadata.version(package)
        if then and str(then).partition("+")[0] != now.partition("+")[0]:
            notes.append(f"it was drawn with {package} {then}; this is {now}, and pixels may differ")


def _foreign(fields: Mapping[str, Any], changes: Mapping[str, str], notes: list[str]) -> dict[str, Any]:
    """A record from what another tool says; what means nothing here is left open, with a note."""
    record = {"task": "txt2img", **{name: fields[name] for name in ("prompt", "negative_prompt") if name in fields}}
    for name in FOREIGN:
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
    if strange := [name for name in fields if name not in FOREIGN and name not in NO_MATTER]:
        more = f" and {len(strange) - 8} more" if len(strange) > 8 else ""
        notes.append(f"it also says {', '.join(strange[:8])}{more}, which means nothing here")
    if fields.get("model") and "model" not in changes:
        notes.append(f"it was drawn elsewhere with {fields['model']!r}; add --set model=... to use the same")
    return record
