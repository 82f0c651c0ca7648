"""Sign the bytes of an image file with a C2PA manifest."""

import base64
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from artgen.errors import OutputError, RefusedError
from artgen.metadata.content_credentials.content_hashes import CONTENT_LABEL, content_hashes
from artgen.metadata.content_credentials.keys import SigningKey, key_files, load_signing_key
from artgen.metadata.content_credentials.manifest import (
    Parent,
    build_manifest,
    ingredient_definition,
    media_type,
    sniff_media_type,
)
from artgen.metadata.content_credentials.package import require_package
from artgen.spec.shared_config import sign_is_on
from artgen.system.command_state import register_reset

OFFLINE_SETTINGS: dict[str, dict[str, Any]] = {
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
"""Settings of c2pa: no access to the network, and no thumbnails, which would be a second copy of the image."""


_TRIAL_IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)

_checked_keys: set[str] = set()
"""SHA-256 of the certificate of each key with which an image was signed."""
register_reset(_checked_keys.clear)


def sign_image(
    data: bytes,
    format: str,  # noqa: A002 - Pillow's word
    record: Mapping[str, object],
    parents: Sequence[Parent],
    key: SigningKey,
    level: str = "full",
) -> bytes:
    """Return the bytes of an image file with a C2PA manifest. Pixels and other metadata do not change.

    Two calls return different bytes, because a manifest contains a random identifier.

    Args:
        data: content of the image file.
        format: png, jpeg, webp, gif, tiff or mp4.
        record: record of the image; selects the digital source type and names the models.
        parents: input images. Their manifests become part of the new manifest.
        key: key of the signer.
        level: metadata level of the image: full, minimal or none.

    Raises:
        UsageError: c2pa-python is not installed, for example on a machine of a Ray cluster.
        OutputError: the file cannot be signed.
        RefusedError: c2pa refuses the key.
    """
    try:
        import c2pa
    except ImportError:
        require_package()
        raise
    try:
        info = c2pa.C2paSignerInfo(key.algorithm, key.certificates, key.private_key, None)
        signer = c2pa.Signer.from_info(info)
        context = c2pa.Context.from_dict(OFFLINE_SETTINGS, signer=signer)
    except c2pa.C2paError as error:
        raise RefusedError(f"Cannot sign with the key of {key.signer!r}: {error}.", "artgen sign init") from error
    usable, hashes = list(parents), content_hashes(data)
    with context:
        while True:
            definition = build_manifest(record, usable, level)
            if hashes is not None:
                definition["assertions"].append({"label": CONTENT_LABEL, "data": hashes.to_dict()})
            with c2pa.Builder.from_json(json.dumps(definition), context) as builder:
                if (number := _add_ingredients(builder, usable, level)) is not None:
                    usable[number] = dataclasses.replace(usable[number], data=None)
                    continue
                return _sign(builder, media_type(format), data)


def configured_key(sign: bool | None) -> SigningKey | None:
    """Return the key that signs images; None if images are not signed.

    Args:
        sign: value of the setting `sign`; None uses the environment and the configuration files.

    Raises:
        ArtgenError: images are signed, but the key is missing, or a small image cannot be signed with it; see
            `load_signing_key` and `sign_image`.
    """
    if not (sign_is_on() if sign is None else sign):
        return None
    key = load_signing_key(*key_files())
    if key.sha256 not in _checked_keys:
        sign_image(_TRIAL_IMAGE, "png", {}, (), key, "none")
        _checked_keys.add(key.sha256)
    return key


def _add_ingredients(builder: Any, parents: Sequence[Parent], level: str) -> int | None:
    """Add the parents with data. Return the position of a parent whose file c2pa cannot read; None if all are added."""
    import c2pa

    for number, parent in enumerate(parents):
        if parent.data is not None:
            kind = sniff_media_type(parent.data)
            try:
                definition = json.dumps(ingredient_definition(parent, number, level))
                builder.add_ingredient(definition, kind, io.BytesIO(parent.data))
            except c2pa.C2paError:
                return number
    return None


def _sign(builder: Any, kind: str, data: bytes) -> bytes:
    import c2pa

    buffer = io.BytesIO()
    try:
        builder.sign(kind, io.BytesIO(data), buffer)
    except c2pa.C2paError as error:
        raise OutputError(f"Cannot sign the image: {error}.", "Save it without a signature: --no-sign") from error
    return buffer.getvalue()
