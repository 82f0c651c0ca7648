"""Read settings that apply to all commands: tokens, the limit of the cache, the history, and signatures."""

import os
from pathlib import Path

from artgen.errors import UsageError
from artgen.spec import settings
from artgen.spec.config import expand_home, shared_setting
from artgen.spec.memory_budget import parse_bytes

DEFAULT_CACHE_LIMIT_BYTES = 20 << 30


def civitai_token() -> str | None:
    """Return the user's token of Civitai, from `ARTGEN_CIVITAI_TOKEN` or a configuration file.

    Raises:
        InputFileError: a file is not valid TOML, or contains an invalid setting.
    """
    token = os.environ.get("ARTGEN_CIVITAI_TOKEN") or shared_setting("civitai_token")
    return token.strip() if token else None


def server_token() -> str | None:
    """Return the token of the user's server, from `ARTGEN_SERVER_TOKEN` or a configuration file.

    Raises:
        InputFileError: a file is not valid TOML, or contains an invalid setting.
        UsageError: the token contains characters that a header cannot contain. The message does not contain it.
    """
    token = (os.environ.get("ARTGEN_SERVER_TOKEN") or shared_setting("server_token") or "").strip()
    if not (token.isascii() and token.isprintable()):
        raise UsageError(
            "The token of the server (ARTGEN_SERVER_TOKEN or server_token) must have printable ASCII characters.",
            "export ARTGEN_SERVER_TOKEN=TOKEN",
        )
    return token or None


def cache_limit() -> int:
    """Return the maximum size of the converted models in bytes, from `ARTGEN_CACHE_LIMIT` or a configuration file.

    Raises:
        InputFileError: a file is not valid TOML, or contains an invalid setting.
        UsageError: the variable is not a size.
    """
    if variable := os.environ.get("ARTGEN_CACHE_LIMIT"):
        return parse_bytes(variable, "ARTGEN_CACHE_LIMIT")
    text = shared_setting("cache_limit")
    return parse_bytes(text, "cache_limit") if text else DEFAULT_CACHE_LIMIT_BYTES


def history_is_on() -> bool:
    """Return whether images are entered in the history, from `ARTGEN_HISTORY` or a configuration file.

    Raises:
        InputFileError: a file is not valid TOML, or contains an invalid setting.
        UsageError: the variable is not true or false.
    """
    return _switch("history", default=True)


def sign_is_on() -> bool:
    """Return whether images are signed, from `ARTGEN_SIGN` or a configuration file.

    Raises:
        InputFileError: a file is not valid TOML, or contains an invalid setting.
        UsageError: the variable is not true or false.
    """
    return _switch("sign", default=False)


def _switch(name: str, *, default: bool) -> bool:
    """Return the value of an output setting that is true or false, from its variable or a configuration file."""
    if text := os.environ.get(f"ARTGEN_{name.upper()}"):
        return bool(settings.parse_value(settings.OutputSettings, name, text))
    value = shared_setting(name)
    return default if value is None else bool(value)


def signing_file(name: str) -> Path | None:
    """Return the file of `signing_certificate`, `signing_key` or `trust_list`, from its variable or a configuration.

    Raises:
        InputFileError: a configuration file is not valid TOML, or contains an invalid setting.
    """
    path = os.environ.get(f"ARTGEN_{name.upper()}") or shared_setting(name)
    return expand_home(path) if path else None
