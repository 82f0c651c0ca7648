"""Under which licence pictures may be learnt from."""

import re
from collections.abc import Sequence

from artgen.errors import UsageError
from artgen.training.findings import Example, Rejected

_NONE = frozenset({"", "none", "noassertion", "unknown", "unclear", "?"})
"""Words that say that there is no licence, SPDX's own among them."""


def accepted(names: str | None) -> frozenset[str]:
    """The licences of a list such as `CC0-1.0,MIT`, in small letters; empty where any will do.

    Raises:
        UsageError: the list names none.
    """
    if names is None:
        return frozenset()
    found = frozenset(name.strip().casefold() for name in names.split(",") if name.strip())
    if not found:
        raise UsageError(f"licences must name one or more, not {names!r}.", "--licences CC0-1.0,MIT")
    return found


def sort_out(
    examples: Sequence[Example], required: bool, names: frozenset[str]
) -> tuple[list[Example], list[Rejected]]:
    """The examples whose licence will do, and the others."""
    if not required and not names:
        return list(examples), []
    good, bad = [], []
    for each in examples:
        licence = each.provenance.licence if each.provenance else None
        if licence is None or licence.casefold() in _NONE:
            bad.append(Rejected(each.name, "has no licence in provenance.jsonl", "without a licence"))
        elif names and not _fits(licence, names):
            bad.append(Rejected(each.name, f"is under {licence}, which is not accepted", "under another licence"))
        else:
            good.append(each)
    return good, bad


def _fits(licence: str, names: frozenset[str]) -> bool:
    """Whether a licence, or an SPDX expression of several with OR and AND, is covered by the names."""
    if "(" in licence:  # nested: certain only where all that it names is accepted
        parts = re.split(r"[()]| or | and ", licence.casefold())
        return all(part.strip() in names for part in parts if part.strip())
    choices = licence.casefold().split(" or ")
    return any(all(part.strip() in names for part in choice.split(" and ")) for choice in choices)
