"""Sign output files, and find the input images that their manifests name."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from artgen.errors import InputFileError
from artgen.images.decoding import MAX_FILE_BYTES
from artgen.metadata.content_credentials.keys import SigningKey
from artgen.metadata.content_credentials.manifest import INPUT, PARENT, TRAINING, Parent
from artgen.metadata.content_credentials.signing import configured_key, sign_image
from artgen.spec.base_requests import Request
from artgen.system.input_files import is_stdin, read_input
from artgen.system.memory_file import MEMORY_NAME

SIGNED_WITH = "signed_with"
"""Field of the record of a signed file: SHA-256 of the certificate of the signer."""


class Signing(NamedTuple):
    """Store how files are signed.

    Attributes:
        key: key of the signer.
        level: metadata level of the images, see `artgen.metadata.METADATA_LEVELS`.
    """

    key: SigningKey
    level: str

    def sign(
        self,
        data: bytes,
        format: str,  # noqa: A002 - Pillow's word
        record: Mapping[str, object],
        request: Request | None,
    ) -> bytes:
        """Return the bytes of a file with a C2PA manifest.

        Args:
            data: content of the file.
            format: png, jpeg, webp, gif or mp4.
            record: record of the image.
            request: request of the image, which names its input images; None: no input images.

        Raises:
            OutputError, RefusedError: see `sign_image`.
        """
        parents: tuple[Parent, ...] = ()
        if request is not None:
            from artgen.outputs.training_facts import training_facts  # imports the registry

            parents = find_parents(request, record)
            record = {**record, TRAINING: training_facts(request)}
        return sign_image(data, format, record, parents, self.key, self.level)


def configured_signing(sign: bool | None, level: str) -> Signing | None:
    """Return how files are signed; None if they are not signed.

    Args:
        sign: value of the setting `sign`; None uses the environment and the configuration files.
        level: metadata level of the images.

    Raises:
        ArtgenError: the key is missing or cannot be used; see `configured_key`.
    """
    key = configured_key(sign)
    return None if key is None else Signing(key, level)


def find_parents(request: Request, record: Mapping[str, Any]) -> tuple[Parent, ...]:
    """Return the input images of a request: the image that was changed first, then the other inputs of the model.

    A file whose hash differs from the hash in the record was changed after it was read. Its parent has no data.

    Args:
        request: request of the image.
        record: record of the image, with the hashes of its input files.
    """
    found: dict[str, Parent] = {}
    for path, sha256, relationship in _input_files(request, record):
        if sha256 not in found:
            name = "" if is_stdin(path) or path.name == MEMORY_NAME else path.name
            found[sha256] = Parent(name, _content(path, sha256), relationship)
    return tuple(found.values())


def _input_files(request: Request, record: Mapping[str, Any]) -> Iterator[tuple[Path, str, str]]:
    """Yield path, recorded hash and relationship of each input image."""
    paths = request.input_paths
    if image := paths.get("image"):
        yield image, str(record.get("image_sha256", "")), PARENT
    lists: Sequence[tuple[str, Sequence[Path | None]]] = (
        ("mask_sha256", [paths.get("mask")]),
        ("control_sha256", [each.image for each in request.controls]),
        ("image_prompt_sha256", [each.image for each in request.image_prompts]),
        ("image_prompt_mask_sha256", [each.mask for each in request.image_prompts]),
        ("reference_sha256", [Path(each) for each in getattr(request, "reference", ())]),
    )
    for name, files in lists:
        hashes = record.get(name)
        hashes = [hashes] if isinstance(hashes, str) else hashes if isinstance(hashes, list) else []
        for path, sha256 in zip(files, hashes, strict=False):
            if path is not None:
                yield path, str(sha256), INPUT


def _content(path: Path, sha256: str) -> bytes | None:
    try:
        data = read_input(path, MAX_FILE_BYTES)
    except InputFileError:  # removed in the meantime
        return None
    return data if hashlib.sha256(data).hexdigest() == sha256 else None
