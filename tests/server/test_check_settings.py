"""Test the checks of the settings before the server listens."""

from pathlib import Path
from typing import Any

import pytest

from artgen.errors import ArtgenError, UsageError
from artgen.server.check_settings import check_settings
from artgen.server.run_server import open_socket
from artgen.server.settings import ServerSettings

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    "settings",
    [
        {"port": 0, "allowed_hosts": ("nas", "nas.example", "192.168.1.7", "::1")},
        {"host": "0.0.0.0", "token": TOKEN, "allowed_origins": ("*", "http://nas:3000", "https://[::1]:80")},
        {"output": "images/"},
        {"output": "{model}/{seed}.jpg"},
        {"output": "existing"},
    ],
)
def test_valid_settings(settings: dict[str, Any]) -> None:
    Path("existing").mkdir()
    check_settings(ServerSettings(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"port": 70_000}, "--port must be"),
        ({"host": "0.0.0.0"}, "needs a token"),
        ({"token": "short"}, "at least 16"),
        ({"token": "\u00fc" * 20}, "ASCII"),
        ({"allowed_hosts": ("nas", "a b")}, "--allow-host must be"),
        ({"allowed_hosts": ("nas:7860",)}, "--allow-host must be"),
        ({"allowed_hosts": ("",)}, "--allow-host must be"),
        ({"allowed_origins": ("nas:3000",)}, "--allow-origin must be"),
        ({"allowed_origins": ("http://nas:3000/",)}, "--allow-origin must be"),
        ({"allowed_origins": ("http://nas:port",)}, "--allow-origin must be"),
        ({"allowed_origins": ("http://user@nas",)}, "--allow-origin must be"),
        ({"allowed_origins": ("null",)}, "--allow-origin must be"),
        ({"allowed_origins": ("http://NAS:3000",)}, "--allow-origin must be"),
        ({"allowed_origins": ("https://nas:443",)}, "--allow-origin must be"),
        ({"output": "fox.png"}, "must be a folder"),
        ({"output": "images"}, "must be a folder"),
        ({"output": "-"}, "must be a folder"),
        ({"output": "{nope}/"}, "not a field"),
        ({"output": "file/images/"}, "not a folder"),
    ],
)
def test_invalid_settings(settings: dict[str, Any], message: str) -> None:
    Path("file").touch()
    with pytest.raises(ArtgenError, match=message) as found:
        check_settings(ServerSettings(**settings))
    assert found.value.hint


@pytest.mark.parametrize("host", ["no..host", "x" * 64, "192.0.2.1"])
def test_an_unknown_address_has_a_hint_that_names_no_other_port(host: str) -> None:
    with pytest.raises(UsageError, match="Cannot listen") as found:
        open_socket(ServerSettings(host=host, port=0))
    assert "--host" in found.value.hint
