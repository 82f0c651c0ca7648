"""Load and validate the private key and the certificates that sign images."""

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.errors import InputFileError, RefusedError, UsageError
from artgen.metadata.content_credentials.package import require_package
from artgen.spec.config import user_config_folder
from artgen.spec.shared_config import signing_file
from artgen.system.command_state import register_reset
from artgen.system.files import FileIdentity, file_identity, wrap_read_errors

if TYPE_CHECKING:
    from cryptography import x509

CERTIFICATE_NAME = "certificate.pem"
"""File of `artgen sign init` with the certificates: of the signer, then of its authority."""

AUTHORITY_NAME = "authority.pem"
"""File of `artgen sign init` with the certificate of the authority, for programs that verify images."""

KEY_NAME = "private-key.pem"
"""File of `artgen sign init` with the private key of the signer."""

OWN_AUTHORITY_NAME = "artgen self-made authority"
"""Common name of the authority that `artgen sign init` creates."""

PURPOSES = ("1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.36", "1.3.6.1.4.1.62558.2.1")
"""Extended key usages with which a certificate can sign a manifest: emailProtection, documentSigning,
c2pa-kp-claimSigning. C2PA Technical Specification 2.2, section 14.5.1."""

MAX_PEM_BYTES = 1 << 20

_INIT_HINT = "artgen sign init"
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_MIN_RSA_BITS = 2048

_loaded_keys: dict[tuple[FileIdentity, FileIdentity], "SigningKey"] = {}
register_reset(_loaded_keys.clear)


@dataclass(frozen=True)
class SigningKey:
    """Store a validated private key and its certificates.

    Attributes:
        certificates: PEM certificates: of the signer, then of the authorities that issued it.
        private_key: PEM (PKCS #8) without encryption.
        sha256: SHA-256 of the certificate of the signer (DER), 64 hex digits.
        algorithm: algorithm of C2PA: es256, es384, es512, ps256 or ed25519.
        signer: common name of the certificate.
        valid_from: start of the validity of the certificate, UTC.
        expires: end of the validity of the certificate, UTC.
        is_self_made: whether `artgen sign init` created the certificate. Other tools show an unknown source.
    """

    certificates: bytes = field(repr=False)
    private_key: bytes = field(repr=False)
    sha256: str
    algorithm: str
    signer: str
    valid_from: datetime.datetime
    expires: datetime.datetime
    is_self_made: bool


def load_signing_key(certificate: Path, private_key: Path) -> SigningKey:
    """Return the key of two PEM files. A file is read again if it changed.

    Args:
        certificate: certificate of the signer, followed by the certificates of its authorities.
        private_key: private key of the signer: EC P-256, P-384 or P-521, Ed25519, or RSA with 2048 bits or more.

    Raises:
        UsageError: c2pa-python is not installed.
        InputFileError: a file is missing, unreadable or not a PEM file, or the private key is encrypted.
        RefusedError: the certificate has expired or is not valid yet, does not belong to the private key, or cannot
            sign manifests; or the algorithm is not supported.
    """
    require_package()
    for path, name in ((certificate, "signing certificate"), (private_key, "private key for signing")):
        if not path.exists():
            raise InputFileError(f"Cannot sign: the {name} '{path}' does not exist.", _INIT_HINT)
    identities = file_identity(certificate), file_identity(private_key)
    key = _loaded_keys.get(identities)
    if key is None:
        key = _loaded_keys[identities] = _read_key(certificate, private_key)
    _check_dates(key, certificate)
    return key


def _read_key(certificate: Path, private_key: Path) -> SigningKey:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    chain = _read_certificates(certificate)
    signer = chain[0]
    key = _read_private_key(private_key)
    if key.public_key() != signer.public_key():
        raise RefusedError(
            f"Cannot sign: the private key '{private_key}' does not belong to the certificate '{certificate}'.",
            "Set signing_certificate and signing_key to files of the same key.",
        )
    _check_purpose(signer, certificate)
    pem = serialization.Encoding.PEM
    names = signer.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    issuers = signer.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return SigningKey(
        certificates=b"".join(each.public_bytes(pem) for each in chain),
        private_key=key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        sha256=signer.fingerprint(hashes.SHA256()).hex(),
        algorithm=_algorithm(key, private_key),
        signer=str(names[0].value) if names else signer.subject.rfc4514_string(),
        valid_from=signer.not_valid_before_utc,
        expires=signer.not_valid_after_utc,
        is_self_made=bool(issuers) and issuers[0].value == OWN_AUTHORITY_NAME,
    )


def _read_certificates(path: Path) -> "list[x509.Certificate]":
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(_read_file(path))
    except ValueError as error:
        raise InputFileError(
            f"Cannot sign: '{path}' contains no PEM certificate.",
            "Convert the certificate with: openssl x509 -in FILE -out certificate.pem",
        ) from error


def _read_private_key(path: Path) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    data = _read_file(path)
    try:
        return serialization.load_pem_private_key(data, password=None)
    except TypeError as error:
        raise InputFileError(
            f"Cannot sign: the private key '{path}' is encrypted.",
            f"Store it without a password, readable only by you: openssl pkey -in '{path}' -out private-key.pem",
        ) from error
    except UnsupportedAlgorithm as error:
        raise _algorithm_error(path, "an algorithm that is not supported") from error
    except ValueError as error:
        raise InputFileError(
            f"Cannot sign: '{path}' contains no PEM private key.",
            "Convert the key with: openssl pkey -in FILE -out private-key.pem",
        ) from error


def _read_file(path: Path) -> bytes:
    with wrap_read_errors(path), path.open("rb") as file:
        return file.read(MAX_PEM_BYTES)


def _algorithm(key: Any, path: Path) -> str:
    """Return the algorithm of C2PA of a private key.

    Raises:
        RefusedError: C2PA does not allow the algorithm.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size >= _MIN_RSA_BITS:
            return "ps256"
        raise _algorithm_error(path, f"RSA with {key.key_size} bits")
    if isinstance(key, ec.EllipticCurvePrivateKey):
        raise _algorithm_error(path, f"the curve {key.curve.name}")
    raise _algorithm_error(path, type(key).__name__.removeprefix("_").removesuffix("PrivateKey"))


def _algorithm_error(path: Path, found: str) -> RefusedError:
    return RefusedError(
        f"Cannot sign: the private key '{path}' uses {found}. C2PA allows EC with P-256, P-384 or P-521, Ed25519, and "
        f"RSA with at least {_MIN_RSA_BITS} bits.",
        _INIT_HINT,
    )


def _check_dates(key: SigningKey, path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    if now > key.expires:
        raise RefusedError(
            f"Cannot sign: the certificate '{path}' expired on {key.expires:%Y-%m-%d}.",
            "artgen sign init --force" if key.is_self_made else "Get a new certificate from the authority.",
        )
    if now < key.valid_from:
        raise RefusedError(
            f"Cannot sign: the certificate '{path}' is valid from {key.valid_from:%Y-%m-%d %H:%M} UTC.",
            "Check the clock of this computer: date",
        )


def _check_purpose(signer: "x509.Certificate", path: Path) -> None:
    """Check what C2PA requires of the certificate of a signer.

    Raises:
        RefusedError: the certificate is that of an authority, or its key usages do not include signatures.
    """
    from cryptography import x509

    def value(extension: Any) -> Any:
        try:
            return signer.extensions.get_extension_for_class(extension).value
        except x509.ExtensionNotFound:
            return None

    constraints, usage, purposes = (
        value(each) for each in (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)
    )
    if constraints is not None and constraints.ca:
        reason = "is that of an authority, not of a signer"
    elif usage is None or not usage.digital_signature:
        reason = "does not have the key usage digitalSignature"
    elif purposes is None or not {each.dotted_string for each in purposes} & set(PURPOSES):
        reason = "does not have an extended key usage for signatures (emailProtection or documentSigning)"
    else:
        return
    raise RefusedError(f"Cannot sign: the certificate '{path}' {reason}.", _INIT_HINT)


def signing_folder() -> Path:
    """Return the folder in which `artgen sign init` stores the key of the user."""
    return user_config_folder() / "signing"


def own_authority_file() -> Path | None:
    """Return the certificate of the authority that `artgen sign init` created; None if there is none."""
    path = signing_folder() / AUTHORITY_NAME
    return path if path.is_file() else None


def key_files() -> tuple[Path, Path]:
    """Return the files of the certificate and of the private key: of the settings, else of `artgen sign init`.

    Raises:
        UsageError: only one of both settings is set.
        InputFileError: no setting is set, and `artgen sign init` created no key.
    """
    certificate, private_key = (signing_file(name) for name in ("signing_certificate", "signing_key"))
    if certificate is None and private_key is None:
        folder = signing_folder()
        if not (folder / KEY_NAME).exists():
            raise InputFileError("Cannot sign: this computer has no key for signing.", _INIT_HINT)
        return folder / CERTIFICATE_NAME, folder / KEY_NAME
    if certificate is None or private_key is None:
        given, missing = ("signing_key", "signing_certificate") if certificate is None else (
            "signing_certificate", "signing_key"
        )  # fmt: skip
        raise UsageError(f"Cannot sign: {given} is set, but {missing} is not.", f"artgen config set {missing} FILE")
    return certificate, private_key
