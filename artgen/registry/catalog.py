"""Models by short name: the table that ships with artgen (`assets/models.json`) and the user's own aliases."""

import json
import os
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError

ASSETS_FOLDER = Path(__file__).resolve().parent.parent / "assets"
BUNDLED_PREFIX = "bundled:"
ALIAS_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model before it is on the disk.

    `source` is a hub id, a path, or `bundled_folder:NAME`; `width` and `height` are pixels; `scheduler` is artgen's name of
    one, or None for the model's own; `download_size` is in bytes, approximate, of the files artgen chooses. None says
    "see the model itself".
    """

    name: str
    source: str
    revision: str | None = None
    architecture: str | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    scheduler: str | None = None
    sigmas: str | None = None
    license: str = "unknown"
    gated: bool = False
    download_size: int | None = None
    description: str = ""
    inpainting: bool = False
    notes: str = ""
    builtin: bool = True

    @property
    def bundled_folder(self) -> Path | None:
        """The folder inside artgen that holds the model, or None when it is not part of artgen."""
        return (
            ASSETS_FOLDER / self.source.removeprefix(BUNDLED_PREFIX) if self.source.startswith(BUNDLED_PREFIX) else None
        )


@cache
def builtin_models() -> dict[str, ModelInfo]:
    """The models that artgen knows by name."""
    table = json.loads((ASSETS_FOLDER / "models.json").read_text(encoding="utf-8"))
    return {name: ModelInfo(name=name, **fields) for name, fields in table.items()}


def user_aliases_path() -> Path:
    """Where the user's aliases are kept, beside `config.toml`."""
    from artgen.spec import config

    return config.user_config_folder() / "aliases.json"


def user_aliases() -> dict[str, str]:
    """The user's aliases, name -> target; empty without a file.

    Raises:
        InputFileError: the file is not a JSON object of strings; it is named with the line and left as it is.
    """
    path = user_aliases_path()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        raise InputFileError(f"{path} cannot be read: {problem}.", "Mend the file, or move it away.") from None
    try:
        table: Any = json.loads(text) if text.strip() else {}
    except ValueError as problem:
        line = getattr(problem, "lineno", 1)
        raise InputFileError(f"{path}, line {line}: {problem}.", "Mend the file, or move it away.") from None
    if not isinstance(table, dict):
        raise InputFileError(f"{path}, line 1: expected an object of aliases.", 'It looks like {"mine": "owner/name"}.')
    for name, target in table.items():
        if not isinstance(target, str) or not target or not ALIAS_PATTERN.fullmatch(name):
            where = text[: max(text.find(json.dumps(name)), 0)].count("\n") + 1
            hint = 'An entry looks like "mine": "owner/name".'
            raise InputFileError(f"{path}, line {where}: {name!r} is no alias of a model.", hint)
    return table


def known_models() -> dict[str, ModelInfo]:
    """All short names: the built-in ones, then the user's, which win.

    A user's alias carries what is known of its target, followed through other aliases.

    Raises:
        InputFileError: the user's file does not parse.
    """
    cards = dict(builtin_models())
    own = user_aliases()
    for name in own:
        cards[name] = resolve_alias(name, own)
    return cards


def model_info(source: str) -> ModelInfo | None:
    """The built-in card of a hub id, whatever its case."""
    return next((c for c in builtin_models().values() if c.source.lower() == source.lower()), None)


def resolve_alias(name: str, alias_targets: dict[str, str]) -> ModelInfo:
    """The card behind a user's alias; a loop of aliases ends at its last name, which then is unknown."""
    target, seen = alias_targets[name], {name}
    while target in alias_targets and target not in seen:
        seen.add(target)
        target = alias_targets[target]
    plain, _, revision = target.partition("@") if not os.path.exists(target) else (target, "", "")  # noqa: PTH110 - Path.exists raises for long names
    known = builtin_models().get(plain) or model_info(plain)
    if known:
        return replace(known, name=name, revision=revision or known.revision, builtin=False)
    return ModelInfo(name=name, source=plain, revision=revision or None, builtin=False)
