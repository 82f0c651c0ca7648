"""Verify the signatures of images, and the training provenance of LoRA files."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.api.inputs import input_file
from artgen.errors import InputFileError
from artgen.images.decoding import MAX_FILE_BYTES
from artgen.spec.python_text import for_python
from artgen.spec.python_values import path_text
from artgen.spec.shared_config import signing_file
from artgen.system.input_files import read_input

if TYPE_CHECKING:
    from artgen.engine.results import GeneratedImage
    from artgen.metadata.content_credentials.manifest_info import Manifest
    from artgen.metadata.content_credentials.reading import Verification, Verifier

UNCHECKED = "unchecked"
"""State of a LoRA whose datasheet is not beside it."""

_WEIGHTS_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class SignedInput:
    """Describe an input image that a manifest names.

    Attributes:
        name: name of the file, as the manifest states it.
        relationship: parent (the image that was changed), component or input.
        depth: number of images between this image and the verified file, plus 1.
        signer: name in the certificate of its signature; empty without a manifest.
        generator: program that wrote its manifest; empty without a manifest.
        source_type: digital source type of IPTC in its manifest; empty if unknown.
        has_manifest: whether the input had a manifest, which is in the manifest of the verified file.
        state: state of the input when it was used: `valid`, `changed` after its own signing, `invalid` or `missing`.
    """

    name: str
    relationship: str
    depth: int
    signer: str = ""
    generator: str = ""
    source_type: str = ""
    has_manifest: bool = False
    state: str = "missing"


@dataclass(frozen=True, kw_only=True)
class VerifiedFile:
    """Describe the result of a verification. Names in it are untrusted texts of the file.

    Attributes:
        file: path of the file.
        state: `valid`; `changed` after signing; `invalid` manifest or certificate; `missing` signature; `unchecked`
            LoRA without a datasheet; `unreadable` (only with `artgen verify --json`).
        trust: `trusted`: an authority of the trust list confirms the signer; `own`: the key of `artgen sign init`;
            `unknown`. Empty without a signature.
        problems: why the state is not `valid`, one sentence each.
        signer: name in the certificate.
        issuer: name of the authority that issued the certificate.
        algorithm: algorithm of the signature.
        expires: last day of the certificate, as YYYY-MM-DD.
        generator: program that wrote the manifest.
        source_type: digital source type of IPTC.
        actions: actions of the manifest, such as `c2pa.created`.
        inputs: input images of the image, and the inputs of these images.
        chain_length: number of images in the longest chain from an input to this image; 0 without a manifest.
        training: datasheet hash, licenses and number of the training images of a LoRA; empty for images.
    """

    file: Path
    state: str
    trust: str = ""
    problems: tuple[str, ...] = ()
    signer: str = ""
    issuer: str = ""
    algorithm: str = ""
    expires: str = ""
    generator: str = ""
    source_type: str = ""
    actions: tuple[str, ...] = ()
    inputs: tuple[SignedInput, ...] = ()
    chain_length: int = 0
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_valid(self) -> bool:
        """Return whether the signature is valid, or the datasheet of a LoRA is the recorded one or is not there."""
        return self.state in ("valid", UNCHECKED)


class FileVerifier:
    """Verify several files with the same trusted certificates.

    Args:
        trust_list: PEM file with the certificates of trusted authorities; None: the setting `trust_list`.

    Raises:
        InputFileError: the trust list cannot be read.
        UsageError: the package c2pa-python is not installed. Raised when the first image is verified.
    """

    def __init__(self, trust_list: Path | None = None) -> None:
        self._trust_list = trust_list or signing_file("trust_list")
        if self._trust_list is not None:
            from artgen.metadata.content_credentials.reading import read_anchors

            read_anchors(self._trust_list)
        self._verifier: Verifier | None = None

    def verify(self, path: Path) -> VerifiedFile:
        """Verify an image or a LoRA file.

        Raises:
            InputFileError: the file cannot be read, or its format cannot contain a signature.
            UsageError: the package c2pa-python is not installed.
        """
        if path.suffix.lower() == _WEIGHTS_SUFFIX:
            return _verify_weights(path)
        data = read_input(path, MAX_FILE_BYTES)
        if not data:
            raise InputFileError(f"'{path}' is empty.", "Download or copy the file again.")
        found = self._image_verifier().verify(data, str(path))
        return _describe(path, found, _removal_problems(path) if found.state == "missing" else ())

    def _image_verifier(self) -> "Verifier":
        if self._verifier is None:
            from artgen.metadata.content_credentials.keys import own_authority_file
            from artgen.metadata.content_credentials.reading import TrustAnchors, Verifier, read_anchors

            own = own_authority_file()
            self._verifier = Verifier(
                TrustAnchors(
                    authorities=read_anchors(self._trust_list) if self._trust_list else "",
                    own=read_anchors(own) if own else "",
                )
            )
        return self._verifier


def verify(
    file: "str | os.PathLike[str] | bytes | GeneratedImage", *, trust_list: "str | os.PathLike[str] | None" = None
) -> VerifiedFile:
    """Verify the signature of an image: C2PA manifest, content hash, certificate and input images.

    A LoRA file of `artgen train` is compared with the datasheet beside it.

    Args:
        file: path, bytes of a file, or result.
        trust_list: PEM file with the certificates of trusted authorities. None: the setting `trust_list`.

    Raises:
        InputFileError: the file or the trust list cannot be read.
        UsageError: the package c2pa-python is not installed.
    """
    with for_python():
        path = None if trust_list is None else Path(path_text(trust_list, "trust_list"))
        return FileVerifier(path).verify(input_file(file, "file"))


def _describe(path: Path, found: "Verification", more_problems: tuple[str, ...]) -> VerifiedFile:
    manifest = found.manifest
    problems = (*more_problems, *(() if more_problems else found.problems))
    if manifest is None:
        return VerifiedFile(file=path, state=found.state, trust=found.trust, problems=problems)
    return VerifiedFile(
        file=path,
        state=found.state,
        trust=found.trust,
        problems=problems,
        signer=manifest.certificate.subject,
        issuer=manifest.certificate.issuer,
        algorithm=manifest.algorithm,
        expires=manifest.certificate.not_after[:10],
        generator=manifest.generator,
        source_type=manifest.source_type,
        actions=manifest.actions,
        inputs=tuple(_inputs(manifest, 1)),
        chain_length=manifest.chain_length,
    )


def _inputs(manifest: "Manifest", depth: int) -> Iterator[SignedInput]:
    from artgen.metadata.content_credentials.reading import ingredient_state

    for each in manifest.ingredients:
        inner = each.manifest
        if inner is None:
            yield SignedInput(each.title, each.relationship, depth)
            continue
        yield SignedInput(
            each.title,
            each.relationship,
            depth,
            inner.certificate.subject,
            inner.generator,
            inner.source_type,
            has_manifest=True,
            state=ingredient_state(each),
        )
        yield from _inputs(inner, depth + 1)


def _removal_problems(path: Path) -> tuple[str, ...]:
    """Return the problem of a file whose record names a signer, but which has no manifest."""
    from artgen.metadata.containers import extract_texts
    from artgen.metadata.reading import embedded_metadata
    from artgen.outputs.signatures import SIGNED_WITH

    try:
        record, _ = embedded_metadata(extract_texts(path))
    except InputFileError:  # a format without a record
        return ()
    if not record or not record.get(SIGNED_WITH):
        return ()
    return ("The C2PA manifest was removed: the record in the file states that the file was signed.",)


def _verify_weights(path: Path) -> VerifiedFile:
    from artgen.registry.training_provenance import check_datasheet, read_training_provenance

    provenance = read_training_provenance(path)
    if provenance is None:
        problem = "The file states no training images. LoRAs of `artgen train` state the datasheet and the licenses."
        return VerifiedFile(file=path, state="missing", problems=(problem,))
    check = check_datasheet(path, provenance)
    training = provenance.fields()
    if check.is_equal is None:
        problem = "The datasheet of the training images is not beside the file: its hash is not checked."
        return VerifiedFile(file=path, state=UNCHECKED, problems=(problem,), training=training)
    if not check.is_equal:
        problem = f"The datasheet '{check.path}' was changed after the training: its hash differs."
        return VerifiedFile(file=path, state="changed", problems=(problem,), training=training)
    return VerifiedFile(file=path, state="valid", training=training)
