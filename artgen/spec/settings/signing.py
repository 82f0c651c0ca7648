"""Declare the files of the key that signs images, and of the certificates that `artgen verify` trusts."""

from dataclasses import dataclass
from functools import partial

from artgen.spec.fields import option as any_option

option = partial(any_option, recorded=False, in_prompt_file=False, affects=(), values="files")


@dataclass(frozen=True, kw_only=True)
class SigningFiles:
    """Store the files of the keys. Only configuration files and the environment set them."""

    signing_certificate: str | None = option(
        None,
        "PEM file with the certificate that signs images, followed by the certificates of its authority. If unset, the "
        "certificate of `artgen sign init`.",
    )
    signing_key: str | None = option(
        None,
        "PEM file with the private key of signing_certificate, without a password.",
    )
    trust_list: str | None = option(
        None,
        "PEM file with the certificates of the authorities that `artgen verify` trusts, such as the C2PA trust list.",
    )
