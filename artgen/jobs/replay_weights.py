"""Pin the weights of an image record, and compare the weights of a prepared job with the recorded hashes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError
from artgen.jobs import replay_checks
from artgen.jobs.control import replay as control_replay
from artgen.jobs.image_prompts import replay as image_prompt_replay
from artgen.jobs.job import Job
from artgen.jobs.recorded_images import check_weights
from artgen.jobs.upscaling import replay as upscaling_replay

_WEIGHTS = {
    control_replay.HASHES: (control_replay.SETTING, "control net"),
    image_prompt_replay.HASHES: (image_prompt_replay.SETTING, "image prompt adapter"),
    image_prompt_replay.ENCODER_HASHES: (image_prompt_replay.SETTING, "image encoder"),
}
"""Provenance that identifies weights, with the setting and the name of the weights in messages."""


def pin_weights(path: Path, record: dict[str, Any], changes: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Pin the recorded model, in place. Return the hashes that the job must have, and notes about the model.

    Args:
        path: image with the record.
        record: record of the image.
        changes: settings that the user sets; their weights are not pinned.

    Raises:
        ModelUnavailableError, RefusedError: see `replay_checks.pinned_model`.
    """
    expected: dict[str, Any] = {}
    notes: list[str] = []
    for setting in replay_checks.PINNED_SETTINGS.keys() - changes.keys():
        if record.get(setting) is not None:
            record[setting], more_notes = replay_checks.pinned_model(record, f"Cannot replay '{path}'", setting=setting)
            notes += more_notes
        if record.get(f"{setting}_hash"):
            expected[f"{setting}_hash"] = record[f"{setting}_hash"]
    parts = record.get("fast_parts")
    if isinstance(parts, list) and "fast" not in changes:
        expected["fast_parts"] = parts
    for name, (part, _) in _WEIGHTS.items():
        if part.name not in changes and isinstance(record.get(name), list):
            expected[name] = record[name]
    digest = record.get(upscaling_replay.HASH)
    if isinstance(digest, str) and not changes.keys() & {*upscaling_replay.SETTINGS}:
        expected[upscaling_replay.HASH] = digest
    return expected, notes


def check_hashes(job: Job, expected: Mapping[str, Any]) -> None:
    """Compare a prepared job with the expected hashes.

    Args:
        job: prepared job.
        expected: hashes of `pin_weights`.

    Raises:
        ModelUnavailableError: the weights of a model, a net or a part of `fast` differ from the recorded ones.
    """
    for name, recorded in expected.items():
        found = job.provenance.get(name)
        if found == recorded:
            continue
        if name in _WEIGHTS:
            check_weights(job, name, recorded, *_WEIGHTS[name])
        elif name == upscaling_replay.HASH:
            upscaling_replay.check_network(job, recorded)
        elif name == "fast_parts":
            raise ModelUnavailableError(
                f"Cannot replay: the image was generated with {', '.join(map(str, recorded))}, and "
                f"{', '.join(found or ['none'])} is installed.",
                f"To use the installed files, add --set fast={getattr(job.request, 'fast', None)}.",
            )
        else:
            setting = name.removesuffix("_hash")
            weights = getattr(job.request, setting)
            raise ModelUnavailableError(
                f"Cannot replay with '{weights}': its weights differ from the recorded ones ({name} "
                f"{str(recorded)[:10]}... is recorded, {str(found)[:10]}... is installed).",
                f"To use the installed weights, add --set {setting}={weights}.",
            )
