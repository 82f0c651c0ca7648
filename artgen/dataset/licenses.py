"""Under which licence pictures may be learnt from."""

import re
from collections.abc import Sequence

from artgen.dataset.types import RejectedFile, TrainingImage
from artgen.errors import UsageError

_NO_LICENSE_VALUES = frozenset({"", "none", "noassertion", "unknown", "unclear", "?"})
"""Words that say that there is no licence, SPDX's own among them."""


def parse_licenses(names: str | None) -> frozenset[str]:
    """The licences of a list such as `CC0-1.0,MIT`, in small letters; empty where any will do.

    Raises:
        UsageError: the list names none.
    """
    if names is None:
        return frozenset()
    found = frozenset(name.strip().casefold() for name in names.split(",") if name.strip())
    if not found:
        raise UsageError(f"licenses must name one or more, not {names!r}.", "--licenses CC0-1.0,MIT")
    return found


def filter_by_license(
    images: Sequence[TrainingImage], required: bool, accepted_licenses: frozenset[str]
) -> tuple[list[TrainingImage], list[RejectedFile]]:
    """The examples whose licence will do, and the others."""
    if not required and not accepted_licenses:
        return list(images), []
    good, bad = [], []
    for each in images:
        licence = each.provenance.licence if each.provenance else None
        if licence is None or licence.casefold() in _NO_LICENSE_VALUES:
            bad.append(RejectedFile(each.name, "has no licence in provenance.jsonl", "without a licence"))
        elif accepted_licenses and not _is_accepted(licence, accepted_licenses):
            bad.append(RejectedFile(each.name, f"is under {licence}, which is not accepted", "under another licence"))
        else:
            good.append(each)
    return good, bad


def _is_accepted(license_expression: str, accepted_licenses: frozenset[str]) -> bool:
    """Whether a licence, or an SPDX expression of several with OR and AND, is covered by the names."""
    if "(" in license_expression:  # nested: certain only where all that it names is accepted
        parts = re.split(r"[()]| or | and ", license_expression.casefold())
        return all(part.strip() in accepted_licenses for part in parts if part.strip())
    choices = license_expression.casefold().split(" or ")
    return any(all(part.strip() in accepted_licenses for part in choice.split(" and ")) for choice in choices)
