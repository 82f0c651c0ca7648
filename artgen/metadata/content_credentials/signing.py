"""Sign the bytes of an image file with a C2PA manifest."""

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from artgen.errors import OutputError, RefusedError
from artgen.metadata.content_credentials.keys import SigningKey
from artgen.metadata.content_credentials.manifest import (
    Parent,
    build_manifest,
    ingredient_definition,
    media_type,
    sniff_media_type,
)

OFFLINE_SETTINGS = {
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
"""Settings of c2pa: no access to the network, and no thumbnails, which would be a second copy of the image."""


def sign_image(
    data: bytes,
    format: str,  # noqa: A002 - Pillow's word
    record: Mapping[str, object],
    parents: Sequence[Parent],
    key: SigningKey,
    *,
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
        OutputError: the file cannot be signed.
        RefusedError: c2pa refuses the key.
    """
    import c2pa

    try:
        info = c2pa.C2paSignerInfo(key.algorithm, key.certificates, key.private_key, None)
        signer = c2pa.Signer.from_info(info)
        context = c2pa.Context.from_dict(OFFLINE_SETTINGS, signer=signer)
    except c2pa.C2paError as error:
        raise RefusedError(f"Cannot sign with the key of {key.signer!r}: {error}.", "artgen sign init") from error
    usable = list(parents)
    with context:
        while True:
            definition = build_manifest(record, usable, level)
            with c2pa.Builder.from_json(json.dumps(definition), context) as builder:
                if (number := _add_ingredients(builder, usable, level)) is not None:
                    usable[number] = dataclasses.replace(usable[number], data=None)
                    continue
                return _sign(builder, media_type(format), data)


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
