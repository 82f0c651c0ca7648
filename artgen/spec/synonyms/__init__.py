"""Find the meaning of a name that artgen does not have: a word of another tool, or a misspelled name.

Import this module only to report an error: a valid command line does not need the table of words.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache

from artgen.spec.synonyms.commands import COMMAND_ROWS, COMMANDS_OF_GROUPS
from artgen.spec.synonyms.options import OPTION_ROWS, SHORT_OPTIONS, UPSCALE_ROWS, OptionRow
from artgen.spec.synonyms.unsupported import UNSUPPORTED_ROWS, UnsupportedRow
from artgen.spec.synonyms.values import VALUE_ROWS

MAX_SUGGESTIONS = 3

_CONFIGURED_ONLY = {
    **dict.fromkeys(("model_folders", "lora_folder", "embedding_folder", "wildcard_folder", "style_folder"), "FOLDER"),
    "civitai_token": "TOKEN",
    "server_token": "TOKEN",
    "cache_limit": "SIZE",
    "worker": "on",
    "max_loaded": "NUMBER",
    "keep_alive": "TIME",
    "signing_certificate": "FILE",
    "signing_key": "FILE",
    "trust_list": "FILE",
}
"""Settings that have no option, with a value for the hint. A test compares them with the declarations."""

MAX_NAME_CHARS = 60
"""Limit of a name that is compared. Every name of artgen is shorter."""


def option_hint(
    name: str, known_names: Iterable[str], command: str = "", *, canonical_names: Mapping[str, str] | None = None
) -> str:
    """Return a hint for an unknown option, key or keyword: a synonym, else similar names; empty if there are none.

    Args:
        name: name as typed: `--cfg`, `Cfg Scale`, `num_inference_steps`.
        known_names: names that are valid in its place: options (`--steps`) or settings (`steps`), which determine the
            form of the hint.
        command: command or task that does not have the name, for a setting that other commands take.
        canonical_names: name to show for each known name that is a hidden alias.
    """
    known_names = list(known_names)
    shown = {name: (canonical_names or {}).get(name, name) for name in known_names}
    is_flag = any(each.startswith("--") for each in shown)
    word = _folded(name)
    if not word or len(name) > MAX_NAME_CHARS:
        return ""
    is_short = is_flag and len(word) == 1
    meaning = _own_meaning(word, command) or _option_words().get(
        _folded(SHORT_OPTIONS.get(name, "")) if is_short else word
    )
    exact = next((each for typed, each in shown.items() if _folded(typed) == word), "")
    if exact and meaning is None:
        return f"Did you mean {exact}?"
    if isinstance(meaning, OptionRow):
        return _synonym_hint(meaning, shown, command, is_flag=is_flag)
    if is_flag and (own := next((each for each in _CONFIGURED_ONLY if _folded(each) == word), "")):
        return _configured_only_hint(own)
    close = similar_names(name, shown, shown)
    if meaning is None and (other := _other_commands_hint(word, command, is_flag=is_flag)):
        return f"{_did_you_mean(close)} {other}".lstrip()
    if meaning is None and not close:
        shorter = _without_first_word(name)
        if shorter:
            return option_hint(shorter, known_names, command, canonical_names=canonical_names)
        meaning = _unsupported_word(_parts(name)) or _misspelled(word)
    if isinstance(meaning, OptionRow):
        return _synonym_hint(meaning, shown, command, is_flag=is_flag)
    if meaning is not None:
        return f"{meaning.feature} is not supported. {meaning.alternative}"
    return _did_you_mean(close)


def _own_meaning(word: str, command: str) -> OptionRow | None:
    """Return the meaning of a word that differs from that in other commands."""
    rows = UPSCALE_ROWS if command == "upscale" else ()
    return next((row for row in rows if word in map(_folded, row.words.split())), None)


def other_commands_hint(setting: str, command: str) -> str:
    """Return a hint for a setting that `command` does not take and other commands take; empty for other settings."""
    return _other_commands_hint(_folded(setting), command, is_flag=False)


def command_hint(name: str, known_names: Iterable[str], group: str = "") -> str:
    """Return a hint for an unknown command: a synonym, else similar names; empty if there are none.

    Args:
        name: command as typed.
        known_names: the commands.
        group: command group, such as `models`; empty for the commands of `artgen`.
    """
    known = list(known_names)
    word = _folded(name)
    if len(name) > MAX_NAME_CHARS or not word:
        return ""
    exact = next((each for each in known if _folded(each) == word), "")
    if exact:
        return f"Did you mean '{exact}'?"
    for row in COMMAND_ROWS:
        if row.group == group and word in row.words.split():
            return row.hint
    if close := similar_names(name, known):
        return f"Did you mean {_listed([repr(each) for each in close])}?"
    words = {each: row.hint for row in COMMAND_ROWS if row.group == group for each in row.words.split()}
    misspelled = _nearest_word(word, words)
    return words[misspelled] if misspelled else ""


def value_hint(setting: str, value: object, choices: Iterable[str] = ()) -> str:
    """Return a hint for an invalid value of a setting: a synonym, else similar choices; empty if there are none.

    Args:
        setting: name of the setting.
        value: value as typed.
        choices: valid values.
    """
    word = _folded_value(str(value))
    for row in VALUE_ROWS:
        if row.setting == setting and word in row.words.split():
            return row.value if row.value.endswith(".") else f"Did you mean {row.value}?"
    return _did_you_mean(similar_names(str(value), choices))


def similar_names(name: str, known_names: Iterable[str], canonical_names: Mapping[str, str] | None = None) -> list[str]:
    """Return at most `MAX_SUGGESTIONS` names that are spelled like `name`, best first.

    Two names are similar if few letters differ, in the name or in its words in another order, or if `name` consists of
    some words or of the first letters of the known name.
    """
    if len(name) > MAX_NAME_CHARS:
        return []
    word, parts = _folded(name), _parts(name)
    found: dict[str, tuple[int, int]] = {}
    for known in known_names:
        shown = (canonical_names or {}).get(known, known)
        score = _score(word, parts, _folded(known), _parts(known))
        if score is not None and score < found.get(shown, (9, 0)):
            found[shown] = score
    ranked = sorted(found, key=lambda each: found[each])  # stable: the order of the known names
    if ranked and found[ranked[0]][0] == 3 and len(ranked) > 1:  # `size`: --batch-size and --target-size
        return []
    return [each for each in ranked if found[each][0] <= min(found[ranked[0]][0] + 1, 2)][:MAX_SUGGESTIONS] or ranked


def _score(word: str, parts: list[str], known: str, known_parts: list[str]) -> tuple[int, int] | None:
    """Return the rank of a similar name, lower is better; None if the names are not similar."""
    if len(word) < 3 or len(known) < 3:
        return (0, 0) if word == known else None
    limit = 1 if len(word) < 8 else 2
    distance = _distance(word, known, limit)
    if len(parts) > 1 and len(parts) == len(known_parts):
        distance = _distance_of_parts(parts, known_parts)
        exchanged = _distance_of_parts(sorted(parts), sorted(known_parts))
        if distance is None and exchanged is not None:
            return (1, exchanged)
    if distance is not None and (len(word) > 3 or sorted(word) == sorted(known) or len(word) != len(known)):
        return (0 if distance <= 1 else 1, distance)
    if len(word) > 3 and known.startswith(word):
        return (2, len(known) - len(word))
    if len(word) > 4 and set(parts) < set(known_parts) and len(known_parts) == len(parts) + 1:
        return (3, len(known) - len(word))
    return None


def _distance_of_parts(first: list[str], second: list[str]) -> int | None:
    """Return the sum of the distances of the words of two names; None if a word differs too much."""
    found = [_distance(a, b, min(2, max(1, len(a) // 4))) for a, b in zip(first, second, strict=True)]
    return None if None in found else sum(each or 0 for each in found)


def _distance(first: str, second: str, limit: int) -> int | None:
    """Return the optimal string alignment distance of two words; None if it is greater than `limit`."""
    if abs(len(first) - len(second)) > limit:
        return None
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, 1):
        next_row = [i]
        for j, other in enumerate(second, 1):
            cost = min(row[j] + 1, next_row[j - 1] + 1, row[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == second[j - 2] and first[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            next_row.append(cost)
        before, row = row, next_row
    return row[-1] if row[-1] <= limit else None


def _without_first_word(name: str) -> str:
    """Return `refiner` for `--use-refiner`; an empty text for other names."""
    match = re.match(r"-*(?:use|enable|with|set|add)[-_](.+)", name, re.IGNORECASE)
    return match[1] if match else ""


def _unsupported_word(parts: list[str]) -> UnsupportedRow | None:
    """Return the feature that the first word names, as in `--upscale-method`, also after `no` and `disable`."""
    words = [part for part in parts if part not in ("no", "disable")]
    found = _option_words().get(words[0]) if words and len(words[0]) > 4 else None
    joined = _option_words().get("".join(words))
    return next((row for row in (joined, found) if isinstance(row, UnsupportedRow)), None)


def _misspelled(word: str) -> OptionRow | UnsupportedRow | None:
    """Return the meaning of a misspelled word of another tool."""
    return _option_words().get(_nearest_word(word, _option_words()))


def _nearest_word(word: str, words: Iterable[str]) -> str:
    """Return a word of other tools that differs by one letter or two exchanged letters; empty if there is none.

    Short words are compared strictly: two exchanged letters or a plural.
    """
    for each in words:
        is_strict = sorted(each) == sorted(word) or f"{each}s" == word or f"{word}s" == each
        if len(each) > 3 and (is_strict or len(word) > 5) and _distance(word, each, 1) is not None:
            return each
    return ""


def _configured_only_hint(name: str) -> str:
    return f"Set it for all commands: artgen config set {name} {_CONFIGURED_ONLY[name]}"


def _synonym_hint(row: OptionRow, shown: Mapping[str, str], command: str, *, is_flag: bool) -> str:
    name, separator, value = row.setting.partition("=")
    word = _folded(name)
    target = next((each for typed, each in shown.items() if _folded(typed) in (word, word.removesuffix("s"))), "")
    if not target and is_flag and name in _CONFIGURED_ONLY:
        return _configured_only_hint(name)
    if not target:
        return _other_commands_hint(word, command, is_flag=is_flag)
    if is_flag and value == "false":
        target = f"--no-{target.removeprefix('--')}"
    elif separator:
        target = f"{target} {value}" if is_flag else f"{target} = {value}"
    return f"Did you mean {target}?{f' {row.note}' if row.note else ''}"


def _other_commands_hint(word: str, command: str, *, is_flag: bool) -> str:
    """Return a hint that names the commands with the option; an empty text if no command has the option."""
    from artgen.spec.settings import SETTING_GROUPS, aliases_of, options_of

    if not command:
        return ""
    for group in SETTING_GROUPS:
        commands = COMMANDS_OF_GROUPS.get(group.__name__, ())
        fields = {name: field for name, field in options_of(group).items() if name in group.__annotations__}
        names = {_folded(name): name for name in fields}
        names |= {_folded(alias): each.setting for alias, each in aliases_of(fields).items() if each.value is None}
        name = names.get(word, "")
        if name and commands and command.split()[0] not in commands:
            typed = f"--{name.replace('_', '-')}" if is_flag else name
            verb = "takes" if len(commands) == 1 else "take"
            return f"{_listed(commands, 'and')} {verb} {typed}, and {command.removesuffix(' run')} does not."
    return ""


@cache
def _option_words() -> Mapping[str, OptionRow | UnsupportedRow]:
    """Return the row of each word, without separators."""
    words: dict[str, OptionRow | UnsupportedRow] = {}
    rows: tuple[OptionRow | UnsupportedRow, ...] = (*OPTION_ROWS, *UNSUPPORTED_ROWS)
    for row in rows:
        for word in row.words.split():
            words.setdefault(_folded(word), row)
    return words


def _folded(name: str) -> str:
    """Return a name in lower case without dashes, spaces and other separators: `--Cfg_Scale` is `cfgscale`."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _folded_value(value: str) -> str:
    return value.strip().casefold()


def _parts(name: str) -> list[str]:
    """Return the words of a name in lower case: `--negativePrompt` is `negative`, `prompt`."""
    return re.findall(r"[^\W_]+", re.sub(r"([a-z])([A-Z])", r"\1-\2", name).casefold())


def _did_you_mean(names: list[str]) -> str:
    return f"Did you mean {_listed(names)}?" if names else ""


def _listed(names: Iterable[str], conjunction: str = "or") -> str:
    *first, last = names
    return f"{', '.join(first)} {conjunction} {last}" if first else last
