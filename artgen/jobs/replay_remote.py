"""Keep the names of models in a record that a server replays. Only the images of the record are found here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError, UsageError
from artgen.jobs import replay_files
from artgen.jobs.control import replay as control_replay
from artgen.jobs.image_prompts import replay as image_prompt_replay
from artgen.jobs.recorded_images import RecordedSetting, find_image, invalid_record, missing_image, recorded_values
from artgen.jobs.replay_checks import PINNED_SETTINGS, pinned_model
from artgen.jobs.upscaling import replay as upscaling_replay
from artgen.registry.hub.names import HUB_ID_PATTERN
from artgen.spec.control import parse_control
from artgen.spec.image_prompt import parse_image_prompt

_SENT_PROVENANCE = ("embedding_sha256", "lora_sha256", upscaling_replay.HASH, "upscale_model_source")


def sent_provenance(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the provenance of a record with which a server finds its own files."""
    local = [setting for setting in PINNED_SETTINGS if record.get(f"{setting}_source") == "local"]
    names = [*_SENT_PROVENANCE, *(f"{setting}_{part}" for setting in local for part in ("source", "hash"))]
    return {name: record[name] for name in names if name in record}


def find_images(
    path: Path, record: dict[str, Any], changes: Mapping[str, Any], known: Mapping[str, Path], controls: Sequence[Path]
) -> None:
    """Replace the recorded names of reference images, control images and image prompts by paths, in place.

    Raises:
        InputFileError: an image is missing or has another hash, or the record is invalid.
    """
    if record.get("reference") and "reference" not in changes:
        record["reference"] = replay_files.find_references(path, record, known)
    if record.get("control") and "control" not in changes:
        record["control"] = [
            str(spec._replace(image=_find(path, spec.image, digest, control_replay.SETTING, controls)))
            for spec, digest in _specs(path, record, control_replay.SETTING, "control_sha256", parse_control)
        ]
    if record.get("image_prompt") and "image_prompt" not in changes:
        masks = record.get("image_prompt_mask_sha256") or []
        setting = image_prompt_replay.SETTING
        found = []
        for i, (spec, digest) in enumerate(_specs(path, record, setting, "image_prompt_sha256", parse_image_prompt)):
            mask = None if spec.mask is None else _find(path, spec.mask, str(masks[i]), setting, controls)
            found.append(str(spec._replace(image=_find(path, spec.image, digest, setting, controls), mask=mask)))
        record["image_prompt"] = found


def _specs(path: Path, record: Mapping[str, Any], setting: RecordedSetting, hashes: str, parse: Any) -> list[Any]:
    try:
        return [
            (parse(text), digest) for text, digest in recorded_values(path, record, setting, (setting.name, hashes))
        ]
    except UsageError as error:
        raise invalid_record(path, error.message, setting) from error


def _find(path: Path, image: Path, digest: str, setting: RecordedSetting, known: Sequence[Path]) -> Path:
    found = find_image(path, image.name, digest, known)
    if found is None:
        raise missing_image(path, f"{setting.title[:-1]} {image.name!r}", digest, setting, setting.example)
    return found


def pin_weights(path: Path, record: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Pin the recorded models of the hub, in place. A local model keeps its name, which the server looks up.

    Returns:
        The hashes that the record of the result must have.

    Raises:
        InputFileError, ModelUnavailableError, RefusedError: see `replay_checks.pinned_model`.
    """
    expected: dict[str, Any] = {}
    for setting in PINNED_SETTINGS.keys() - changes.keys():
        if record.get(setting) is None:
            continue
        source = str(record.get(f"{setting}_source") or "")
        if HUB_ID_PATTERN.fullmatch(source.partition("@")[0]) or source.startswith("bundled:"):
            record[setting], _ = pinned_model(record, f"Cannot replay '{path}'", setting=setting)
        if record.get(f"{setting}_hash"):
            expected[f"{setting}_hash"] = record[f"{setting}_hash"]
    return expected


def check_hashes(record: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compare the record of a result of a server with the recorded hashes of the weights.

    Raises:
        ModelUnavailableError: the server used other weights.
    """
    for name, recorded in expected.items():
        if record.get(name) != recorded:
            setting = name.removesuffix("_hash")
            raise ModelUnavailableError(
                f"Cannot replay: the {setting} of the image has SHA-256 {str(recorded)[:10]}..., and the {setting} "
                f"{record.get(setting)!r} of the server has {str(record.get(name))[:10]}....",
                f"To use the {setting} of the server, add --set {setting}={record.get(setting)}.",
            )
