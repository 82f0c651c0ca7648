"""Create and describe the key that signs images."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from artgen.errors import UsageError
from artgen.spec.fields import describe_value
from artgen.spec.python_text import for_python

if TYPE_CHECKING:
    from artgen.metadata.content_credentials.keys import SigningKey

DEFAULT_SIGNER = "artgen user"
MAX_SIGNER_CHARS = 64
"""Limit of a common name (RFC 5280, appendix A.1)."""


@dataclass(frozen=True)
class SigningKeyInfo:
    """Describe the key that signs images.

    Attributes:
        certificate: PEM file with the certificates of the signer and of its authorities.
        private_key: PEM file with the private key.
        signer: name in the certificate.
        algorithm: algorithm of the signatures: es256, es384, es512, ps256 or ed25519.
        expires: last day of the certificate, as YYYY-MM-DD.
        self_made: whether `artgen sign init` created the certificate. Other tools show an unknown source.
        authority: PEM file with the certificate of the authority of a self-made certificate, otherwise None. Programs
            that trust this authority show the source.
    """

    certificate: Path
    private_key: Path
    signer: str
    algorithm: str
    expires: str
    self_made: bool
    authority: Path | None = None


@for_python()
def create_signing_key(signer: str = DEFAULT_SIGNER, *, force: bool = False) -> SigningKeyInfo:
    """Create a key that signs images, in the folder of the user's settings.

    The certificate is issued by an authority that is created with it. Other tools do not know this authority and show
    the source of the images as unknown.

    Args:
        signer: name in the certificate, at most 64 characters.
        force: replace an existing key. Images that it signed stay valid.

    Raises:
        UsageError: the name is invalid, or the package c2pa-python is not installed.
        OutputError: a key exists and `force` is False, or a file cannot be written.
    """
    from artgen.metadata.content_credentials import create_key, keys

    if not isinstance(signer, str) or not signer.strip() or not signer.isprintable() or len(signer) > MAX_SIGNER_CHARS:
        raise UsageError(
            f"signer must be a name with 1 to {MAX_SIGNER_CHARS} characters, not {describe_value(signer)}.",
            f'For example: "{DEFAULT_SIGNER}".',
        )
    folder = keys.signing_folder()
    key = create_key.create_signing_key(folder, signer=signer.strip(), force=force)
    return _describe(key, folder / keys.CERTIFICATE_NAME, folder / keys.KEY_NAME)


@for_python()
def signing_key() -> SigningKeyInfo:
    """Return the key that signs images: of the settings, else of `create_signing_key`.

    Raises:
        UsageError: only one of both settings is set, or the package c2pa-python is not installed.
        InputFileError: a file is missing or cannot be read.
        RefusedError: the certificate has expired or cannot sign images.
    """
    from artgen.metadata.content_credentials import keys

    certificate, private_key = keys.key_files()
    return _describe(keys.load_signing_key(certificate, private_key), certificate, private_key)


def _describe(key: "SigningKey", certificate: Path, private_key: Path) -> SigningKeyInfo:
    from artgen.metadata.content_credentials.keys import AUTHORITY_NAME

    authority = certificate.with_name(AUTHORITY_NAME)
    return SigningKeyInfo(
        certificate,
        private_key,
        key.signer,
        key.algorithm,
        f"{key.expires:%Y-%m-%d}",
        key.is_self_made,
        authority if key.is_self_made and authority.is_file() else None,
    )
