"""Decide whether a command uses the worker. Import only modules that every command needs."""

import os
import sys
from collections.abc import Sequence

from artgen.system.arguments import BOOLEAN_LITERALS, is_prompt

WORKER_COMMANDS = frozenset(
    {
        "txt2img",
        "sample",
        "img2img",
        "inpaint",
        "outpaint",
        "edit",
        "denoise",
        "upscale",
        "batch",
        "replay",
        "anomaly",
        "mask",
        "rank",
        "reconstruct",
        "control",
        "variations",
        "morph",
    }
)
"""Commands that load models. The other commands run in an ordinary process."""

WORKER_VARIABLES = ("ARTGEN_WORKER", "ARTGEN_MAX_LOADED", "ARTGEN_KEEP_ALIVE")
"""Variables that affect the use and the start of a worker, not its commands."""

IS_SUPPORTED = os.name == "posix"
"""Whether processes of this system can send file descriptors to each other. Windows cannot."""

PROJECT_FILE = "artgen.toml"

_MAX_FILE_BYTES = 1 << 16

_TEXT_OPTIONS = frozenset({"--help", "--help-all", "--json-schema", "-h"})
_COMMANDS_OF_BATCH_WITHOUT_MODEL = frozenset({"status", "verify"})


def can_use_worker(arguments: Sequence[str]) -> bool:
    """Return whether a command may load a model: a task, or a prompt without a command.

    Args:
        arguments: arguments of the command line, without the name of the program.
    """
    if not IS_SUPPORTED or not arguments or _TEXT_OPTIONS.intersection(arguments):
        return False
    if arguments[0] == "batch":
        return len(arguments) > 1 and arguments[1] not in _COMMANDS_OF_BATCH_WITHOUT_MODEL
    return arguments[0] in WORKER_COMMANDS or (not arguments[0].startswith("-") and is_prompt(arguments[0]))


def worker_setting() -> bool | None:
    """Return the setting `worker`: of the environment, else of artgen.toml, else of the file of the user.

    True starts a worker if none runs, None uses a worker that runs, False uses no worker. An invalid value is False:
    an ordinary process reports it.
    """
    if text := os.environ.get("ARTGEN_WORKER"):
        return BOOLEAN_LITERALS.get(text.casefold(), False)
    for path in (PROJECT_FILE, _user_config_file()):
        if isinstance(value := _read_setting(path, "worker"), bool):
            return value
    return None


def has_server() -> bool:
    """Return whether a configuration file sets `server`: then a server runs the commands, and no worker is used."""
    return any(_read_setting(path, "server") is not None for path in (PROJECT_FILE, _user_config_file()))


def _read_setting(path: str, name: str) -> object:
    """Return a setting of a file; None if it is unset or the file is not valid, which the command reports."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        data = os.read(descriptor, _MAX_FILE_BYTES + 1)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if name.encode() not in data or len(data) > _MAX_FILE_BYTES:
        return None
    import tomllib

    try:
        return tomllib.loads(data.decode("utf-8-sig")).get(name)
    except (ValueError, RecursionError):
        return None


def _user_config_file() -> str:
    """Return the path of the file of the user. The import of platformdirs would take as long as all other imports."""
    folder, home = os.environ.get("XDG_CONFIG_HOME", ""), os.environ.get("HOME", "")
    if sys.platform != "linux" or not (folder.startswith("/") or home.startswith("/")):
        import platformdirs

        return f"{platformdirs.user_config_dir('artgen', appauthor=False)}/config.toml"
    return f"{folder if folder.startswith('/') else f'{home}/.config'}/artgen/config.toml"
