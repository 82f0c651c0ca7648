"""Compute the part of a job's fingerprint that the jobs of one template share."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from artgen import images, outputs
from artgen.jobs import checks
from artgen.jobs.job import GenerationJob, Job
from artgen.jobs.size import pipeline_size
from artgen.metadata.writing import INPUT_MANIFESTS, INPUT_SOURCE_TYPE
from artgen.outputs.encoding import DEFAULT_QUALITY, EncodingOptions
from artgen.queue.entries import LINE_SETTINGS
from artgen.spec.base_requests import Request
from artgen.spec.best_of import num_candidates, typed_settings
from artgen.spec.records import to_record
from artgen.spec.restoration_requests import Denoise
from artgen.spec.settings import OutputSettings, PromptSettings, SeriesSettings, Setting, settings_of
from artgen.spec.sigma import MAX_SIGMA

_JOB_SETTINGS = frozenset(
    name
    for group in (PromptSettings, SeriesSettings)
    for name, setting in settings_of(group).items()
    if setting.per_image
)
"""Settings in which the jobs of a template differ: the prompts and the seed."""
_FORMERLY_IGNORED = frozenset({"device", "offload", "vae_tiling"})
"""Recorded settings that the fingerprints of earlier versions did not contain."""
_MARKS = frozenset({INPUT_SOURCE_TYPE, INPUT_MANIFESTS})
"""Facts about the input files, which their hashes identify. Earlier versions did not record them."""
_FORMER_LONG_PROMPT = {"chunk": "truncate", "truncate": "cut"}
"""Value of `long_prompt` in fingerprints. The default was `truncate`; the new default keeps its fingerprint, so that
ledgers of earlier versions stay valid."""
_FORMER_ARCHITECTURES = frozenset({"sd1", "sd2", "sdxl", "sd3", "flux", "pixel"})
"""Architectures that records of earlier versions distinguish; the others were `other`."""


def settings_digest(job: Job, output: OutputSettings, encoding: EncodingOptions) -> bytes:
    """Return the SHA-256 of everything that determines the pixels and the file of `job`'s image.

    The prompts and the seed are left out: the jobs of a template share the rest. A default that is given explicitly
    does not change the digest.
    """
    declared = settings_of(type(job.request))
    found = _significant(job, _shared_record(job), declared)
    return _digest(job, found, declared, _file_settings(job, output, encoding))


def former_settings_digests(job: Job, output: OutputSettings, encoding: EncodingOptions) -> tuple[bytes, ...]:
    """Return the digests that earlier versions computed for the same job, so that their ledgers stay valid."""
    declared = settings_of(type(job.request))
    shared = _shared_record(job)
    if shared.get("prompt_weights") in ("a1111", "none"):
        del shared["prompt_weights"]  # earlier versions had no prompt syntax
    oldest = {name: value for name, value in shared.items() if name not in _FORMERLY_IGNORED}
    digests = [_digest(job, oldest, declared, [output.output, output.format, output.quality, output.metadata])]
    if shared.get("long_prompt") == _FORMER_LONG_PROMPT["truncate"]:  # formerly the default
        found = _significant(job, {**shared, "long_prompt": "truncate"}, declared)
        digests.append(_digest(job, found, declared, _file_settings(job, output, encoding)))
    return tuple(digests)


def is_record_of(
    record: Mapping[str, Any], request: Request, provenance: Mapping[str, Any], *, any_prompt: bool = False
) -> bool:
    """Return whether the record of an image has all settings and facts that determine the pixels of a job's image.

    Args:
        record: untrusted record.
        request: complete request of the job.
        provenance: provenance of the job.
        any_prompt: accept any prompts and any seed.
    """
    declared = settings_of(type(request))
    expected = to_record(request, {name: value for name, value in provenance.items() if value not in (None, "", [])})
    if isinstance(request, Denoise):
        level, scale = request.sigma_spec
        estimate = record.get("sigma_estimated")
        if level is None and isinstance(estimate, int | float) and 0 <= estimate <= MAX_SIGMA:
            level = round(estimate * scale, 2)
        expected["sigma"] = None if level is None else f"{level:g}"
    if expected.get("dtype") == "auto":
        expected["dtype"] = record.get("dtype")  # the run selects the precision
    ignored = {name for name, setting in declared.items() if setting.per_image and not setting.is_path and any_prompt}
    compared = {name for name, setting in declared.items() if setting.recorded and "pixels" in setting.affects}
    names = {"task", *provenance, *compared} - ignored - _MARKS
    if num_candidates(request) > 1:
        record = typed_settings(record)
    if isinstance(architecture := record.get("architecture"), str):
        record = {**record, "architecture": _former_architecture(architecture)}
        expected["architecture"] = _former_architecture(str(expected.get("architecture")))
    neutral = {name: (None, *setting.neutral_values) for name, setting in declared.items()}
    return all(
        record.get(name) == expected.get(name)
        or (record.get(name) in neutral.get(name, ()) and expected.get(name) in neutral.get(name, ()))
        for name in names
    )


def significant_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a batch by fingerprint name, without values that give the same image as the default."""
    declared = {name: settings_of(group)[name] for name, group in LINE_SETTINGS.items()}
    return {
        _key(name, declared): value
        for name, value in values.items()
        if name not in declared or value not in declared[name].neutral_values
    }


def _significant(job: Job, record: Mapping[str, Any], declared: Mapping[str, Setting]) -> dict[str, Any]:
    return {
        name: value
        for name, value in record.items()
        if name not in declared or _changes_pixels(name, value, declared[name], job)
    }


def _shared_record(job: Job) -> dict[str, Any]:
    record = to_record(job.request, job.provenance)
    if "architecture" in record:
        record["architecture"] = _former_architecture(record["architecture"])
    if isinstance(job, GenerationJob) and (size := job.original_size) is not None:
        # The default was 0. The new default keeps its fingerprint, so that ledgers of earlier versions stay valid.
        record["feather"] = {images.default_feather(size): 0, 0: -1}.get(record["feather"], record["feather"])
    if record.get("long_prompt") in _FORMER_LONG_PROMPT:
        record["long_prompt"] = _FORMER_LONG_PROMPT[record["long_prompt"]]
    return {name: value for name, value in record.items() if name not in _JOB_SETTINGS | _MARKS}


def _former_architecture(architecture: str) -> str:
    """Return the name that records of earlier versions contain, so that their ledgers stay valid."""
    if architecture in _FORMER_ARCHITECTURES:
        return architecture
    return "flux" if architecture == "flux2" else "other"


def _pipeline_size(job: Job) -> tuple[int, int]:
    return pipeline_size(job.request, job.model, job.size) if isinstance(job, GenerationJob) else job.size


def _changes_pixels(name: str, value: Any, setting: Setting, job: Job) -> bool:
    if name == "vae_tiling" and value == checks.needs_vae_tiling(_pipeline_size(job)):
        return False
    if name == "pag_scale" and isinstance(job, GenerationJob):
        return value not in (None, job.model.pipeline_entry.default_pag_scale)
    return "pixels" in setting.affects and value not in setting.neutral_values


def _file_settings(job: Job, output: OutputSettings, encoding: EncodingOptions) -> list[Any]:
    """Return name, format, quality and metadata of the file; None for each that has its default."""
    default_format = outputs.SUFFIX_FORMATS.get(PurePath(output.output or "").suffix.lower(), "png")
    has_quality = encoding.format != "png" and encoding.quality != DEFAULT_QUALITY
    return [
        None if output.output == job.request.filename_template else output.output,
        None if encoding.format == default_format else encoding.format,
        encoding.quality if has_quality else None,
        encoding.metadata,
    ]


def _digest(job: Job, record: Mapping[str, Any], declared: Mapping[str, Setting], file_settings: list[Any]) -> bytes:
    named = {_key(name, declared): value for name, value in record.items()}
    model = getattr(job, "model", None)
    text = json.dumps([named, model.name if model else job.request.model, file_settings], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()


def _key(name: str, declared: Mapping[str, Setting]) -> str:
    return (declared[name].fingerprint_name if name in declared else None) or name
