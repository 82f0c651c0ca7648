"""Find the control images and the local control nets of an image record by name and hash.

A recorded net is a name of the table, a hub id, or a local file or folder with the recorded hash; never a path.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from artgen.errors import RefusedError, UsageError
from artgen.jobs.recorded_images import (
    RecordedSetting,
    find_image,
    invalid_record,
    missing_image,
    missing_weights,
    recorded_values,
)
from artgen.registry.control_nets import find_recorded_net
from artgen.spec.control import CONTROL_KINDS, ControlSpec, parse_control

SETTING = RecordedSetting("control", "control images", "canny=PATH")
HASHES = "control_net_sha256"
"""Provenance that identifies the weights of the nets."""


def find_controls(path: Path, record: Mapping[str, Any], known: Sequence[Path] = ()) -> list[str]:
    """Return the recorded control images with the paths of the images and of local nets.

    Args:
        path: image with the record; its folder and the current folder are searched.
        record: record of the image.
        known: files of control images that are tried first.

    Raises:
        InputFileError: an image is missing or has another hash, or the record is invalid.
        ModelUnavailableError: a local net is missing.
        RefusedError: a recorded net is a path.
    """
    names = ("control", "control_sha256", "control_net_source", HASHES)
    found = []
    for text, digest, source, net_digest in recorded_values(path, record, SETTING, names):
        try:
            spec = parse_control(text)
        except UsageError as error:
            raise invalid_record(path, error.message, SETTING) from error
        image = find_image(path, spec.image.name, digest, known)
        if image is None:
            what = f"control image {spec.image.name!r}"
            raise missing_image(path, what, digest, SETTING, spec._replace(image=Path("PATH")))
        found.append(str(spec._replace(image=image, model=_net_name(path, spec, source, net_digest))))
    return found


def _net_name(path: Path, spec: ControlSpec, source: str, digest: str) -> str | None:
    name = spec.model
    if name is None or name in CONTROL_KINDS:
        return name
    if source == "local":
        found = find_recorded_net(name, digest, (path.parent, Path()))
        if found is None:
            raise missing_weights(path, f"control net {name!r}", digest, SETTING, spec._replace(model="PATH"))
        return str(found)
    if os.path.lexists(name) or name.startswith(("/", "~", ".")) or "\\" in name:
        raise RefusedError(
            f"Cannot replay '{path}': its control net {name!r} is a path, which could be any file.", SETTING.hint
        )
    return name
