"""Add and remove the user's aliases of models."""

import json
from pathlib import Path

from artgen.errors import OutputError, UsageError
from artgen.registry.catalog import (
    ALIAS_PATTERN,
    builtin_aliases,
    builtin_models,
    resolve_alias,
    user_aliases,
    user_aliases_path,
)
from artgen.registry.references import parse_reference
from artgen.spec import config
from artgen.system.files import write_atomically


def set_alias(name: str, target: str) -> None:
    """Save an alias of a model; replace the user's earlier alias of that name.

    Args:
        name: the alias.
        target: alias, hub id, folder or file; relative paths are saved as absolute paths.

    Raises:
        UsageError: the name has a slash or other invalid characters, the alias refers to itself, or the path is not
            valid UTF-8.
        ModelUnavailableError, RefusedError: the target is unknown (see `parse_reference`) or a pickle.
        InputFileError: the user's file is not valid.
        OutputError: the file cannot be written.
    """
    if not ALIAS_PATTERN.fullmatch(name):
        raise UsageError(f"{name!r} cannot be an alias.", "Use letters, digits, '.', '_', '+' and '-'.")
    aliases = user_aliases()
    if target.partition("@")[0] == name:
        raise UsageError(f"The alias {name!r} cannot refer to itself.", "Give a hub id, a folder or a file.")
    reference = parse_reference(target)
    if reference.kind in ("folder", "file"):
        target = str(Path(reference.target).resolve())
    aliases[name] = target
    if resolve_alias(name, aliases).source == name:
        hint = f"Change the alias {target!r} first."
        raise UsageError(f"The alias {name!r} cannot refer to itself through {target!r}.", hint)
    _save_aliases(aliases)


def remove_alias(name: str) -> None:
    """Delete a user's alias; the model itself is not deleted.

    Raises:
        UsageError: the user has no such alias.
        InputFileError, OutputError: the file is not valid or cannot be written.
    """
    aliases = user_aliases()
    if name not in aliases:
        reason = (
            "is built in and cannot be removed" if name in builtin_models() | builtin_aliases() else "is not an alias"
        )
        raise UsageError(f"{name!r} {reason}.", "`artgen models list` shows your aliases.")
    del aliases[name]
    _save_aliases(aliases)


def _save_aliases(alias_targets: dict[str, str]) -> None:
    if config.is_unreadable(user_aliases_path()):
        raise OutputError(f"Cannot change '{user_aliases_path()}': the file cannot be read.", "Move or delete it.")
    text = json.dumps(alias_targets, indent=2, ensure_ascii=False, sort_keys=True)
    write_atomically(user_aliases_path(), f"{text}\n")
