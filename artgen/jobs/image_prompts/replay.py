"""Find the files of the image prompts of a record by name and hash.

Records are untrusted: a recorded image is used only from some folders and only with the recorded hash, and a recorded
adapter is a name of the table or a local file with the recorded hash; never a path.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, ModelUnavailableError, UsageError
from artgen.jobs.job import Job
from artgen.registry.hashes import compute_sha256
from artgen.registry.image_prompts import find_recorded_adapter
from artgen.registry.image_prompts.adapter import adapter_entries
from artgen.spec.image_prompt import ImagePromptSpec, parse_image_prompt
from artgen.system.input_files import is_stdin

SET_HINT = (
    "Set the image prompts: --set image_prompt=PATH:SCALE. To generate without image prompts: --set image_prompt="
)
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
    lists = [record.get(name) or [] for name in names]
    if any(not isinstance(each, list) or len(each) != len(lists[0]) for each in lists):
        raise _invalid(path, "The image prompts and their hashes do not match.")
    found = []
    for text, digest, mask_digest, source, adapter_digest in zip(*(map(str, each) for each in lists), strict=True):
        try:
            spec = parse_image_prompt(text)
        except UsageError as error:
            raise _invalid(path, error.message) from error
        image = _find_file(path, spec.image, digest, known, spec)
        mask = _find_file(path, spec.mask, mask_digest, known, spec) if spec.mask is not None else None
        model = _adapter_name(path, spec, source, adapter_digest)
        found.append(str(spec._replace(image=image, mask=mask, model=model)))
    return found


def _find_file(path: Path, recorded: Path, digest: str, known: Sequence[Path], spec: ImagePromptSpec) -> Path:
    name = recorded.name
    candidates = [*(each for each in known if each.name == name), *(folder / name for folder in (path.parent, Path()))]
    found = next((each for each in candidates if _has_hash(each, digest)), None)
    if found is None:
        raise InputFileError(
            f"Cannot replay '{path}': the file {name!r} of its image prompt (SHA-256 {digest[:10]}...) is not next to "
            "the image or in the current folder. A file with the same name and other contents is not used.",
            f"Set the path: --set image_prompt={spec._replace(image=Path('PATH'))}. To generate without image prompts: "
            "--set image_prompt=",
        )
    return found


def _adapter_name(path: Path, spec: ImagePromptSpec, source: str, digest: str) -> str | None:
    if spec.model is None or spec.model in adapter_entries():
        return spec.model
    found = find_recorded_adapter(spec.model, digest, (path.parent, Path())) if source == "local" else None
    if found is None:
        raise ModelUnavailableError(
            f"Cannot replay '{path}': its image prompt adapter {spec.model!r} (SHA-256 {digest[:10]}...) is not on "
            "this computer. A file with the same name and other contents is not used.",
            f"Set the path: --set image_prompt={spec._replace(model='PATH')}",
        )
    return str(found)


def check_adapters(job: Job, name: str, recorded: Sequence[str]) -> None:
    """Raise the error that the adapters or the image encoders of a prepared job have other hashes than recorded.

    Raises:
        ModelUnavailableError: always.
    """
    found = job.provenance.get(name) or []
    pairs = [(old, new) for old, new in zip(recorded, [*found, *[""] * len(recorded)], strict=False) if old != new]
    old, new = pairs[0] if pairs else ("", "")
    what = "image encoder" if name == ENCODER_HASHES else "image prompt adapter"
    raise ModelUnavailableError(
        f"Cannot replay: the weights of the {what} differ from the recorded ones (SHA-256 {str(old)[:10]}... is "
        f"recorded, {str(new)[:10]}... is installed).",
        "To use the installed weights, set the image prompts again: --set image_prompt=PATH:SCALE.",
    )


def _has_hash(path: Path, digest: str) -> bool:
    if is_stdin(path) or not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for long names
        return False
    try:
        return compute_sha256(path) == digest
    except InputFileError:
        return False


def _invalid(path: Path, reason: str) -> InputFileError:
    return InputFileError(f"Cannot replay '{path}': its record is invalid. {reason}", SET_HINT)
