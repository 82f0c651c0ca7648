"""Find what a command line expects at the cursor, and list the candidates."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from artgen.cli.completion import values
from artgen.cli.completion.setting_values import (
    assignments,
    config_names,
    config_values,
    declared_settings,
    first_sentence,
    kind_of,
)
from artgen.cli.completion.values import Candidate, Completion, begins_with
from artgen.cli.main import COMMAND_SUMMARIES, app_command, load_command

ARGUMENT_KINDS: Mapping[tuple[str, str], str] = {
    ("models show", "name"): "models",
    ("models words", "name"): "model names",
    ("models path", "name"): "models",
    ("models pull", "names"): "model names",
    ("models verify", "names"): "model names",
    ("models remove", "name"): "model names",
    ("models alias", "name"): "aliases",
    ("models alias", "target"): "models",
    ("models list", "family"): "families",
    ("config set", "name"): "config names",
    ("config get", "name"): "config names",
    ("config unset", "name"): "config names",
    ("config set", "value"): "config values",
    ("preset save", "name"): "presets",
    ("preset show", "name"): "presets",
    ("preset remove", "name"): "presets",
    ("cache clear", "names"): "cache",
    ("history forget", "ids"): "history entries",
    ("history forget", "tags"): "tags",
    ("history rate", "ids"): "history entries",
    ("history search", "tags"): "tags",
    ("history show", "ids"): "history entries",
    ("history tag", "arguments"): "history entries",
    ("styles", "text"): "styles",
    ("replay", "set_"): "assignments",
    ("variations", "set_"): "assignments",
    ("morph", "set_"): "assignments",
    ("img2img", "positionals"): "files",
    ("inpaint", "positionals"): "files",
    ("outpaint", "positionals"): "files",
    ("edit", "positionals"): "files",
    ("denoise", "compare"): "files",
    ("anomaly", "fit_path"): "files",
    ("anomaly", "heatmap_path"): "files",
    ("anomaly", "csv_path"): "files",
    ("rank", "csv_file"): "files",
    ("rank", "sheet_file"): "files",
}
"""Kinds of the values of arguments and options that are not settings, by command and parameter."""

_FILE_KINDS = frozenset({"models", "loras", "vaes", "embeddings"})
"""Kinds whose values can also be paths."""


@dataclass
class _ParsedWords:
    """Store the words of a command before the cursor.

    Attributes:
        arguments: positional arguments.
        pending: parameter of an option that lacks its value; None if there is none.
        is_after_dashes: whether `--` was typed.
    """

    arguments: list[str] = field(default_factory=list)
    pending: Any = None
    is_after_dashes: bool = False


def complete(words: Sequence[str], current: str) -> Completion:
    """Return the candidates for a word.

    Args:
        words: words between the name of the program and the cursor.
        current: begin of the word at the cursor.
    """
    rest = list(words)
    while rest and rest[0].startswith("-"):  # options of artgen, such as --version
        rest.pop(0)
    if not rest:
        if current.startswith("-"):
            return Completion(list(_options(app_command(), current)))
        return Completion([Candidate(name, text) for name, text in _commands() if begins_with(name, current)])
    name = rest.pop(0)
    if name == "help":
        return _complete_help(rest, current)
    if name not in COMMAND_SUMMARIES:
        if " " not in name:
            return Completion()
        name, rest = "txt2img", [name, *rest]  # artgen "a red fox"
    command: Any = load_command(name)
    path = name
    candidates: list[Candidate] = []
    if children := getattr(command, "commands", None):
        default = getattr(command, "default_command", "")
        if rest and rest[0] in children:
            path, command = f"{name} {rest[0]}", children[rest[0]]
            rest.pop(0)
        elif rest and not default:
            return Completion()
        else:
            if not rest and not current.startswith("-"):
                found = ((child, _summary(each)) for child, each in children.items())
                candidates = [Candidate(*each) for each in found if begins_with(each[0], current)]
            if not default or (not rest and candidates and not command.takes_arguments):
                return Completion(candidates or list(_options(command, current)))
            path, command = f"{name} {default}", children[default]
    completion = _complete_command(path, command, rest, current)
    return Completion([*candidates, *completion.candidates], completion.files, completion.option)


def _complete_help(words: Sequence[str], current: str) -> Completion:
    if not words:
        return Completion([Candidate(name, text) for name, text in _commands() if begins_with(name, current)])
    children = getattr(load_command(words[0]), "commands", {}) if words[0] in COMMAND_SUMMARIES else {}
    found = [Candidate(name, _summary(child)) for name, child in children.items() if begins_with(name, current)]
    return Completion(found if len(words) == 1 else [])


def _complete_command(path: str, command: Any, words: Sequence[str], current: str) -> Completion:
    flags = _flags(command)
    parsed = _parse(command, flags, words)
    if parsed.pending is not None:
        return _complete_value(path, parsed.pending, parsed.arguments, current)
    if current.startswith("-") and not parsed.is_after_dashes:
        flag, separator, value = current.partition("=")
        if not separator:
            return Completion(list(_options(command, current)))
        parameter = flags.get(_canonical_flag(command, flags, flag))
        if parameter is None or _is_switch(parameter):
            return Completion()
        found = _complete_value(path, parameter, parsed.arguments, value)
        return Completion(found.candidates, found.files, f"{flag}=")
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    index = len(parsed.arguments)
    if index < len(arguments):
        parameter = arguments[index]
    elif arguments and arguments[-1].nargs == -1:
        parameter = arguments[-1]
    else:
        return Completion()
    return _complete_value(path, parameter, parsed.arguments, current)


def _parse(command: Any, flags: Mapping[str, Any], words: Sequence[str]) -> _ParsedWords:
    parsed = _ParsedWords()
    for word in words:
        if parsed.pending is not None:
            parsed.pending = None
        elif parsed.is_after_dashes or not word.startswith("-") or word == "-":
            parsed.arguments.append(word)
        elif word == "--":
            parsed.is_after_dashes = True
        else:
            flag, separator, _ = word.partition("=")
            parameter = flags.get(_canonical_flag(command, flags, flag))
            if parameter is not None and not separator and not _is_switch(parameter):
                parsed.pending = parameter
    return parsed


def _canonical_flag(command: Any, flags: Mapping[str, Any], flag: str) -> str:
    """Return the current name of an option. A switch such as `--full` keeps its name."""
    dashed = flag if flag in flags else flag.replace("_", "-")
    alias = command.flag_aliases().get(dashed, "") if hasattr(command, "flag_aliases") else ""
    return alias if dashed not in flags and alias and "=" not in alias else dashed


def _flags(command: Any) -> dict[str, Any]:
    parameters = command.get_params(command.context_class(command))
    return {flag: each for each in parameters for flag in (*each.opts, *each.secondary_opts) if flag.startswith("-")}


def _is_switch(parameter: Any) -> bool:
    return bool(parameter.is_flag or parameter.count)


def _options(command: Any, current: str) -> Iterator[Candidate]:
    """Yield the options that begin with `current`; hidden aliases only if no other option does."""
    flags = _flags(command)
    typed = current.replace("_", "-") if current.startswith("--") else current
    found = [flag for flag, each in flags.items() if begins_with(flag, typed) and not each.hidden]
    for flag in sorted(found, key=lambda flag: (not flag.startswith("--"), flag.startswith("--no-"))):
        yield Candidate(flag, first_sentence(flags[flag].help))
    if not found and hasattr(command, "flag_aliases"):
        for alias, target in command.flag_aliases().items():
            parameter = flags.get(target.partition("=")[0])
            if parameter is not None and begins_with(alias, typed):
                yield Candidate(alias, f"{target.replace('=', ' ')}")


def _complete_value(path: str, parameter: Any, arguments: Sequence[str], current: str) -> Completion:
    name = parameter.name.removesuffix("_positional")
    declared = declared_settings().get(name)
    kind = ARGUMENT_KINDS.get((path, parameter.name), "")
    if not kind and declared is not None:
        kind = kind_of(*declared)
    if not kind and parameter.type.name in ("path", "file", "directory"):
        kind = "files"
    if kind in ("files", "folders"):
        return Completion(files=kind)
    if kind == "assignments":
        return Completion(list(assignments(name, current)))
    if kind == "config names":
        return Completion(list(config_names(current)))
    if kind == "config values":
        return config_values(arguments[0] if arguments else "", current)
    if kind:
        has_scale = "[:" in (parameter.metavar or "") and re.search(r":[-+0-9.:]*$", current)  # style:0.8
        files = "files" if kind in _FILE_KINDS and not has_scale else ""
        return Completion(list(values.candidates(kind, current)), files)
    choices = declared[1].choices if declared is not None and declared[1].choices else _choices(parameter)
    return Completion([Candidate(each) for each in choices if begins_with(each, current)])


def _choices(parameter: Any) -> list[str]:
    """Return the words of a placeholder: `auto` of `N|auto`, and all of `pixel|latent`."""
    parts = (parameter.metavar or "").split("|")
    return [part for part in parts if re.fullmatch(r"[a-z][a-z0-9-]*", part)] if len(parts) > 1 else []


def _commands() -> Iterator[tuple[str, str]]:
    yield from COMMAND_SUMMARIES.items()
    yield "help", "Show the help of a command."


def _summary(command: Any) -> str:
    return (command.help or "").partition("\n\n")[0]
