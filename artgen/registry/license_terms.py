"""Classify the licenses of models: commercial use, share-alike, and limits.

The facts are from the texts of the licenses. They are a help, not legal advice: the text of a license counts.
"""

import re
from dataclasses import dataclass

UNKNOWN_NAMES = ("", "unknown", "other", "not stated", "see the model card")

YES, NO, LIMITED, UNKNOWN = "yes", "no", "limited", "unknown"


@dataclass(frozen=True)
class LicenseTerms:
    """Describe what a license allows.

    Attributes:
        commercial_use: yes; no; limited: with conditions, such as a limit of revenue; unknown.
        share_alike: whether derived models must have the same license; None if unknown.
        note: the most important condition; may be empty.
    """

    commercial_use: str = UNKNOWN
    share_alike: bool | None = None
    note: str = ""

    def summary(self, *, gated: bool) -> str:
        """Return the terms in one line.

        Args:
            gated: whether the hub requires an account and the acceptance of the license.
        """
        shared = {None: UNKNOWN, True: YES, False: NO}[self.share_alike]
        commercial = f"{self.commercial_use} ({self.note})" if self.note else self.commercial_use
        return f"commercial use: {commercial}; share-alike: {shared}; gated: {YES if gated else NO}"


_PERMISSIVE = LicenseTerms(YES, False)
_COPYLEFT = LicenseTerms(YES, True)
_RAIL = LicenseTerms(YES, False, "use restrictions, which derived models must keep")
_RESEARCH = LicenseTerms(NO)

_TERMS: tuple[tuple[str, LicenseTerms], ...] = (
    (r"by-nc-sa", LicenseTerms(NO, True)),
    (r"by-nc", LicenseTerms(NO, False)),
    (r"non-?commercial|\bnc-|research-license|research-only|qwen-research", _RESEARCH),
    (r"by-sa", _COPYLEFT),
    (r"apache|\bmit\b|\bbsd\b|\bisc\b|cc0|unlicense|\bcc-by\b|wtfpl|0bsd|bsd-", _PERMISSIVE),
    (r"gpl|fair-ai-public|faipl", _COPYLEFT),
    (r"\brail|openrail", _RAIL),
    (
        r"stability-?ai.*community",
        LicenseTerms(LIMITED, None, "free below a limit of revenue"),
    ),
    (r"hunyuan", LicenseTerms(LIMITED, None, "not in all countries, limit of users")),
    (r"playground-v2[.-]5", LicenseTerms(LIMITED, None, "limit of users")),
    (r"kolors", LicenseTerms(LIMITED, None, "registration required")),
    (r"krea-2-community", LicenseTerms(LIMITED, None, "see the license")),
)
"""Patterns of names in lower case with hyphens for spaces, the first that matches, and the terms."""


def license_terms(name: str) -> LicenseTerms:
    """Return the terms of a license.

    Args:
        name: SPDX identifier, an identifier of the hub, a name as in the catalog, or the permissions of Civitai.
    """
    text = name.strip().lower()
    if text.startswith("civitai ("):
        return _civitai_terms(text)
    if text in UNKNOWN_NAMES:
        return LicenseTerms()
    text = _hyphenated(text)
    return next((terms for pattern, terms in _TERMS if re.search(pattern, text)), LicenseTerms())


def _hyphenated(text: str) -> str:
    """Return a name with hyphens for spaces, and with the identifiers of Creative Commons for their names."""
    text = re.sub(r"[\s_-]+", "-", text).replace("creative-commons-attribution", "cc-by")
    return re.sub(r"share-?alike", "sa", re.sub(r"non-?commercial", "nc", text)) if "cc-by" in text else text


def _civitai_terms(text: str) -> LicenseTerms:
    """Return the terms of the permissions that `registry.web.civitai.license_text` writes."""
    match = re.search(r"commercial use: ([\w, ]+)", text)
    uses = match[1].split(", ") if match else [UNKNOWN]
    share_alike = "same permissions" in text
    if uses in ([NO], [UNKNOWN]):
        return LicenseTerms(uses[0], share_alike)
    if "sell" in uses:
        return LicenseTerms(YES, share_alike)
    return LicenseTerms(LIMITED, share_alike, f"only {', '.join(uses)}")


def forbids_commercial_use(name: str) -> bool:
    """Return whether a license does not allow commercial use. An unknown license is not included."""
    return license_terms(name).commercial_use == NO
