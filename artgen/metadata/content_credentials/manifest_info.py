"""Define what a C2PA manifest states, and convert the JSON of the package c2pa. All values are untrusted texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_INGREDIENT_DEPTH = 20
MAX_INGREDIENTS = 100
MAX_TEXT_CHARS = 200

_RELATIONSHIPS = {"parentOf": "parent", "componentOf": "component", "inputTo": "input"}


@dataclass(frozen=True)
class Certificate:
    """Describe the certificate of a signature.

    Attributes:
        subject: name of the signer.
        issuer: name of the authority that issued the certificate.
        serial_number: serial number, hexadecimal.
        not_before: first day on which the certificate is valid, as ISO 8601.
        not_after: last day.
    """

    subject: str = ""
    issuer: str = ""
    serial_number: str = ""
    not_before: str = ""
    not_after: str = ""


@dataclass(frozen=True)
class Ingredient:
    """Describe an input of a signed image.

    Attributes:
        title: name of the input.
        relationship: `parent`, `component` or `input`.
        manifest: manifest of the input; None if the input had no manifest.
        failures: codes of the checks of the input that failed when the image was signed.
    """

    title: str
    relationship: str
    manifest: "Manifest | None" = None
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """Describe a manifest.

    Attributes:
        label: identifier of the manifest.
        title: title of the image.
        generator: name and version of the program that wrote the manifest.
        source_type: digital source type of IPTC, without the prefix of its URI; empty if unknown.
        actions: names of the actions, such as `c2pa.created`.
        signed: date and time of a trusted timestamp, as ISO 8601; empty without a timestamp.
        algorithm: algorithm of the signature, such as es256.
        certificate: certificate of the signer.
        ingredients: inputs of the image, in the order of the manifest.
        content: hashes of the content at signing, see `content_hashes`; empty in manifests of other tools.
    """

    label: str
    title: str = ""
    generator: str = ""
    source_type: str = ""
    actions: tuple[str, ...] = ()
    signed: str = ""
    algorithm: str = ""
    certificate: Certificate = Certificate()
    ingredients: tuple[Ingredient, ...] = ()
    content: Mapping[str, Any] | None = None

    @property
    def chain_length(self) -> int:
        """Return the number of images in the longest chain of parents, this image included."""
        return 1 + max((each.manifest.chain_length if each.manifest else 1 for each in self.ingredients), default=0)


def parse_manifests(store: Mapping[str, Any], certificates: Mapping[str, Mapping[str, Any]]) -> Manifest | None:
    """Return the active manifest of a store with the manifests of its ingredients; None if the store has none.

    Args:
        store: JSON of the manifest store, as `Reader.json` returns it.
        certificates: certificates by the label of their manifest, as `Reader.crjson` returns them.
    """
    return _ManifestParser(store, certificates).parse(_text(store.get("active_manifest")), 0)


class _ManifestParser:
    """Convert the manifests of a store, with limits for their number and their depth."""

    def __init__(self, store: Mapping[str, Any], certificates: Mapping[str, Mapping[str, Any]]) -> None:
        self._manifests = _mapping(store.get("manifests"))
        self._certificates = certificates
        self._num_left = MAX_INGREDIENTS

    def parse(self, label: str, depth: int) -> Manifest | None:
        values = _mapping(self._manifests.get(label))
        if not values:
            return None
        signature = _mapping(values.get("signature_info"))
        actions = _actions(values)
        generators = _sequence(values.get("claim_generator_info"))
        return Manifest(
            label=label,
            title=_text(values.get("title")),
            generator=_generator(_mapping(generators[0])) if generators else _text(values.get("claim_generator")),
            source_type=_source_type(actions),
            actions=tuple(_text(each.get("action")) for each in actions),
            signed=_text(signature.get("time")),
            algorithm=_text(signature.get("alg")).lower(),
            certificate=_certificate(_mapping(self._certificates.get(label)), signature),
            ingredients=tuple(self._ingredients(values, depth)),
            content=_content(values),
        )

    def _ingredients(self, values: Mapping[str, Any], depth: int) -> list[Ingredient]:
        found = []
        for each in map(_mapping, _sequence(values.get("ingredients"))):
            self._num_left -= 1
            if self._num_left < 0 or depth >= MAX_INGREDIENT_DEPTH:
                break
            label = _text(each.get("active_manifest"))
            relationship = _text(each.get("relationship"))
            manifest = self.parse(label, depth + 1) if label else None
            name = _RELATIONSHIPS.get(relationship, relationship)
            found.append(Ingredient(_text(each.get("title")) or "without a name", name, manifest, _failures(each)))
        return found


def _failures(ingredient: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the codes of the failed checks; `validation_status` is the form of C2PA 1."""
    results = _mapping(_mapping(ingredient.get("validation_results")).get("activeManifest"))
    failed = (*_sequence(results.get("failure")), *_sequence(ingredient.get("validation_status")))
    return tuple(filter(None, (_text(_mapping(each).get("code")) for each in failed)))


def _assertion_data(values: Mapping[str, Any], label: str) -> list[Mapping[str, Any]]:
    assertions = map(_mapping, _sequence(values.get("assertions")))
    return [_mapping(each.get("data")) for each in assertions if _text(each.get("label")).startswith(label)]


def _actions(values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = [each for data in _assertion_data(values, "c2pa.actions") for each in _sequence(data.get("actions"))]
    return list(map(_mapping, found))


def _content(values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    from artgen.metadata.content_credentials.content_hashes import CONTENT_LABEL

    return next(iter(_assertion_data(values, CONTENT_LABEL)), None)


def _source_type(actions: Sequence[Mapping[str, Any]]) -> str:
    """Return the source type of the last action that has one."""
    types = [_text(each.get("digitalSourceType")) for each in actions]
    return next((each.rstrip("/").rsplit("/", 1)[-1] for each in reversed(types) if each), "")


def _generator(values: Mapping[str, Any]) -> str:
    return f"{_text(values.get('name'))} {_text(values.get('version'))}".strip()


def _certificate(info: Mapping[str, Any], signature: Mapping[str, Any]) -> Certificate:
    subject, issuer, validity = (_mapping(info.get(name)) for name in ("subject", "issuer", "validity"))
    return Certificate(
        subject=_text(subject.get("CN")) or _text(subject.get("O")) or _text(signature.get("common_name")),
        issuer=_text(issuer.get("CN")) or _text(issuer.get("O")) or _text(signature.get("issuer")),
        serial_number=_text(info.get("serialNumber")),
        not_before=_text(validity.get("notBefore")),
        not_after=_text(validity.get("notAfter")),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _text(value: object) -> str:
    """Return a text without control characters, at most `MAX_TEXT_CHARS` long; empty for another type."""
    if not isinstance(value, str):
        return ""
    return "".join(char if char.isprintable() else " " for char in value[:MAX_TEXT_CHARS])
