"""Read and verify the C2PA content credentials of image files with the package c2pa.

Nothing is downloaded: remote manifests and the status of certificates (OCSP) are not requested. Manifests are
untrusted.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, UsageError
from artgen.metadata.content_credentials.content_hashes import changed_parts, content_hashes
from artgen.metadata.content_credentials.keys import PURPOSES
from artgen.metadata.content_credentials.manifest_info import Ingredient, Manifest, parse_manifests
from artgen.metadata.content_credentials.manifest_store import find_manifest_store
from artgen.metadata.content_credentials.package import require_package
from artgen.system.external_data import read_limited

VALID, CHANGED, INVALID, MISSING = "valid", "changed", "invalid", "missing"
"""States of a signature.

valid: the signature fits the file; changed: the file was changed after signing; invalid: the manifest was changed, or
its certificate is not valid; missing: the file has no manifest.
"""

TRUSTED, OWN, UNKNOWN = "trusted", "own", "unknown"
"""Trust in the signer: an authority of the trust list issued the certificate; the own authority of this user; none."""

MAX_ANCHOR_BYTES = 4 << 20

_UNTRUSTED = ("signingCredential.untrusted", "signingCredential.ocsp.skipped")
_HASH_CODES = ("assertion.dataHash.mismatch", "assertion.boxesHash.mismatch", "assertion.bmffHash.mismatch")
_MANIFEST_CODES = ("assertion.hashedURI.mismatch", "claimSignature.mismatch", "assertion.missing")
_REASONS = {
    "signingCredential.expired": "The certificate of the signer has expired.",
    "signingCredential.invalid": "The certificate of the signer is not valid for signing.",
    "signingCredential.revoked": "The certificate of the signer was revoked.",
    "claimSignature.outsideValidity": "The file was signed when the certificate was not valid.",
    "claimSignature.missing": "The manifest has no signature.",
    "ingredient.manifest.missing": "The manifest of an input image was removed or replaced.",
    "ingredient.manifest.mismatch": "The manifest of an input image was changed or replaced.",
    "ingredient.hashedURI.mismatch": "The manifest of an input image was changed or replaced.",
    "ingredient.claimSignature.missing": "The signature of an input image was removed.",
    "ingredient.claimSignature.mismatch": "The signature of an input image was replaced.",
}


@dataclass(frozen=True)
class TrustAnchors:
    """Store the certificates of trusted authorities, as PEM texts.

    Attributes:
        authorities: certificates of the trust list; empty without a list.
        own: certificate of the own authority of `artgen sign init`; empty if it was not created.
    """

    authorities: str = ""
    own: str = ""


@dataclass(frozen=True)
class Verification:
    """Store the result of the verification of a file.

    Attributes:
        state: `valid`, `changed`, `invalid` or `missing`.
        trust: `trusted`, `own` or `unknown`; empty without a manifest.
        problems: why the state is not `valid`, one sentence each.
        manifest: what the manifest states; None without a manifest.
    """

    state: str
    trust: str = ""
    problems: tuple[str, ...] = ()
    manifest: Manifest | None = None

    @property
    def is_valid(self) -> bool:
        """Return whether the file has a valid signature, of a known or an unknown signer."""
        return self.state == VALID


def read_anchors(path: Path) -> str:
    """Return the certificates of a PEM file.

    Raises:
        InputFileError: The file cannot be read, or contains no certificate.
    """
    hint = "Name a PEM file: artgen config set trust_list FILE"
    data = read_limited(path, MAX_ANCHOR_BYTES)
    text = data.decode("utf-8", "replace")
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise InputFileError(f"'{path}' is not a trust list: it contains no certificate in PEM format.", hint)
    return text


class Verifier:
    """Verify files with one set of trusted certificates.

    Args:
        anchors: trusted certificates.

    Raises:
        UsageError: The package c2pa is not installed, or a trusted certificate is damaged.
    """

    def __init__(self, anchors: TrustAnchors | None = None) -> None:
        anchors = anchors or TrustAnchors()
        require_package("Verifying signatures")
        import c2pa

        self._c2pa = c2pa
        trust = {
            "trust_anchors": anchors.authorities,
            "user_anchors": anchors.own,
            "trust_config": "\n".join(PURPOSES),
        }
        settings = {
            "trust": {name: text for name, text in trust.items() if text},
            "verify": {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False},
        }
        try:
            self._context = self._c2pa.Context.from_dict(settings)
        except self._c2pa.C2paError as error:
            raise UsageError(
                f"Cannot use the trusted certificates: {error}.", "Check the file of trust_list."
            ) from error

    def verify(self, data: bytes, name: str) -> Verification:
        """Verify the bytes of an image file.

        Args:
            data: bytes of the file.
            name: name of the file, for messages.

        Raises:
            InputFileError: The file is damaged or truncated, or its format cannot contain a manifest.
        """
        try:
            reader = self._c2pa.Reader.try_create(io.BytesIO(data), context=self._context)
            if reader is None:
                return Verification(MISSING, problems=("The file has no C2PA manifest.",))
            with reader:
                store = json.loads(reader.json())
                certificates = _certificates(reader)
        except (self._c2pa.C2paError, ValueError) as error:
            reason = str(error).rpartition(": ")[2].rstrip(".")
            if find_manifest_store(data) is not None:
                text = f"The file or its C2PA manifest is damaged or truncated: {reason}."
                return Verification(INVALID, problems=(text,))
            raise InputFileError(
                f"Cannot verify '{name}': the file is damaged, truncated, or not an image: {reason}.",
                "Download or copy the file again.",
            ) from error
        manifest = parse_manifests(store, certificates)
        return _result(data, store, manifest)


def ingredient_state(ingredient: Ingredient) -> str:
    """Return the state of the signature of an input, as the signer of the image found it."""
    if ingredient.manifest is None:
        return MISSING
    failures = set(ingredient.failures) - set(_UNTRUSTED)
    return VALID if not failures else CHANGED if failures <= set(_HASH_CODES) else INVALID


def _certificates(reader: Any) -> dict[str, Mapping[str, Any]]:
    """Return the information about the certificate of each manifest, by the label of the manifest."""
    try:
        found = json.loads(reader.crjson())["manifests"]
        return {each["label"]: each["signature"]["certificateInfo"] for each in found if "signature" in each}
    except Exception:  # the library does not describe all certificates
        return {}


def _result(data: bytes, store: Mapping[str, Any], manifest: Manifest | None) -> Verification:
    results = store.get("validation_results") or {}
    active = results.get("activeManifest") or {}
    deltas = [each.get("validationDeltas") or {} for each in results.get("ingredientDeltas") or ()]
    failures = [each for part in (active, *deltas) for each in part.get("failure") or ()]
    codes = {str(each.get("code")): str(each.get("explanation", "")) for each in failures}
    trust = _trust(active)
    problems: list[str] = []
    is_changed = any(code in _HASH_CODES for code in codes)
    if is_changed:
        problems.append(_change_text(data, manifest))
    if any(code in _MANIFEST_CODES for code in codes):
        problems.append("The C2PA manifest was changed after signing.")
    known = (*_UNTRUSTED, *_HASH_CODES, *_MANIFEST_CODES)
    others = {code: text for code, text in codes.items() if code not in known}
    problems += [
        _REASONS.get(code, f"The C2PA manifest is not valid: {text or code} ({code}).") for code, text in others.items()
    ]
    if not problems and store.get("validation_state") not in ("Valid", "Trusted"):
        problems.append("The C2PA manifest is not valid.")
    is_invalid = len(problems) > is_changed
    state = INVALID if is_invalid else CHANGED if is_changed else VALID
    return Verification(state, trust, tuple(dict.fromkeys(problems)), manifest)


def _change_text(data: bytes, manifest: Manifest | None) -> str:
    """Return a sentence about the parts of the file that were changed after signing."""
    if manifest is None or manifest.content is None:
        return "The file was changed after signing. Its manifest has no hashes of single parts."
    parts = changed_parts(manifest.content, content_hashes(data))
    if not parts:
        return "The file was changed after signing: other bytes than the pixels and the known texts."
    return f"The file was changed after signing: {', '.join(parts)}."


def _trust(active: Mapping[str, Any]) -> str:
    """Return the trust in the signer of the active manifest. The explanation names the list of the authority."""
    for each in active.get("success") or ():
        if each.get("code") == "signingCredential.trusted":
            return OWN if "user_anchors" in str(each.get("explanation", "")) else TRUSTED
    return UNKNOWN
