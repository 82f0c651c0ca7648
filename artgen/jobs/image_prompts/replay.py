"""Find the files of the image prompts of a record by name and hash.

A recorded adapter is a name of the table or a local file with the recorded hash; never a path.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from artgen.errors import UsageError
from artgen.jobs.recorded_images import (
    RecordedSetting,
    find_image,
    invalid_record,
    missing_image,
    missing_weights,
    recorded_values,
)
from artgen.registry.image_prompts import find_recorded_adapter
from artgen.registry.image_prompts.adapter import is_known
from artgen.spec.image_prompt import ImagePromptSpec, parse_image_prompt

SETTING = RecordedSetting("image_prompt", "image prompts", "PATH:SCALE")
HASHES = "image_prompt_adapter_sha256"
ENCODER_HASHES = "image_encoder_sha256"
"""Provenance that identifies the weights of the adapters and of their image encoders."""


def find_image_prompts(path: Path, record: Mapping[str, Any], known: Sequence[Path] = ()) -> list[str]:
    """Return the recorded image prompts with the paths of their files.

    Args:
        path: image with the record; its folder and the current folder are searched.
        record: record of the image.
        known: files that are tried first.

    Raises:
        InputFileError: a file is missing or has another hash, or the record is invalid.
        ModelUnavailableError: a local adapter is missing.
    """
    names = ("image_prompt", "image_prompt_sha256", "image_prompt_mask_sha256", "image_prompt_adapter_source", HASHES)
    found = []
    for text, digest, mask_digest, source, adapter_digest in recorded_values(path, record, SETTING, names):
        try:
            spec = parse_image_prompt(text)
        except UsageError as error:
            raise invalid_record(path, error.message, SETTING) from error
        files = [
            _find_file(path, spec, file, file_digest, known)
            for file, file_digest in ((spec.image, digest), (spec.mask, mask_digest))
            if file is not None
        ]
        model = _adapter_name(path, spec, source, adapter_digest)
        found.append(str(spec._replace(image=files[0], mask=(*files, None)[1], model=model)))
    return found


def _find_file(path: Path, spec: ImagePromptSpec, file: Path, digest: str, known: Sequence[Path]) -> Path:
    found = find_image(path, file.name, digest, known)
    if found is None:
        text = spec._replace(image=Path("PATH"))
        raise missing_image(path, f"file {file.name!r} of its image prompt", digest, SETTING, text)
    return found


def _adapter_name(path: Path, spec: ImagePromptSpec, source: str, digest: str) -> str | None:
    if spec.model is None or is_known(spec.model):
        return spec.model
    found = find_recorded_adapter(spec.model, digest, (path.parent, Path())) if source == "local" else None
    if found is None:
        what = f"image prompt adapter {spec.model!r}"
        raise missing_weights(path, what, digest, SETTING, spec._replace(model="PATH"))
    return str(found)
