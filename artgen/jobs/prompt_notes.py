"""Check the prompts of a request, and create the notes about them."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from artgen.errors import UsageError
from artgen.images import IMAGE_SUFFIXES
from artgen.registry import ResolvedModel
from artgen.spec import prompt_syntax
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.prompt_checks import excerpt
from artgen.spec.prompt_notes import syntax_notes
from artgen.spec.prompt_syntax import Break, edit_names, parse_weights
from artgen.spec.prompt_tags import find_tags
from artgen.spec.prompt_weights import AND
from artgen.spec.settings import SETTING_GROUPS, Setting, aliases_of, options_of
from artgen.spec.wildcards import parse
from artgen.system.input_files import PROMPT_FILE_SUFFIXES

LABELS = {"prompt": "prompt", "negative_prompt": "negative prompt"}
MAX_LISTED_OPTIONS = 5

OTHER_OPTIONS = re.compile(
    "ar|aspect|chaos|cref|cw|hd|iw|niji|no|oref|ow|p|profile|q|quality|raw|relax|repeat|s|sref|stop|stylize|sv|sw|tile|"
    "turbo|v|version|video|weird|"  # Midjourney
    "sampler-name|n-iter|do-not-save-grid|restore-faces|tiling"  # prompts from a file of AUTOMATIC1111
)
"""Options of other tools in prompts that artgen does not have."""

# Some programs replace two dashes by one long dash.
_OPTION = re.compile(r"(?<!\S)(?:(?:--|[—–])([a-zA-Z][\w-]{0,40})|-([a-zA-Z]))(?:[ =]+(?!-[a-zA-Z-])(\S{1,40}))?(?!\S)")


def check_syntax(request: Request) -> None:
    """Check the syntax of the prompts of a request.

    Raises:
        UsageError: see `prompt_syntax.check_syntax`.
    """
    if isinstance(request, PromptRequest):
        for name in LABELS:
            prompt_syntax.check_syntax(getattr(request, name), request.prompt_weights or "a1111")


def prompt_notes(request: PromptRequest, model: ResolvedModel | None) -> Iterator[str]:
    """Yield notes about the syntax of the prompts of a request. If `model` is None, CLIP text encoders are assumed."""
    rule = request.prompt_weights or "none"
    for name, label in LABELS.items():
        text = getattr(request, name)
        if model is None or model.pipeline_entry.supports("prompt-syntax"):
            yield from syntax_notes(text, rule)
            if name == "negative_prompt" and rule == "a1111" and AND.search(text):
                yield "AND in the negative prompt is text, as in AUTOMATIC1111."
        elif unused := list(_unused_syntax(text, rule)):
            yield (
                f"{model.pipeline_entry.title} models have no CLIP text encoder for weights. Without effect in the "
                f"{label}: {', '.join(unused)}."
            )


def plain_prompt_note(text: str, label: str) -> str:
    """Return the note about the syntax of a prompt that is used as plain text; empty if it has none."""
    found: list[str] = []
    with contextlib.suppress(UsageError):  # too many brackets
        found += _unused_syntax(text, "a1111")
    with contextlib.suppress(UsageError):
        found += [f"'{excerpt(part.text)}'" for part in parse(text) if not isinstance(part, str)]
    found += map(str, find_tags(text))
    more = f" and {len(found) - MAX_LISTED_OPTIONS} more" if len(found) > MAX_LISTED_OPTIONS else ""
    return f"The {label} is plain text. Without effect: {', '.join(found[:MAX_LISTED_OPTIONS])}{more}." if found else ""


def _unused_syntax(text: str, rule: str) -> Iterator[str]:
    if text.lstrip().startswith("{"):  # a JSON prompt is not changed
        return
    parts = parse_weights(text, rule)
    weighted = [part for part in parts if not isinstance(part, Break) and part.weight != 1]
    if weighted:
        yield f"the weight of '{excerpt(weighted[0].text)}'"
    if any(isinstance(part, Break) for part in parts):
        yield "BREAK"
    if rule == "a1111":
        yield from edit_names(text)


def input_notes(prompts: Mapping[str, str]) -> Iterator[str]:
    """Yield the notes about prompts that look like another input: options, a prompt file or an image.

    Args:
        prompts: name of the setting -> prompt as typed.
    """
    for name, label in LABELS.items():
        if text := prompts.get(name):
            yield from _option_notes(text, label)
            yield from _file_notes(text, label)
    if prompts.get("negative_prompt", "").strip().isdecimal():
        yield "The negative prompt is a number. The option for the number of images is --count."


def _option_notes(text: str, label: str) -> Iterator[str]:
    known, others = list[str](), list[str]()
    for match in _OPTION.finditer(text):
        long, short, value = match.groups()
        flag = f"--{long.replace('_', '-').lower()}" if long else f"-{short}"
        shown = excerpt(match[0])
        if flag in _options() and (long or value):
            known.append(shown)
        elif long and OTHER_OPTIONS.fullmatch(flag[2:]):
            others.append(shown)
    if known:
        yield (
            f"'{_listed(known)}' is part of the {label}, because it is inside the quotation marks. Write options after "
            "the prompt."
        )
    if others:
        yield (
            f"'{_listed(others)}' is part of the {label}: artgen has no such option. Use --size for the aspect ratio, "
            "and --negative-prompt for what the image should not show."
        )


def _listed(found: list[str]) -> str:
    found = list(dict.fromkeys(found))
    return "', '".join(found[:MAX_LISTED_OPTIONS])


@cache
def _options() -> frozenset[str]:
    """Return the options of all settings, with their aliases."""
    found: set[str] = set()
    for group in SETTING_GROUPS:
        fields = options_of(group)
        for name, field in fields.items():
            setting: Setting = field.metadata["setting"]
            found |= {f"--{name.replace('_', '-')}", *setting.flags}
        found |= {f"--{alias.replace('_', '-')}" for alias in aliases_of(fields)}
    return frozenset(found)


def _file_notes(text: str, label: str) -> Iterator[str]:
    name = text.strip()
    suffix = Path(name).suffix.lower() if len(name) < 4096 else ""
    if suffix not in {*PROMPT_FILE_SUFFIXES, *IMAGE_SUFFIXES} or "\n" in name:
        return
    if not _is_file(name):
        if len(name.split()) == 1:
            yield f"The {label} looks like the name of a file, which does not exist. It is used as text."
        return
    command = f"artgen img2img {name!r} PROMPT" if suffix in IMAGE_SUFFIXES else f"artgen batch {name!r}"
    yield f"The {label} is the name of a file, and it is used as text. To read the file: {command}."


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False
