"""Create a key for signing: the action of `artgen sign init`.

Readers that follow the C2PA specification reject a self-signed certificate of a signer. Therefore an authority is
created first, which issues the certificate of the signer. The private key of the authority is not stored.
"""

import datetime
import os
from pathlib import Path
from typing import TYPE_CHECKING

from artgen.errors import OutputError
from artgen.metadata.content_credentials.keys import (
    AUTHORITY_NAME,
    CERTIFICATE_NAME,
    KEY_NAME,
    OWN_AUTHORITY_NAME,
    PURPOSES,
    SigningKey,
    load_signing_key,
)
from artgen.metadata.content_credentials.package import require_package
from artgen.system.files import wrap_write_errors
from artgen.system.temporary import temp_file

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

VALID_DAYS = 3650
"""Validity of the created certificates."""

_CLOCK_TOLERANCE = datetime.timedelta(minutes=10)
_PRIVATE_MODE = 0o600


def create_signing_key(folder: Path, *, signer: str = "artgen user", force: bool = False) -> SigningKey:
    """Create a private key (EC, P-256) and its certificates in a folder, readable only by the user.

    Args:
        folder: folder of the files; created with mode 0700 if it is missing.
        signer: name in the certificate, which other tools show.
        force: replace existing files. Images that the old key signed stay valid.

    Raises:
        UsageError: c2pa-python is not installed.
        OutputError: a file exists and `force` is false, or a file cannot be written.
    """
    require_package()
    paths = {name: folder / name for name in (KEY_NAME, AUTHORITY_NAME, CERTIFICATE_NAME)}
    for path in paths.values():
        if os.path.lexists(path) and not force:
            raise OutputError(
                f"Cannot create a key: '{path}' exists already.",
                "Replace it with: artgen sign init --force",
            )
    texts = _build_pem_texts(signer)
    with wrap_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, path in paths.items():
        with wrap_write_errors(path), temp_file(folder, b"") as temporary:
            temporary.chmod(_PRIVATE_MODE)
            temporary.write_bytes(texts[name])
            temporary.replace(path)
    return load_signing_key(paths[CERTIFICATE_NAME], paths[KEY_NAME])


def _build_pem_texts(signer: str) -> dict[str, bytes]:
    """Return the PEM texts of the private key, the authority, and the signer with its authority, by file name."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = _name(OWN_AUTHORITY_NAME)
    authority = _sign_certificate(authority_name, authority_name, authority_key, authority_key, is_authority=True)
    certificate = _sign_certificate(_name(signer), authority_name, key, authority_key, is_authority=False)
    pem = serialization.Encoding.PEM
    private_key = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    authority_text = authority.public_bytes(pem)
    return {
        KEY_NAME: private_key,
        AUTHORITY_NAME: authority_text,
        CERTIFICATE_NAME: certificate.public_bytes(pem) + authority_text,
    }


def _name(common_name: str) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    attributes = (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
    return x509.Name([x509.NameAttribute(each, common_name) for each in attributes])


def _sign_certificate(
    subject: "x509.Name",
    issuer: "x509.Name",
    key: "ec.EllipticCurvePrivateKey",
    issuer_key: "ec.EllipticCurvePrivateKey",
    *,
    is_authority: bool,
) -> "x509.Certificate":
    """Return a certificate with the extensions that C2PA requires (C2PA Technical Specification 2.2, section 14.5)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    now = datetime.datetime.now(datetime.UTC)
    usages = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False,
    )  # fmt: skip
    usages |= {"digital_signature": not is_authority, "key_cert_sign": is_authority, "crl_sign": is_authority}
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_TOLERANCE)
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), critical=True)
        .add_extension(x509.KeyUsage(**usages), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_authority:
        purpose = x509.ExtendedKeyUsage([x509.ObjectIdentifier(PURPOSES[0])])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
