"""Add and remove the user's own names of models."""

import json
from pathlib import Path

from artgen.errors import UsageError
from artgen.registry.catalog import ALIAS_PATTERN, builtin_models, resolve_alias, user_aliases, user_aliases_path
from artgen.registry.references import parse_reference
from artgen.system.files import write_atomically


def set_alias(name: str, target: str) -> None:
    """Give a model a short name, replacing the user's alias of that name.

    `target` is an alias, a hub id, a folder or a file; paths are stored absolute.

    Raises:
        UsageError: the name has a slash or other unfit characters, the alias would name itself, or the path is no
            text.
        ModelUnavailableError, RefusedError: the target names nothing (see `parse`) or a pickle.
        InputFileError: the user's file does not parse.
        OutputError: the file cannot be written.
    """
    if not ALIAS_PATTERN.fullmatch(name):
        raise UsageError(f"{name!r} cannot be an alias.", "Use letters, digits, '.', '_', '+' and '-'.")
    own = user_aliases()
    if target.partition("@")[0] == name:
        raise UsageError(f"The alias {name!r} would name itself.", "Give a hub id, a folder or a file.")
    reference = parse_reference(target)
    if reference.kind in ("folder", "file"):
        target = str(Path(reference.target).resolve())
    own[name] = target
    if resolve_alias(name, own).source == name:
        raise UsageError(f"The alias {name!r} would lead back to itself through {target!r}.", "Break the loop first.")
    _save_aliases(own)


def remove_alias(name: str) -> None:
    """Forget a user's alias; the model stays where it is.

    Raises:
        UsageError: there is no such alias of the user's.
        InputFileError, OutputError: the file does not parse or cannot be written.
    """
    own = user_aliases()
    if name not in own:
        reason = "is built in and cannot be removed" if name in builtin_models() else "is not an alias"
        raise UsageError(f"{name!r} {reason}.", "`artgen models list` shows your aliases.")
    del own[name]
    _save_aliases(own)


def _save_aliases(alias_targets: dict[str, str]) -> None:
    write_atomically(
        user_aliases_path(), json.dumps(alias_targets, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    )
