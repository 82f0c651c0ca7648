"""Create keys and certificates for signing, with one property that differs from a valid one."""

import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM
EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
DOCUMENT_SIGNING = "1.3.6.1.5.5.7.3.36"
SERVER_AUTHENTICATION = "1.3.6.1.5.5.7.3.1"
_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def write_key(
    folder: Path,
    *,
    key: Any = None,
    other_key: Any = None,
    days: tuple[float, float] = (-1, 100),
    usage: str | None = "digital_signature",
    purpose: str | None = EMAIL_PROTECTION,
    is_authority: bool = False,
    password: bytes | None = None,
) -> tuple[Path, Path]:
    """Write `certificate.pem` and `key.pem`, and return their paths.

    Args:
        folder: folder of both files.
        key: private key of the certificate; None: EC, P-256.
        other_key: private key in the file; None: that of the certificate.
        days: start and end of the validity, in days from now.
        usage: key usage; None: no such extension.
        purpose: extended key usage; None: no such extension.
        is_authority: whether the certificate is that of an authority.
        password: password of the private key; None: not encrypted.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test signer")]))
        .issuer_name(authority_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    if usage is not None:
        usages = x509.KeyUsage(**(dict.fromkeys(_USAGES, False) | {usage: True}))
        builder = builder.add_extension(usages, critical=True)
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose)]), critical=False)
    certificate = builder.sign(authority_key, hashes.SHA256())
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(PEM))
    stored = other_key or key
    paths[1].write_bytes(stored.private_bytes(PEM, serialization.PrivateFormat.PKCS8, encryption))
    return paths


def ed25519_key() -> ed25519.Ed25519PrivateKey:
    """Return a new Ed25519 key."""
    return ed25519.Ed25519PrivateKey.generate()
