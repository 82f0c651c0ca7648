"""Convert a request to a flat JSON record and back.

A record is the metadata of an image, an entry of a ledger, or a line of a prompt file. It contains the settings of the
request by name and the provenance of the image: hashes, versions and others. `from_record` ignores the provenance.
Unknown fields are kept: `to_record` writes them again. `docs/record-fields.md` lists the known fields.
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from artgen._version import RECORD_SCHEMA, __version__
from artgen.errors import UsageError
from artgen.spec.base_requests import Request
from artgen.spec.best_of import recorded_score_model
from artgen.spec.control import recorded_control
from artgen.spec.fields import describe_value
from artgen.spec.image_prompt import recorded_image_prompt
from artgen.spec.mask_source import recorded_mask_model
from artgen.spec.prompt_expansion import PromptExpansion
from artgen.spec.requests import TASKS
from artgen.spec.settings import canonical_keys, options_of, settings_of, type_of, unknown_setting_error

WRITER_FIELDS = {"artgen": __version__, "schema": RECORD_SCHEMA}
"""Provenance of all generated images."""

MAX_UNKNOWN_BYTES = 1 << 19
"""Limit of the unknown fields of a record that are kept, as JSON."""


class RecordField(NamedTuple):
    """Describe a field of the provenance.

    Attributes:
        kind: `str`, `int`, `float`, or `list` for a list of texts.
        meaning: phrase for users.
        unit: unit of a number.
    """

    kind: type
    meaning: str
    unit: str = ""


PROVENANCE_FIELDS: Mapping[str, RecordField] = {
    "artgen": RecordField(str, "Version of artgen."),
    "schema": RecordField(int, f"Schema number of the record, {RECORD_SCHEMA} in this version."),
    "task": RecordField(str, f"Task: {', '.join(TASKS)}."),
    "model_source": RecordField(
        str, "Origin of the model: hub id, `bundled:NAME`, `local`, or the file name of the target of an alias."
    ),
    "model_revision": RecordField(str, "Commit hash of a hub model."),
    "vae_source": RecordField(str, "Origin of the VAE of `--vae`: hub id, `bundled:NAME` or `local`."),
    "vae_revision": RecordField(str, "Commit hash of the hub repository of the VAE."),
    "vae_hash": RecordField(str, "SHA-256 of the weights of the VAE."),
    "refiner_source": RecordField(str, "Origin of the refiner: hub id or `local`."),
    "refiner_revision": RecordField(str, "Commit hash of the hub model of the refiner."),
    "refiner_hash": RecordField(str, "SHA-256 of the weights of the refiner's denoiser or of its single file."),
    "model_base": RecordField(
        str, "Model with the components that a single file lacks: hub id with its commit, or name of a folder."
    ),
    "model_sampling": RecordField(
        str, "Scheduler, prediction type and timesteps that a single file implies, such as its name or its metadata."
    ),
    "model_variant": RecordField(str, "`fp16` if a component of the model has only fp16 weights."),
    "model_hash": RecordField(str, "SHA-256 of the weights of the denoiser or of the single file."),
    "architecture": RecordField(str, "Architecture of the model, such as sd1, sdxl, flux or pixel."),
    "lora_sha256": RecordField(list, "SHA-256 of each LoRA."),
    "lora_autov3": RecordField(list, "AutoV3 hash of each LoRA, as AUTOMATIC1111 and Civitai compute it."),
    "embedding_sha256": RecordField(list, "SHA-256 of each embedding."),
    "control_sha256": RecordField(list, "SHA-256 of the file of each control image."),
    "control_net": RecordField(list, "Name of the net of each control image."),
    "control_net_source": RecordField(list, "Origin of each net: hub id with its commit, `bundled:NAME` or `local`."),
    "control_net_sha256": RecordField(list, "SHA-256 of the weights of each net."),
    "image_prompt_sha256": RecordField(list, "SHA-256 of the file of each image prompt."),
    "image_prompt_mask_sha256": RecordField(list, "SHA-256 of the mask of each image prompt; empty without a mask."),
    "image_prompt_adapter": RecordField(list, "Name of the adapter of each image prompt."),
    "image_prompt_adapter_source": RecordField(list, "Origin of each adapter: hub id with its commit, or `local`."),
    "image_prompt_adapter_sha256": RecordField(list, "SHA-256 of each adapter."),
    "image_encoder_sha256": RecordField(list, "SHA-256 of the weights of the image encoder of each image prompt."),
    "width": RecordField(int, "Width of the image, before an enlargement by `hires`.", "pixels"),
    "height": RecordField(int, "Height of the image, before an enlargement by `hires`.", "pixels"),
    "image_sha256": RecordField(str, "SHA-256 of the input image file."),
    "input_source_type": RecordField(
        str, "Digital source type (IPTC) of the input images, if they have marks of AI generation."
    ),
    "input_manifests": RecordField(list, "Names of the input files that have a C2PA manifest."),
    "parent_record": RecordField(str, "Record of the input image of upscale as JSON, if artgen generated the image."),
    "variation_of": RecordField(str, "SHA-256 of the image file whose noise `artgen variations` mixed."),
    "mask_sha256": RecordField(str, "SHA-256 of the mask file, or of the pixels of the mask of `mask_text`."),
    "mask_data": RecordField(
        str, "Mask of `mask_text`: hash of its settings, and its pixels, compressed; `replay` uses it."
    ),
    "mask_model_source": RecordField(list, "Origin of the mask model and of its SAM: hub id with its commit, `local`."),
    "upscale_model_source": RecordField(
        str,
        "Origin of the network of `upscale_model` or `hires_model`: hub id with commit, `bundled:NAME` or `local`.",
    ),
    "upscale_model_sha256": RecordField(str, "SHA-256 of the weights of this network."),
    "reference_sha256": RecordField(list, "SHA-256 of each reference image file."),
    "signed_with": RecordField(str, "SHA-256 of the certificate of the signer, if the file is signed."),
    "prompt_template": RecordField(str, "Prompt before its wildcards, variants, styles and tags were replaced."),
    "negative_prompt_template": RecordField(str, "Negative prompt before these replacements."),
    "prompt_choices": RecordField(list, "Choice of each wildcard and variant, as `TEXT=CHOICE`."),
    "prompt_styles": RecordField(list, "Names of the styles that were added to the prompts."),
    "class_name": RecordField(str, "Name of the class with the number `class_label`, from the model's configuration."),
    "sigma_estimated": RecordField(float, "Estimated standard deviation of the noise.", "gray levels of 255"),
    "batch_size": RecordField(int, "Batch size of the pipeline call.", "images"),
    "true_cfg_scale": RecordField(float, "Scale of true classifier-free guidance, which a negative prompt enables."),
    "fast_parts": RecordField(list, "Hub files of the approximations, as `OWNER/NAME@COMMIT`."),
    "rounding": RecordField(list, "Optimizations that change rounding."),
    "dropped_prompt": RecordField(str, "End of the prompt that was removed because of the token limit."),
    "dropped_negative_prompt": RecordField(str, "End of the negative prompt that was removed."),
    "best_of_seeds": RecordField(list, "Seeds of the images of which `best_of` selected this one."),
    "best_of_scores": RecordField(list, "Score of the image of each of these seeds; the highest is the best."),
    "best_of_score": RecordField(str, "Kind of the scores: model or clip."),
    "best_of_score_model": RecordField(str, "CLIP model of the scores: hub id with its commit, or `local`."),
    "filter_results": RecordField(list, "Result of each output filter: its name, the check and the result."),
    "fallbacks": RecordField(list, "Fallbacks after out-of-memory errors and non-finite values."),
    "torch": RecordField(str, "Version of torch."),
    "diffusers": RecordField(str, "Version of diffusers."),
    "transformers": RecordField(str, "Version of transformers."),
    "scikit-image": RecordField(str, "Version of scikit-image."),
    "openvino": RecordField(str, "Version of OpenVINO, if it ran the denoiser."),
    "openvino_precision": RecordField(str, "Precision in which OpenVINO computed: f32 or bf16."),
}
"""Fields of the provenance. Width and height are settings of some tasks, and provenance in records of the others."""

KEPT_PROVENANCE = ("variation_of",)
"""Provenance that a replay of the record keeps, in `Request.unknown_fields`."""

JSON_ONLY_KEYS = ("file", "where", "frames", "before", "after", "source", "notes", "record_schema")
"""Keys that `--json` of the commands that print records adds to a record; see `artgen/cli/record_output.py`."""


def recorded_schema(record: Mapping[str, Any]) -> int | None:
    """Return the schema number of a record; None for a record of an early version.

    In the objects of `artgen info --json`, `schema` is the number of the object and `record_schema` that of the record.
    """
    schema = record["record_schema"] if "record_schema" in record else record.get("schema")
    return schema if isinstance(schema, int) and not isinstance(schema, bool) else None


def to_record(request: Request, provenance: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the record of a request: `task`, all settings that have a value, `provenance`, then unknown fields.

    Input files, LoRAs, embeddings and local control nets are recorded without their folders, which are private. Their
    SHA-256 in the provenance identifies them.
    """
    record: dict[str, Any] = {"task": request.task}
    unused = request.unused_settings
    for name, setting in settings_of(type(request)).items():
        value = getattr(request, name)
        if value in (None, ()) or not setting.recorded or name in unused:
            continue
        record[name] = value.name if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
    if "lora" in record:
        record["lora"] = [str(lora._replace(name=lora.file_name)) for lora in request.loras]
    if "control" in record:
        record["control"] = [str(recorded_control(each)) for each in request.controls]
    elif not record.get("control_guess"):
        record.pop("control_guess", None)
    if not record.get("panorama"):
        record.pop("panorama", None)
    if "reference" in record:
        record["reference"] = [Path(each).name for each in record["reference"]]
    if "mask_model" in record:
        record["mask_model"] = recorded_mask_model(record["mask_model"])
    if "score_model" in record:
        record["score_model"] = recorded_score_model(record["score_model"])
    if "image_prompt" in record:
        record["image_prompt"] = [str(recorded_image_prompt(each)) for each in request.image_prompts]
    if "embedding" in record:
        record["embedding"] = [str(each._replace(name=each.file_name)) for each in request.embeddings]
    record |= {name: value for name, value in _expansion_facts(request).items() if value} | dict(provenance or {})
    return record | {name: value for name, value in request.unknown_fields.items() if name not in record}


def from_record(record: Mapping[str, Any]) -> Request:
    """Return the request of a record.

    Unknown fields are kept in `Request.unknown_fields` if the record has the key `artgen`, which artgen writes.
    Otherwise a person wrote the keys, and unknown keys are refused.

    Raises:
        UsageError: the task or a key is unknown, or a value has the wrong type or is outside the limits of its setting.
    """
    task = record.get("task", "txt2img")
    if not isinstance(task, str) or task not in TASKS:
        raise UsageError(f"Unknown task: {describe_value(task)}.", unknown_task_hint(task))
    cls = TASKS[task].request_class
    known = options_of(cls)
    values: dict[str, Any] = {}
    for name, value in canonical_keys(record, known).items():
        if name in known:
            values[name] = _from_json(cls, name, value)
        elif name in PROVENANCE_FIELDS:
            check_provenance(name, value)
        elif "artgen" not in record:
            raise UsageError(*unknown_setting_error(name, known, task))
    if task == "outpaint" and "artgen" in record and recorded_schema(record) is None:
        values.setdefault("feather", 0)  # The default before the records had a schema number.
    if "artgen" in record and "prompt" in known:
        values.setdefault("prompt_weights", "none")  # Earlier versions had no syntax and truncated long prompts.
        values.setdefault("long_prompt", "truncate")
        values["expansion"] = read_expansion(record)
    if "mask_text" in known and isinstance(mask_data := record.get("mask_data"), str):
        values["recorded_mask"] = mask_data
        values["recorded_mask_source"] = tuple(map(str, record.get("mask_model_source") or ()))
    kept = {name: record[name] for name in KEPT_PROVENANCE if record.get(name)}
    return cls(**values, unknown_fields=kept_fields({**unknown_fields(record), **kept}))


def unknown_task_hint(task: object) -> str:
    """Return the hint for a task that does not exist: a similar name, else all tasks."""
    from artgen.spec.synonyms import value_hint

    hint = value_hint("task", task, TASKS) if isinstance(task, str) else ""
    return hint or f"Tasks: {', '.join(TASKS)}."


def _expansion_facts(request: Request) -> dict[str, Any]:
    """Return the provenance of the prompts of a request."""
    expansion = getattr(request, "expansion", None)
    if expansion is None:
        return {}
    return {
        "prompt_template": expansion.template,
        "negative_prompt_template": expansion.negative_template,
        "prompt_choices": list(expansion.choices),
        "prompt_styles": list(expansion.styles),
    }


def read_expansion(record: Mapping[str, Any]) -> PromptExpansion:
    """Return the facts about the expansion of the prompts of a valid record."""
    return PromptExpansion(
        record.get("prompt_template") or "",
        record.get("negative_prompt_template") or "",
        _texts(record.get("prompt_choices")),
        _texts(record.get("prompt_styles")),
    )


def _texts(value: Any) -> tuple[str, ...]:
    """Return the texts of a list; a cell of a table is one text."""
    return tuple(value) if isinstance(value, list) else (value,) if value else ()


def unknown_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a record that are neither settings of its task nor provenance."""
    known = options_of(TASKS[record.get("task", "txt2img")].request_class)
    ignored = {*known, *PROVENANCE_FIELDS, *JSON_ONLY_KEYS}
    return {name: value for name, value in canonical_keys(record, known).items() if name not in ignored}


def kept_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the unknown fields that fit into `MAX_UNKNOWN_BYTES` of JSON, in order."""
    kept: dict[str, Any] = {}
    remaining = MAX_UNKNOWN_BYTES
    for name, value in fields.items():
        try:
            size = len(json.dumps({name: value}, allow_nan=False))
        except (TypeError, ValueError, RecursionError):  # Not JSON, for example a date in YAML.
            continue
        if size <= remaining:
            remaining -= size
            kept[name] = value
    return kept


def check_provenance(name: str, value: Any) -> None:
    """Check the type of a value of the provenance. None is a missing value.

    Raises:
        UsageError: the value has another type.
    """
    kind = PROVENANCE_FIELDS[name].kind
    fits = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
    if isinstance(value, list):
        fits = fits and all(isinstance(item, str) for item in value)
    if value is not None and not fits:
        kinds = {str: "text", int: "a whole number", float: "a number", list: "a list of texts"}
        raise UsageError(f"{name} must be {kinds[kind]}, not {describe_value(value)}.")


def _from_json(cls: type, name: str, value: Any) -> Any:
    kind, _ = type_of(cls, name)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # `validate` rejects integers that are too large for a float.
            return float(value)
    return value
