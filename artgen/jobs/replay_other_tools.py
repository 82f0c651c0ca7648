"""Convert the metadata of other tools to a record of artgen."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from artgen.errors import InputFileError, UsageError
from artgen.jobs import replay_nets
from artgen.jobs.replay_files import find_embedding, find_lora
from artgen.metadata import ExternalRecord, Feature
from artgen.spec.records import from_record
from artgen.spec.sampler_names import split_spacing
from artgen.spec.schedulers import find_scheduler

SUPPORTED_FIELDS = (
    "prompt", "negative_prompt", "prompt_weights", "clip_skip", "steps", "scheduler", "sigmas", "guidance_scale",
    "guidance_rescale", "seed", "variation_strength", "variation_seed", "width", "height", "only_masked", "fill",
    "hires", "hires_in", "hires_steps", "seamless",
)  # fmt: skip
"""Fields that are used. The model is not used, because other tools name models differently."""

OPTIONAL_FIELDS = (
    "negative_prompt", "clip_skip", "scheduler", "sigmas", "guidance_scale", "guidance_rescale", "only_masked",
    "variation_seed", "variation_strength", "hires", "hires_in", "seamless",
    "control", "image_prompt",
)  # fmt: skip
"""Fields that are ignored, with a note, if the model does not support them: the user chooses another model."""

_FLOW_SCHEDULERS = {"euler": "flow-euler", "heun": "flow-heun"}

OTHER_FIELDS = frozenset({"task", "strength", "model", "model_hash", "vae"})
"""Fields with a note of their own."""

SILENT_NAMES = frozenset(
    {
        "version", "app", "user", "rng", "lora hashes", "ti hashes", "hashes", "backend", "job id", "created_at",
        "date", "civitai resources", "pipeline", "operations",
    }
)  # fmt: skip
"""Metadata that is ignored without a note: another note mentions it, or it does not affect the pixels."""

MAX_LISTED_FIELDS = 8
MAX_FILES = 50
"""Number of LoRAs, and of embeddings, that are searched."""
MAX_NOTED_FEATURES = 12
MAX_VALUE_CHARS = 80

INPUT_FEATURES = ("input image", "mask", "denoise below 1")
"""Features that the note about the missing input image covers."""


def to_record(
    path: Path,
    external: ExternalRecord,
    changes: Mapping[str, Any],
    paths: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> tuple[dict[str, Any], list[str]]:
    """Return a record without unsupported values, and a note for each of these values.

    Args:
        path: image; its folder is searched for LoRAs.
        external: metadata of the other tool.
        changes: settings that `--set` replaces.
        paths: images of the user for the recorded nets; see `replay_nets.typed_paths`.

    Raises:
        UsageError: an image of the user cannot be used with the recorded net.
    """
    fields = external.fields
    record, notes = _task_record(external, changes)
    notes = [*external.notes, *notes]
    for name in SUPPORTED_FIELDS:
        if name not in fields or name in changes or (name == "sigmas" and "scheduler" in changes):
            continue
        if name == "scheduler":
            notes += _set_scheduler(record, external)
        elif record["task"] != "txt2img" and name in ("width", "height"):
            if name == "width":
                notes.append(f"The size of the input image is used, not {fields[name]}x{fields.get('height')}.")
        elif _has_no_place(record, name):
            continue
        elif name == "sigmas" and "scheduler" in fields and "scheduler" not in record:
            notes.append(_unsupported_note(name, fields[name]))  # Sigmas belong to the scheduler.
        elif _is_valid(record, name, fields[name]):
            record[name] = fields[name]
        else:
            notes.append(_unsupported_note(name, fields[name]))
    nets = replay_nets.find_nets(path, external, changes, paths, str(record["task"]))
    record |= nets.values
    notes += [*nets.notes, *_feature_notes(external, record), *_ignored_note(external)]
    if fields.get("model") and "model" not in changes:
        notes.append(
            f"The image was generated with the model {str(fields['model'])[:MAX_VALUE_CHARS]!r} of another tool. To "
            "set the model, add --set model=NAME."
        )
    if "lora" not in changes:
        loras, lora_notes = _find_loras(path, external)
        notes += lora_notes
        if loras:
            record["lora"] = loras
    if "embedding" not in changes:
        embeddings, embedding_notes = _find_embeddings(path, external)
        notes += embedding_notes
        if embeddings:
            record["embedding"] = embeddings
    return record, notes


def _has_no_place(record: Mapping[str, Any], name: str) -> bool:
    """Return whether the task of a record has no such setting. The settings of hires fix need a valid `hires`."""
    if name.startswith("hires"):
        return record["task"] != "txt2img" or not (name == "hires" or record.get("hires"))
    if name == "seamless":
        return record["task"] not in ("txt2img", "img2img")
    return name in ("only_masked", "fill") and record["task"] != "inpaint"


def _task_record(external: ExternalRecord, changes: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a record with the task: img2img or inpaint if `changes` has the input files, else txt2img with a note."""
    task, strength = str(external.fields.get("task", "txt2img")), external.fields.get("strength")
    has_image = bool(changes.get("image"))
    has_mask = has_image and bool(changes.get("mask"))
    used = "inpaint" if has_mask else "img2img" if has_image else "txt2img"
    record: dict[str, Any] = {"task": used}
    if used != "txt2img" and strength is not None and "strength" not in changes:
        if _is_valid({"task": used, "image": "-", **({"mask": "-"} if has_mask else {})}, "strength", strength):
            record["strength"] = strength
        else:
            return record, [_unsupported_note("strength", strength)]
    if task in ("txt2img", used):
        return record, []
    files = "an input image and a mask" if task == "inpaint" else "an input image"
    details = f"{task}, strength {strength}" if strength is not None else task
    option = "--set image=PATH --set mask=PATH" if task == "inpaint" else "--set image=PATH"
    missing = "the mask is not used" if has_image else "the prompt alone is used"
    return record, [
        f"The image was generated from {files} ({details}), which the metadata does not contain: {missing}. To use "
        f"{'it' if task == 'img2img' else 'them'}, add {option}."
    ]


def _set_scheduler(record: dict[str, Any], external: ExternalRecord) -> list[str]:
    """Set the scheduler that has the same algorithm. Return notes."""
    name = str(external.fields["scheduler"])
    solver, spacing = name, None
    try:
        find_scheduler(solver)
    except UsageError:
        solver, spacing = split_spacing(name)
    try:
        scheduler = find_scheduler(solver)
    except UsageError as error:
        hint = f" {error.hint}" if error.hint.startswith("Similar") else ""
        return [
            f"The scheduler {name[:MAX_VALUE_CHARS]!r} is not supported. The default of the model is used instead."
            f"{hint} To set it, add --set scheduler=NAME."
        ]
    record["scheduler"] = solver
    notes = []
    if spacing:
        if "sigmas" not in external.fields and _is_valid(record, "sigmas", spacing):
            record["sigmas"] = spacing
        else:
            notes.append(
                f"The spacing of the noise levels {spacing!r} of the scheduler {name!r} is not supported. The default "
                "of the model is used instead."
            )
    if scheduler.name == "unipc" and name.casefold() != "uni_pc_bh2":
        notes.append("artgen uses the variant bh2 of UniPC; the other tool may have used bh1.")
    if name.casefold().endswith("_gpu"):
        notes.append(f"The scheduler {name!r} generated its noise on the GPU, so the image will differ.")
    return notes


def other_nets(setting: str, texts: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Return the texts of `control` or `image_prompt` that replace nets that do not fit the model, and a sentence.

    The texts are empty if the nets have no replacement.
    """
    changed = replay_nets.with_default_nets(setting, texts)
    if not changed or changed == tuple(texts):
        return (), ""
    weights = "nets" if setting == "control" else "adapter"
    return changed, f" Its images are used with the default {weights} of the model."


def other_scheduler(name: str) -> tuple[dict[str, Any], str]:
    """Return the settings that replace a scheduler that the model does not support, and a sentence about them.

    Other tools use one name for the schedulers of noise-predicting and of flow-matching models.
    """
    other = _FLOW_SCHEDULERS.get(name)
    if other is None:
        return {"scheduler": None, "sigmas": None}, " The defaults of the model are used for scheduler and sigmas."
    if not find_scheduler(other).supports_sigmas:
        return {"scheduler": other, "sigmas": None}, f" '{other}' is used, with the default sigmas."
    return {"scheduler": other}, f" '{other}' is used."


def _feature_notes(external: ExternalRecord, record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a note for each feature that is not used. `replay_nets` has notes about the nets."""
    nets = {net.setting for net in external.nets}
    if nets and external.tool != "comfyui":  # The texts of the other tools name each net once.
        nets |= set(replay_nets.SETTINGS)
    skipped = INPUT_FEATURES if "task" in external.fields else ()
    if record["task"] != "txt2img":
        skipped = INPUT_FEATURES
    features = [
        feature
        for feature in external.features
        if feature.name not in skipped and replay_nets.FEATURES.get(feature.name) not in nets
    ]
    yield from map(_feature_note, features[:MAX_NOTED_FEATURES])
    if len(features) > MAX_NOTED_FEATURES:
        names = ", ".join(feature.name for feature in features[MAX_NOTED_FEATURES:])
        yield f"Also not used: {names[: 4 * MAX_VALUE_CHARS]}."


def _feature_note(feature: Feature) -> str:
    value = f" ({feature.value[: 3 * MAX_VALUE_CHARS]})" if feature.value else ""
    return f"Not used: {feature.name}{value}. {feature.reason or 'artgen does not support it.'}"


def _ignored_note(external: ExternalRecord) -> list[str]:
    known = {*SUPPORTED_FIELDS, *OTHER_FIELDS}
    names = [name for name in external.fields if name not in known]
    names += [name for name in external.other if name.lower() not in SILENT_NAMES]
    if not names:
        return []
    listed, hidden = names[:MAX_LISTED_FIELDS], len(names) - MAX_LISTED_FIELDS
    return [f"Ignored metadata: {', '.join(listed)}{f' and {hidden} more' if hidden > 0 else ''}."]


def _unsupported_note(name: str, value: object) -> str:
    replacement = "A random seed" if name == "seed" else "The default of the model"
    return f"The {name} {str(value)[:MAX_VALUE_CHARS]!r} is not supported. {replacement} is used instead."


def _is_valid(record: Mapping[str, Any], name: str, value: Any) -> bool:
    required = {"img2img": {"image": "-"}, "inpaint": {"image": "-", "mask": "-"}}.get(record["task"], {})
    try:
        from_record({**required, **record, name: value})
    except UsageError:
        return False
    return True


def _find_embeddings(path: Path, external: ExternalRecord) -> tuple[list[str], list[str]]:
    """Return the embeddings that have the recorded hash, and a note for each of the others."""
    found, notes = [], []
    for each in external.embeddings[:MAX_FILES]:
        try:
            found.append(find_embedding(path, each.name, each.digest))
        except InputFileError:
            notes.append(
                f"The embedding {each.name!r} was not found, or has another hash. Its name is text. To use it, add "
                "--set embedding=PATH."
            )
    if len(external.embeddings) > MAX_FILES:
        notes.append(
            f"The metadata names {len(external.embeddings):,} embeddings; only the first {MAX_FILES} are searched."
        )
    return found, notes


def _find_loras(path: Path, external: ExternalRecord) -> tuple[list[str], list[str]]:
    """Return the LoRAs that have the recorded hash, and a note for each of the others."""
    found, notes = [], []
    for lora in external.loras[:MAX_FILES]:
        text = str(lora)
        try:
            found.append(find_lora(path, text, lora.digest))
        except InputFileError:
            reason = "has another hash" if lora.digest else "the metadata has no hash of it"
            notes.append(
                f"The LoRA {text[:MAX_VALUE_CHARS]} was not found, or {reason}. To use it, add --set lora=PATH:SCALE."
            )
    if len(external.loras) > MAX_FILES:
        notes.append(f"The metadata names {len(external.loras):,} LoRAs; only the first {MAX_FILES} are searched.")
    return found, notes
