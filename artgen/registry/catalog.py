"""List models by short name: the table that ships with artgen (`assets/models.json`) and the user's aliases.

A model of the table is one entry of the file. `tests/unit/test_catalog.py` checks each entry.
"""

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from artgen.errors import InputFileError
from artgen.registry.hub.names import HUB_ID_PATTERN
from artgen.system.external_data import parse_json, read_optional

ASSETS_FOLDER = Path(__file__).resolve().parent.parent / "assets"
BUNDLED_PREFIX = "bundled:"
_MAX_ALIASES_BYTES = 1 << 16
_MAX_ALIAS_CHAIN = 20
ALIAS_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


@dataclass(frozen=True)
class ModelInfo:
    """Store the properties of a model that are known before the download; None is unknown.

    Attributes:
        name: the alias or hub id.
        source: hub id, path, or `bundled:NAME`.
        revision: branch, tag or commit.
        file: name of the checkpoint, if the repository is not in diffusers' layout.
        aliases: further names.
        family: name of the entry in the table of pipelines, such as `flux-schnell`.
        width: native width in pixels.
        height: native height in pixels.
        steps: default number of steps.
        guidance_scale: default guidance scale.
        scheduler: artgen's name of the default scheduler; None is the model's scheduler.
        sigmas: default sigma schedule; None is the model's schedule.
        license: SPDX identifier or name of the license.
        gated: whether the hub requires that the user accepts the license.
        download_size: approximate size in bytes of the files that artgen selects.
        year: year of the release.
        parameters: approximate number of parameters of each component, by diffusers' component names.
        description: one sentence for users.
        inpainting: whether the denoiser is an inpainting UNet.
        classes: number of classes of a class-conditional model.
        notes: further sentences for users.
        builtin: whether the model is in artgen's table, not an alias of the user.
    """

    name: str
    source: str
    revision: str | None = None
    file: str | None = None
    aliases: tuple[str, ...] = ()
    family: str | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    scheduler: str | None = None
    sigmas: str | None = None
    license: str = "unknown"
    gated: bool = False
    download_size: int | None = None
    year: int | None = None
    parameters: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    description: str = ""
    inpainting: bool = False
    classes: int | None = None
    notes: str = ""
    builtin: bool = True

    @property
    def architecture(self) -> str | None:
        """Return the architecture of the family, such as `flux`."""
        from artgen.registry.pipelines import pipeline_entries  # imports this module

        return pipeline_entries()[self.family].architecture if self.family else None

    @property
    def bundled_folder(self) -> Path | None:
        """Return the model's folder inside artgen; None if the model is not part of artgen."""
        if self.source.startswith(BUNDLED_PREFIX):
            return ASSETS_FOLDER / self.source.removeprefix(BUNDLED_PREFIX)
        return None


@cache
def builtin_models() -> dict[str, ModelInfo]:
    """Return the models of artgen's table, by name."""
    table = json.loads((ASSETS_FOLDER / "models.json").read_text(encoding="utf-8"))
    for fields in table.values():
        fields["aliases"] = tuple(fields.get("aliases", ()))
    return {name: ModelInfo(name=name, **fields) for name, fields in table.items()}


@cache
def builtin_aliases() -> dict[str, ModelInfo]:
    """Return a dictionary: further name -> built-in model."""
    return {alias: info for info in builtin_models().values() for alias in info.aliases}


def user_aliases_path() -> Path:
    """Return the path of the user's aliases, next to `config.toml`."""
    from artgen.spec import config  # not needed for `artgen models --help`

    return config.user_aliases_file()


def user_aliases() -> dict[str, str]:
    """Return the user's aliases as name -> target; empty if the file is missing or unreadable.

    Raises:
        InputFileError: the file is not a JSON object of strings; the message contains the line.
    """
    path = user_aliases_path()
    data = (read_optional(path, _MAX_ALIASES_BYTES) or b"").removeprefix(codecs.BOM_UTF8)
    try:
        table: Any = parse_json(data, unique_keys=True) if data.strip() else {}
    except ValueError as error:
        raise InputFileError(f"Cannot read '{path}': {error}.", "Correct the file, or move it away.") from None
    if not isinstance(table, dict):
        hint = 'Write an object such as {"mine": "owner/name"}.'
        raise InputFileError(f"Cannot read '{path}', line 1: the file is not a JSON object.", hint)
    for name, target in table.items():
        is_text = isinstance(target, str) and target.encode("utf-8", "ignore").decode() == target
        if not is_text or not target or not ALIAS_PATTERN.fullmatch(name):
            line = data[: max(data.find(json.dumps(name).encode()), 0)].count(b"\n") + 1
            hint = 'Write an entry such as "mine": "owner/name".'
            raise InputFileError(f"Cannot read '{path}', line {line}: {name!r} is not an alias of a model.", hint)
    return table


def listed_models() -> dict[str, ModelInfo]:
    """Return the models of `known_models` without the further names of the built-in models.

    Raises:
        InputFileError: the user's file is not valid.
    """
    aliases = user_aliases()
    return {name: info for name, info in known_models().items() if name in aliases or name in builtin_models()}


def known_models() -> dict[str, ModelInfo]:
    """Return all models with a short name: the built-in ones, overridden by the user's aliases.

    A user's alias has the properties of its target; the target can be another alias.

    Raises:
        InputFileError: the user's file is not valid.
    """
    aliases = user_aliases()
    return builtin_models() | builtin_aliases() | {name: resolve_alias(name, aliases) for name in aliases}


def model_info(source: str) -> ModelInfo | None:
    """Return the built-in properties of a hub id, case-insensitive."""
    return next((info for info in builtin_models().values() if info.source.lower() == source.lower()), None)


def resolve_alias(name: str, alias_targets: dict[str, str]) -> ModelInfo:
    """Return the properties of a user's alias; in a loop of aliases, the last name is the (unknown) source."""
    target, seen = alias_targets[name], {name}
    while target in alias_targets and target not in seen and len(seen) < _MAX_ALIAS_CHAIN:
        seen.add(target)
        target = alias_targets[target]
    source, _, revision = target.partition("@")
    builtin = builtin_models() | builtin_aliases()
    if source not in builtin and not HUB_ID_PATTERN.fullmatch(source):
        source, revision = target, ""  # a path, which may contain "@"
    info = builtin.get(source) or model_info(source)
    if info:
        return replace(info, name=name, revision=revision or info.revision, builtin=False)
    return ModelInfo(name=name, source=source, revision=revision or None, builtin=False)
