"""List the names and values of settings: for `--sweep`, `replay --set` and `config set`."""

import re
from collections.abc import Iterator
from functools import cache

from artgen.cli.completion import values
from artgen.cli.completion.values import Candidate, Completion, begins_with
from artgen.spec import settings
from artgen.spec.settings import Setting, options_of, type_of


@cache
def declared_settings() -> dict[str, tuple[type, Setting]]:
    """Return the group and the declaration of each setting."""
    return {
        name: (group, each.metadata["setting"])
        for group in settings.SETTING_GROUPS
        for name, each in options_of(group).items()
    }


def _setting_values(name: str, current: str) -> list[Candidate]:
    group, setting = declared_settings()[name]
    if kind := kind_of(group, setting):
        return [] if kind in ("files", "folders") else list(values.candidates(kind, current))
    is_switch = type_of(group, name)[0] is bool
    choices = ("true", "false") if is_switch else setting.choices
    return [Candidate(each) for each in choices if begins_with(each, current)]


def assignments(parameter: str, current: str) -> Iterator[Candidate]:
    """Yield `NAME=` and `NAME=VALUE`; for a sweep also `NAME=VALUE,VALUE`."""
    name, separator, typed = current.partition("=")
    known = {
        each: setting
        for each, (_, setting) in declared_settings().items()
        if setting.in_prompt_file and (parameter != "sweep" or setting.sweepable) and each not in ("preset", "task")
    }
    if not separator:
        for each, setting in known.items():
            if begins_with(each, name.replace("-", "_")):
                yield Candidate(f"{each}=", first_sentence(setting.help))
        return
    key = name.replace("-", "_")
    aliases = settings.aliases_of({each: options_of(group)[each] for each, (group, _) in declared_settings().items()})
    key = aliases[key].setting if key not in known and key in aliases else key
    if key in known:
        first, comma, last = typed.rpartition(",") if parameter == "sweep" else ("", "", typed)
        for found in _setting_values(key, last):
            yield Candidate(f"{name}={first}{comma}{found.text}", found.help)


def config_names(current: str) -> Iterator[Candidate]:
    from artgen.spec.config import CONFIGURABLE_SETTINGS

    prefix, dot, typed = current.rpartition(".")
    for name in CONFIGURABLE_SETTINGS:
        if begins_with(name, typed.replace("-", "_")) and (not dot or prefix in settings.TASK_NAMES):
            yield Candidate(f"{prefix}{dot}{name}", first_sentence(declared_settings()[name][1].help))
    if not dot:
        yield from (Candidate(f"{task}.") for task in settings.TASK_NAMES if current and begins_with(task, current))


def config_values(name: str, current: str) -> Completion:
    key = name.rpartition(".")[2].replace("-", "_")
    if key not in declared_settings():
        return Completion()
    kind = kind_of(*declared_settings()[key])
    return Completion(_setting_values(key, current), kind if kind in ("files", "folders") else "")


def kind_of(group: type, setting: Setting) -> str:
    name = next(name for name, each in options_of(group).items() if each.metadata["setting"] is setting)
    return setting.values or ("files" if type_of(group, name)[0].__name__ == "Path" else "")


def first_sentence(text: str | None) -> str:
    return re.split(r"(?<=[.:;])\s|\s\[", text or "", maxsplit=1)[0].rstrip(":;")
