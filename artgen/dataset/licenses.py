"""Select training images by their license."""

import re
from collections.abc import Sequence

from artgen.dataset.types import RejectedFile, TrainingImage
from artgen.errors import UsageError

_NO_LICENSE_VALUES = frozenset({"", "none", "noassertion", "unknown", "unclear", "?"})
"""Values of a missing license, including SPDX's NONE and NOASSERTION."""


def parse_licenses(names: str | None) -> frozenset[str]:
    """Return the license names of a list such as `CC0-1.0,MIT` in lower case; empty if every license is accepted.

    Raises:
        UsageError: the list contains no name.
    """
    if names is None:
        return frozenset()
    parsed = frozenset(name.strip().casefold() for name in names.split(",") if name.strip())
    if not parsed:
        raise UsageError(f"Cannot use {names!r} as a list of licenses: it contains no name.", "--licenses CC0-1.0,MIT")
    return parsed


def filter_by_license(
    images: Sequence[TrainingImage], required: bool, accepted_licenses: frozenset[str]
) -> tuple[list[TrainingImage], list[RejectedFile]]:
    """Return the images with an accepted license, and the rejected files.

    Args:
        images: images with their provenance.
        required: reject images without a license.
        accepted_licenses: lower-case SPDX names; empty accepts every license.
    """
    if not required and not accepted_licenses:
        return list(images), []
    accepted, rejected = [], []
    for image in images:
        value = image.provenance.license if image.provenance else None
        if value is None or value.casefold() in _NO_LICENSE_VALUES:
            rejected.append(RejectedFile(image.name, "has no license in provenance.jsonl", "without a license"))
        elif accepted_licenses and not _is_accepted(value, accepted_licenses):
            reason = f"has the license {value}, which is not accepted"
            rejected.append(RejectedFile(image.name, reason, "with another license"))
        else:
            accepted.append(image)
    return accepted, rejected


def _is_accepted(license_expression: str, accepted_licenses: frozenset[str]) -> bool:
    """Return whether a license, or an SPDX expression with OR and AND, is accepted."""
    if "(" in license_expression:  # Nested expressions are not evaluated: all names must be accepted.
        parts = re.split(r"[()]| or | and ", license_expression.casefold())
        return all(part.strip() in accepted_licenses for part in parts if part.strip())
    choices = license_expression.casefold().split(" or ")
    return any(all(part.strip() in accepted_licenses for part in choice.split(" and ")) for choice in choices)
