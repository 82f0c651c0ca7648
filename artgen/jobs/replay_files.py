"""Find the input images, LoRAs and embeddings of a record by name and hash."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, RefusedError, UsageError
from artgen.jobs.recorded_images import file_sha256
from artgen.registry import embeddings as embedding_files
from artgen.registry import lora as lora_files
from artgen.spec.embedding import EmbeddingSpec, parse_embedding
from artgen.spec.lora import LoraSpec, parse_lora
from artgen.spec.mask_source import is_trusted_mask_model
from artgen.spec.requests import TASKS
from artgen.spec.settings import MaskTextSettings, options_of, path_settings
from artgen.system.memory_file import MEMORY_NAME

_LABELS = {"lora": "LoRA", "embedding": "embedding", "reference": "reference image"}
_SET_HINTS = {
    "reference": "Set the reference images: --set reference=PATH. To generate without them: --set reference=",
    "lora": "Set the LoRAs: --set lora=PATH:0.8. To generate without LoRAs: --set lora=",
    "embedding": "Set the embeddings: --set embedding=PATH:TOKEN. To generate without them: --set embedding=",
}


def find_inputs(
    path: Path, record: Mapping[str, Any], changes: Mapping[str, Any], known: Mapping[str, Path]
) -> dict[str, Path]:
    """Find the input files that `changes` does not set. Return their paths by setting.

    Args:
        path: image; its folder and the current folder are searched for a file with the recorded name and hash.
        record: record of the image.
        changes: settings that the user changes.
        known: files that are tried first, by setting.

    Raises:
        InputFileError: no file has the recorded hash.
    """
    found = {}
    for name in path_settings(TASKS[record["task"]].request_class):
        if name in changes or (name == "mask" and record.get("mask_text")):
            continue
        sha256 = record.get(f"{name}_sha256")
        if not sha256 and name not in record and name not in TASKS[record["task"]].inputs:
            continue  # an optional file that was not used
        file_name = Path(str(record.get(name, ""))).name
        candidates = [folder / file_name for folder in (path.parent, Path())] if file_name else []
        candidates[:0] = [known[name]] if name in known else []
        match = next((file for file in candidates if sha256 and file_sha256(file) == sha256), None)
        if match is None and file_name == MEMORY_NAME:
            raise InputFileError(
                f"Cannot replay '{path}': its {name} was an object in a Python program, not a file (SHA-256 "
                f"{str(sha256)[:10]}...).",
                f"Set the path of the {name}: --set {name}=PATH",
            )
        if match is None:
            raise InputFileError(
                f"Cannot replay '{path}': its {name} {file_name!r} (SHA-256 {str(sha256)[:10]}...) is neither next to "
                "the image nor in the current folder.",
                f"Set the path: --set {name}=PATH",
            )
        found[name] = match
    return found


def find_references(path: Path, record: Mapping[str, Any], known: Mapping[str, Path]) -> list[str]:
    """Return the paths of the reference images of an edit.

    Args:
        path: image; its folder and the current folder are searched.
        record: record of the image.
        known: files that are tried first, as `reference:0`.

    Raises:
        InputFileError: an image is missing or has another hash, or the record is invalid.
    """
    found = []
    for i, (text, digest) in enumerate(_recorded_files(path, record, "reference")):
        name = Path(text).name
        candidates = [known[key] for key in (f"reference:{i}",) if key in known]
        candidates += [folder / name for folder in (path.parent, Path()) if name]
        match = next((file for file in candidates if digest and file_sha256(file) == digest), None)
        if match is None:
            raise InputFileError(
                f"Cannot replay '{path}': its reference image {name!r} (SHA-256 {digest[:10]}...) is neither next to "
                "the image nor in the current folder.",
                _SET_HINTS["reference"],
            )
        found.append(str(match))
    return found


def replace_mask_source(record: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Remove the recorded mask or mask text that a change replaces, in place."""
    if changes.get("mask"):
        for name in (*options_of(MaskTextSettings), "mask_data"):
            if name not in changes:
                record.pop(name, None)
    elif changes.get("mask_text") and "mask" not in changes:
        record.pop("mask", None)


def reject_mask_model_path(path: Path, record: Mapping[str, Any]) -> None:
    """Reject a recorded mask model that is a path. Paths from metadata are not opened.

    Raises:
        RefusedError: the mask model is a path.
    """
    if not is_trusted_mask_model(record.get("mask_model")):
        raise RefusedError(
            f"Cannot replay '{path}': its mask model {str(record['mask_model'])[:80]!r} is a path, and paths from "
            "metadata are not opened.",
            "Set the mask model: --set mask_model=clipseg",
        )


def find_loras(path: Path, record: Mapping[str, Any]) -> list[str]:
    """Return the recorded LoRAs with their paths, each as `PATH:SCALE`.

    Raises:
        InputFileError: a LoRA is missing or has another hash, or the record is invalid.
    """
    return [find_lora(path, text, digest) for text, digest in _recorded_files(path, record, "lora")]


def find_lora(path: Path, text: str, digest: str) -> str:
    """Return a LoRA as `PATH:SCALE`.

    Args:
        path: image; its folder is searched first.
        text: name and scale.
        digest: SHA-256 or AutoV3 hash.

    Raises:
        InputFileError: the LoRA is missing or has another hash, or `text` is invalid.
    """
    try:
        lora = parse_lora(text)
    except UsageError as error:
        raise _invalid_record_error(path, "lora", error.message) from error
    match = lora_files.find_recorded(lora.name, digest, (path.parent, Path()))
    if match is None:
        raise _not_found_error(path, "lora", lora, digest)
    return str(lora._replace(name=str(match.path)))


def find_embeddings(path: Path, record: Mapping[str, Any]) -> list[str]:
    """Return the recorded embeddings with their paths, each as `PATH:TOKEN`.

    Raises:
        InputFileError: an embedding is missing or has another hash, or the record is invalid.
    """
    return [find_embedding(path, text, digest) for text, digest in _recorded_files(path, record, "embedding")]


def find_embedding(path: Path, text: str, digest: str) -> str:
    """Return an embedding as `PATH:TOKEN`.

    Args:
        path: image; its folder is searched first.
        text: name and token.
        digest: SHA-256, at least 10 digits.

    Raises:
        InputFileError: the embedding is missing or has another hash, or `text` is invalid.
    """
    try:
        spec = parse_embedding(text)
    except UsageError as error:
        raise _invalid_record_error(path, "embedding", error.message) from error
    match = embedding_files.find_recorded(spec.name, digest, (path.parent, Path()))
    if match is None:
        raise _not_found_error(path, "embedding", spec, digest)
    return str(spec._replace(name=str(match.path), token=spec.token or Path(spec.name).stem))


def _recorded_files(path: Path, record: Mapping[str, Any], setting: str) -> list[tuple[str, str]]:
    """Return the text and the SHA-256 of each recorded file of `lora` or `embedding`.

    Raises:
        InputFileError: the record is invalid.
    """
    texts, digests = record.get(setting) or [], record.get(f"{setting}_sha256") or []
    if not isinstance(texts, list) or not isinstance(digests, list) or len(texts) != len(digests):
        raise _invalid_record_error(path, setting, f"The {_LABELS[setting]}s and their hashes do not match.")
    return [(str(text), str(digest)) for text, digest in zip(texts, digests, strict=True)]


def _invalid_record_error(path: Path, setting: str, reason: str) -> InputFileError:
    return InputFileError(f"Cannot replay '{path}': its record is invalid. {reason}", _SET_HINTS[setting])


def _not_found_error(path: Path, setting: str, spec: LoraSpec | EmbeddingSpec, digest: str) -> InputFileError:
    return InputFileError(
        f"Cannot replay '{path}': its {_LABELS[setting]} {spec.file_name!r} (SHA-256 {digest[:10]}...) is not next to "
        f"the image, in the current folder, in your {setting}_folder or where it was used before. A file with the same "
        "name and other contents is not used.",
        f"Set the path: --set {setting}={spec._replace(name='PATH')}. To generate without {_LABELS[setting]}s: "
        f"--set {setting}=",
    )
