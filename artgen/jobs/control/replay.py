"""Find the control images and the local control nets of an image record by name and hash.

Records are untrusted: a recorded image is used only from some folders and only with the recorded hash, and a recorded
net is a name of the table, a hub id, or a local file or folder with the recorded hash; never a path.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from artgen.errors import InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.jobs.job import Job
from artgen.registry.control_nets import find_recorded_net
from artgen.registry.hashes import compute_sha256
from artgen.spec.control import CONTROL_KINDS, ControlSpec, parse_control
from artgen.system.input_files import is_stdin

SET_HINT = "Set the control images: --set control=canny=PATH. To generate without control images: --set control="
HASHES = "control_net_sha256"
"""Provenance that identifies the weights of the nets."""


def find_controls(path: Path, record: Mapping[str, Any], known: Sequence[Path] = ()) -> list[str]:
    """Return the recorded control images with the paths of the images and of local nets.

    Args:
        path: image with the record; its folder and the current folder are searched.
        record: record of the image.
        known: files of control images that are tried first.

    Raises:
        InputFileError: an image or a local net is missing or has another hash, or the record is invalid.
        RefusedError: a recorded net is a path.
    """
    texts, digests = record.get("control") or [], record.get("control_sha256") or []
    sources, nets = record.get("control_net_source") or [], record.get(HASHES) or []
    lists = (texts, digests, sources, nets)
    if any(not isinstance(each, list) or len(each) != len(texts) for each in lists):
        raise _invalid(path, "The control images and their hashes do not match.")
    found = zip(texts, digests, sources, nets, strict=True)
    return [
        _find(path, _RecordedControl(str(text), str(digest), str(source), str(net)), known)
        for text, digest, source, net in found
    ]


class _RecordedControl(NamedTuple):
    """Represent a recorded control image: its text, the hash of its file, and source and hash of its net."""

    text: str
    sha256: str
    source: str
    net_sha256: str


def _find(path: Path, recorded: _RecordedControl, known: Sequence[Path]) -> str:
    digest = recorded.sha256
    try:
        spec = parse_control(recorded.text)
    except UsageError as error:
        raise _invalid(path, error.message) from error
    name = spec.image.name
    candidates = [*(each for each in known if each.name == name), *(folder / name for folder in (path.parent, Path()))]
    image = next((each for each in candidates if _has_hash(each, digest)), None)
    if image is None:
        raise InputFileError(
            f"Cannot replay '{path}': its control image {name!r} (SHA-256 {digest[:10]}...) is not next to the image "
            "or in the current folder. A file with the same name and other contents is not used.",
            f"Set the path: --set control={spec._replace(image=Path('PATH'))}. To generate without control images: "
            "--set control=",
        )
    return str(spec._replace(image=image, model=_net_name(path, spec, recorded.source, recorded.net_sha256)))


def _net_name(path: Path, spec: ControlSpec, source: str, digest: str) -> str | None:
    name = spec.model
    if name is None or name in CONTROL_KINDS:
        return name
    if source == "local":
        found = find_recorded_net(name, digest, (path.parent, Path()))
        if found is None:
            raise ModelUnavailableError(
                f"Cannot replay '{path}': its control net {name!r} (SHA-256 {digest[:10]}...) is not on this computer. "
                "A net with the same name and other contents is not used.",
                f"Set the path: --set control={spec._replace(model='PATH')}",
            )
        return str(found)
    if os.path.lexists(name) or name.startswith(("/", "~", ".")) or "\\" in name:
        raise RefusedError(
            f"Cannot replay '{path}': its control net {name!r} is a path, which could be any file.", SET_HINT
        )
    return name


def check_nets(job: Job, recorded: Sequence[str]) -> None:
    """Compare the nets of a prepared job with the recorded hashes.

    Raises:
        ModelUnavailableError: the weights of a net differ.
    """
    found = job.provenance.get(HASHES) or []
    for number, digest in enumerate(recorded):
        other = found[number] if number < len(found) else ""
        if other != digest:
            name = (job.provenance.get("control_net") or [""])[number : number + 1]
            raise ModelUnavailableError(
                f"Cannot replay with the control net {''.join(name)!r}: its weights differ from the recorded ones "
                f"(SHA-256 {str(digest)[:10]}... is recorded, {str(other)[:10]}... is installed).",
                "To use the installed weights, set the control images again: --set control=KIND=IMAGE.",
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
