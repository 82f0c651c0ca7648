"""Parse a line of a `.txt` prompt file: a prompt, then options as on the command line or of another tool."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from artgen.errors import UsageError
from artgen.queue import tool_options
from artgen.queue.entries import LINE_SETTINGS, ignore_note, parse_text_value
from artgen.queue.line_values import LineOption, check_switch, joined_value, single_value
from artgen.queue.tool_options import A1111, DIALECTS, INVOKEAI, MIDJOURNEY, Dialect
from artgen.spec.fields import describe_value
from artgen.spec.schedulers import find_scheduler
from artgen.spec.settings import options_of, settings_of, type_of

_UNQUOTED_SETTINGS = frozenset({"prompt", "negative_prompt", "scheduler", "style", "model"})
"""Settings whose value extends to the next option without quotes."""

_TOKEN_PATTERN = re.compile(
    r"""(?<!\S)(?:
        "(?:\\.|[^"\\])*+"(?!\S)                      # a quoted text hides options
      | '[^']*+'(?!\S)
      | (?P<flag>--[A-Za-z][^\s=]*+)                  # --steps
      | (?P<dash>[\u2013\u2014])(?P<name>[a-z]++)(?!\S)  # a dash of a word processor in place of --
      | (?P<short>-(?:ft|cf|tm|fit|save_orig|embiggen\w*+|[A-Za-z]))
        (?=[\s=]|$|(?P<attached>\d[\d.]*+(?!\S)|(?<=-A)(?:k_|ddim|dpm|euler|heun|lms|plms)))  # -s20, -Ak_lms
    )""",
    re.VERBOSE,
)
_LONG_DASH_FLAGS = frozenset({"--ar", "--aspect", "--v", "--niji", "--stylize", "--chaos"})
"""Options of Midjourney that are detected with a long dash. Other words after a long dash, such as `no`, are text."""

_INVOKEAI_SHORT_OPTIONS = ("-s", "-n")
"""Options that have another meaning in artgen."""
_FLAG_WITH_NUMBER = re.compile(r"(--[a-z]+?)(\d[\d.:]*)")
_MODEL_HASH = re.compile(r" \[[0-9a-fA-F]{8,64}\]$")


def parse_prompt_line(
    text: str, on_note: Callable[[str], None] = ignore_note, *, is_invokeai: bool = False
) -> dict[str, Any]:
    """Parse the settings of a line such as `a red fox --seed 7 --steps 40`.

    The prompt ends at the first option. It does not need quotes: apostrophes and `#` are text. Double quotes around the
    complete prompt are removed. The value of an option follows after a space or `=`; a value with spaces is quoted,
    except prompts and the names of schedulers, styles and models, which extend to the next option. A switch such as
    `--invert-mask` has no value; `--no-keep-original` turns a switch off. Underscores and dashes are equivalent.

    Options of AUTOMATIC1111, InvokeAI and Midjourney that artgen does not have are ignored with a note.

    Args:
        text: line.
        on_note: receives what is ignored or converted.
        is_invokeai: read the short options as options of InvokeAI, unless the line has options of another tool.

    Raises:
        UsageError: an option is unknown or has no value, or a value has the wrong type.
    """
    candidates = list(_find_options(text))
    dialect = next((each for each in DIALECTS if _is_detected(each, candidates)), A1111)
    if dialect is A1111 and is_invokeai and any(option.flag in _INVOKEAI_SHORT_OPTIONS for option in candidates):
        dialect = INVOKEAI
    options = [option for option in candidates if _is_option(option, dialect)]
    prompt = _strip_quotes(text[: options[0].start] if options else text, on_note)
    line = _Line(dialect, {"prompt": prompt} if prompt else {}, on_note)
    ends = [option.start for option in options[1:]] + [len(text)]
    for option, end in zip(options, ends, strict=False):
        line.add(option, text[option.end : end])
    return line.finish()


def has_invokeai_options(text: str) -> bool:
    """Return whether a line has options that only InvokeAI has."""
    return _is_detected(INVOKEAI, list(_find_options(text)))


class _Line:
    """Collect the settings of a line."""

    def __init__(self, dialect: Dialect, values: dict[str, Any], on_note: Callable[[str], None]) -> None:
        self._dialect = dialect
        self._values = values
        self._on_note = on_note
        self._ignored: list[LineOption] = []
        self._images_per_batch = 1

    def add(self, option: LineOption, value_text: str) -> None:
        """Add an option and the text up to the next option."""
        flag = option.flag
        if flag in self._dialect.settings:
            self._set(self._dialect.settings[flag], option, value_text)
        elif (
            flag in self._dialect.ignored
            or flag in self._dialect.detected_by
            or (flag in A1111.ignored and flag not in option_flags())
        ):
            self._ignored.append(option)
        elif flag == "--batch-size":
            count = single_value(option, value_text)
            self._images_per_batch = parse_text_value("count", count)
            self._on_note("--batch-size is a number of images in this line, as in AUTOMATIC1111.")
        elif flag in option_flags():
            name, switch = option_flags()[flag]
            if switch is None:
                self._set(name, option, value_text)
            else:
                check_switch(option, value_text)
                self._store(name, switch)
        else:
            from artgen.spec.synonyms import option_hint

            hint = option_hint(flag, [*option_flags(), *self._dialect.settings])
            raise UsageError(
                f"Cannot use the option {describe_value(option.typed)}: it is unknown.",
                hint or "`artgen batch --help` lists the options.",
            )

    def finish(self) -> dict[str, Any]:
        """Return the settings, and give the notes about options of other tools."""
        values = self._values
        if self._images_per_batch > 1:
            values["count"] = values.get("count", 1) * self._images_per_batch
        if self._dialect is INVOKEAI:
            self._on_note(
                "The line has the options of InvokeAI: -s is the number of steps, -S the seed and -n the number of "
                "images."
            )
            _split_negative_prompt(values, self._on_note)
            if "image" in values and "task" not in values:
                values["task"] = "inpaint" if "mask" in values else "img2img"
        elif str(values.get("negative_prompt", "")).strip().isdecimal():
            self._on_note("The negative prompt is a number. The option for the number of images is --count.")
        if self._ignored:
            flags = {option.flag for option in self._ignored}
            tool = A1111.tool if flags <= A1111.ignored else self._dialect.tool
            hint = " Set the aspect ratio with --size." if flags & {"--ar", "--aspect"} else ""
            self._on_note(tool_options.ignored_note(tool, [option.typed for option in self._ignored]) + hint)
        return values

    def _set(self, name: str, option: LineOption, value_text: str) -> None:
        read = joined_value if name in _UNQUOTED_SETTINGS else single_value
        bare_value = settings_of(LINE_SETTINGS[name])[name].bare_value if name in LINE_SETTINGS else ""
        text = bare_value if bare_value and not value_text.strip() else read(option, value_text)
        if option.flag == "-m" and name == "scheduler" and not _is_scheduler(text):
            name = "model"
        if name == "model":
            text = _MODEL_HASH.sub("", text)
        if option.flag == "--no" and self._dialect is MIDJOURNEY:
            self._on_note("The value of --no is the negative prompt, as in Midjourney.")
        if name in LINE_SETTINGS and type_of(LINE_SETTINGS[name], name)[0] is tuple:
            self._store(name, (text,))
        else:
            self._store(name, parse_text_value(name, text))

    def _store(self, name: str, value: Any) -> None:
        if name in self._values and not isinstance(value, tuple):
            raise UsageError(f"Cannot set {name} twice in a line.", "Remove one of the two values.")
        # Values of repeatable options accumulate, as on the command line.
        self._values[name] = (*self._values.get(name, ()), *value) if isinstance(value, tuple) else value


def _find_options(text: str) -> Iterator[LineOption]:
    """Yield each word outside quotes that can be an option."""
    for match in _TOKEN_PATTERN.finditer(text):
        if match["flag"]:
            flag = match["flag"].replace("_", "-")
            number = _FLAG_WITH_NUMBER.fullmatch(flag)
            if number and number[1] in MIDJOURNEY.detected_by and flag not in option_flags():
                yield LineOption(number[1], number[1], match.start(), match.start() + len(number[1]))
            else:
                yield LineOption(flag, match["flag"], match.start(), match.end())
        elif match["dash"]:
            yield LineOption(f"--{match['name']}", match[0], match.start(), match.end())
        elif match["short"]:
            yield LineOption(match["short"], match["short"], match.start(), match.end(), match["attached"] is not None)


def _is_detected(dialect: Dialect, options: list[LineOption]) -> bool:
    return any(
        option.flag in dialect.detected_by
        and option.flag not in option_flags()
        and (option.typed[0] == "-" or option.flag in _LONG_DASH_FLAGS)
        for option in options
    )


def _is_option(option: LineOption, dialect: Dialect) -> bool:
    """Return whether a word is an option and not text of the prompt, as `-f1` and a long dash can be."""
    if option.typed[0] == "-" and not option.is_attached:
        return True
    if option.flag in dialect.settings or option.flag in dialect.ignored or option.flag in dialect.detected_by:
        return True
    return option.is_attached and _takes_number(option.flag)


def _takes_number(flag: str) -> bool:
    name, _ = option_flags().get(flag, ("", None))
    return name == "seed" or (name in LINE_SETTINGS and type_of(LINE_SETTINGS[name], name)[0] in (int, float))


def _is_scheduler(text: str) -> bool:
    try:
        find_scheduler(text)
    except UsageError:
        return False
    return True


def _split_negative_prompt(values: dict[str, Any], on_note: Callable[[str], None]) -> None:
    """Move the text in square brackets, which InvokeAI uses as the negative prompt, to the negative prompt."""
    prompt = values.get("prompt", "")
    negative = re.findall(r"\[([^\[\]]*+)\]", prompt)
    if negative and "negative_prompt" not in values:
        values["prompt"] = " ".join(re.sub(r"\[[^\[\]]*+\]", " ", prompt).split())
        values["negative_prompt"] = ", ".join(part.strip() for part in negative)
        on_note("The text in square brackets is the negative prompt, as in InvokeAI.")


@cache
def option_flags() -> Mapping[str, tuple[str, bool | str | None]]:
    """Return every option of a line -> its setting, and the value of the setting if the option has no value."""
    flags: dict[str, tuple[str, bool | str | None]] = {"--task": ("task", None)}
    for name, group in LINE_SETTINGS.items():
        spec = options_of(group)[name].metadata["setting"]
        long = name.replace("_", "-")
        if type_of(group, name)[0] is bool:
            for flag in (f"--{long}", *spec.aliases):
                flags |= {flag: (name, True), f"--no-{flag[2:]}": (name, False)}
        else:
            flags |= dict.fromkeys(spec.flags or (f"--{long}",), (name, None))
            for alias in spec.aliases:
                flag, _, fixed = alias.partition("=")
                flags[flag] = (name, fixed or None)
    return flags


def _strip_quotes(prompt: str, on_note: Callable[[str], None]) -> str:
    prompt = prompt.strip()
    without_comma = prompt.removesuffix(",").rstrip()
    for quote in ('"', "'"):
        is_list_item = without_comma != prompt and without_comma.count(quote) == 2
        if is_list_item and without_comma[0] == without_comma[-1] == quote:
            on_note("The quotation marks and the comma around the prompt are removed.")
            return without_comma[1:-1]
    if len(prompt) > 1 and prompt[0] == prompt[-1] == '"' and '"' not in prompt[1:-1]:
        return prompt[1:-1]
    return prompt
