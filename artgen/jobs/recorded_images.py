"""Find the files of the control images and image prompts of a record, and compare the weights that read them.

Records are untrusted: a recorded file is used only from some folders and only with the recorded hash, never by its
path.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from artgen.errors import InputFileError, ModelUnavailableError
from artgen.jobs.job import Job
from artgen.registry.hashes import compute_sha256
from artgen.system.input_files import is_stdin
from artgen.system.memory_file import file_content


class RecordedSetting(NamedTuple):
    """Describe a setting whose values name an image file and weights.

    Attributes:
        name: name of the setting.
        title: name of the images in messages, such as "control images".
        example: value of the setting in hints.
    """

    name: str
    title: str
    example: str

    @property
    def hint(self) -> str:
        """Return the hint of errors about a record."""
        return f"Set the {self.title}: --set {self.name}={self.example}. To generate without them: --set {self.name}="


def recorded_values(
    path: Path, record: Mapping[str, Any], setting: RecordedSetting, names: Sequence[str]
) -> list[tuple[str, ...]]:
    """Return the values of each image in lists of a record.

    Args:
        path: image with the record.
        record: record of the image.
        setting: the setting.
        names: names of lists in the record, which have one value for each image.

    Raises:
        InputFileError: the lists have different lengths.
    """
    lists = [record.get(name) or [] for name in names]
    if any(not isinstance(each, list) or len(each) != len(lists[0]) for each in lists):
        raise invalid_record(path, f"The {setting.title} and their hashes do not match.", setting)
    return list(zip(*(map(str, each) for each in lists), strict=True))


def find_image(path: Path, name: str, digest: str, known: Sequence[Path] = ()) -> Path | None:
    """Return the file with a name and a hash; None if no file has both.

    Args:
        path: image with the record; its folder and the current folder are searched.
        name: file name without folders.
        digest: SHA-256 of the file, 64 hex digits.
        known: files that are tried first, if they have the name.
    """
    candidates = [*(each for each in known if each.name == name), *(folder / name for folder in (path.parent, Path()))]
    return next((each for each in candidates if digest and file_sha256(each) == digest), None)


def file_sha256(path: Path) -> str | None:
    """Return the SHA-256 of a file or of a file in memory; None if the file does not exist or cannot be read."""
    if (content := file_content(path)) is not None:
        return hashlib.sha256(content).hexdigest()
    if is_stdin(path) or not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for long names
        return None
    try:
        return compute_sha256(path)
    except InputFileError:
        return None


def missing_image(path: Path, what: str, digest: str, setting: RecordedSetting, text: object) -> InputFileError:
    """Return the error that a recorded file is missing.

    Args:
        path: image with the record.
        what: the file, such as "control image 'edges.png'".
        digest: recorded hash of the file.
        setting: the setting.
        text: value of the setting with PATH in place of the file.
    """
    return InputFileError(
        f"Cannot replay '{path}': its {what} (SHA-256 {digest[:10]}...) is not next to the image or in the current "
        "folder. A file with the same name and other contents is not used.",
        f"Set the path: --set {setting.name}={text}. To generate without {setting.title}: --set {setting.name}=",
    )


def missing_weights(
    path: Path, what: str, digest: str, setting: RecordedSetting, text: object
) -> ModelUnavailableError:
    """Return the error that recorded local weights are missing; the arguments are as in `missing_image`."""
    return ModelUnavailableError(
        f"Cannot replay '{path}': its {what} (SHA-256 {digest[:10]}...) is not on this computer. A file with the same "
        "name and other contents is not used.",
        f"Set the path: --set {setting.name}={text}",
    )


def invalid_record(path: Path, reason: str, setting: RecordedSetting) -> InputFileError:
    """Return the error that the record is invalid."""
    return InputFileError(f"Cannot replay '{path}': its record is invalid. {reason}", setting.hint)


def check_weights(job: Job, name: str, recorded: Sequence[str], setting: RecordedSetting, what: str) -> None:
    """Compare weights of a prepared job with the recorded hashes.

    Args:
        job: prepared job.
        name: provenance with the hashes.
        recorded: recorded hashes.
        setting: the setting.
        what: name of the weights in messages, such as "control net".

    Raises:
        ModelUnavailableError: the hashes differ.
    """
    found = job.provenance.get(name) or []
    for old, new in zip(recorded, [*found, *[""] * len(recorded)], strict=False):
        if old != new:
            raise ModelUnavailableError(
                f"Cannot replay: the weights of the {what} differ from the recorded ones (SHA-256 {str(old)[:10]}... "
                f"is recorded, {str(new)[:10]}... is installed).",
                f"To use the installed weights, set the {setting.title} again: --set {setting.name}={setting.example}.",
            )
