"""Convert the LoRA tags of prompts, `<lora:NAME:SCALE>`, to LoRAs of the request."""

import re
from collections.abc import Iterator

from artgen.errors import InputFileError, UsageError
from artgen.events import Listener, Notice
from artgen.registry import lora as lora_files
from artgen.spec.base_requests import PromptRequest
from artgen.spec.lora import MAX_LORA_SCALE, LoraSpec
from artgen.spec.prompt_tags import (
    HYPERNETWORK_KINDS,
    PromptTag,
    find_tags,
    parse_lora_tag,
    remove_tags,
    scale_error,
    spaced_tags,
    unclosed_tags,
)

MAX_TAGS_IN_NOTE = 5
_BRACKET_PATTERN = re.compile(r"\\.|[\[\]]|<(?:lora|lyco):", re.IGNORECASE | re.DOTALL)


def apply_lora_tags(request: PromptRequest, listener: Listener) -> PromptRequest:
    """Return the request with the LoRAs of the tags in its prompt, and without these tags.

    The scales of a LoRA that is named several times are added. As in AUTOMATIC1111, tags in the negative prompt are
    text.

    Raises:
        UsageError: a scale is not valid, or a tag names a hypernetwork.
        InputFileError, RefusedError: a LoRA is unknown, ambiguous or not valid; see `registry.lora.find_lora`.
    """
    tags = [tag for tag in find_tags(request.prompt) if tag.is_lora]
    notes = list(_notes(request, tags))
    if request.prompt_weights == "none":
        tags = []
    loras = [_resolve(tag, notes) for tag in tags]
    for text in dict.fromkeys(notes):
        listener(Notice(text))
    if not tags:
        return request
    merged = _add_scales([*request.loras, *loras], len(request.loras), listener)
    return request.replace(prompt=remove_tags(request.prompt, lambda tag: tag.is_lora), lora=tuple(map(str, merged)))


def _notes(request: PromptRequest, tags: list[PromptTag]) -> Iterator[str]:
    """Yield notes about tags that are text, and about tags in square brackets.

    Raises:
        UsageError: a tag names a hypernetwork.
    """
    if request.prompt_weights == "none":
        if tags:
            yield f"{_listed(tags)} in the prompt {_are(tags)} text, because prompt_weights is none."
        return
    in_negative = list(find_tags(request.negative_prompt))
    if tag := next((tag for tag in find_tags(request.prompt) if tag.kind in HYPERNETWORK_KINDS), None):
        raise UsageError(f"Cannot use {tag}: artgen does not support hypernetworks.", "Remove the tag from the prompt.")
    if ignored := [tag for tag in in_negative if tag.is_lora or tag.kind in HYPERNETWORK_KINDS]:
        yield (
            f"{_listed(ignored)} in the negative prompt {_are(ignored)} text, as in AUTOMATIC1111. To use a LoRA, name "
            "it in the prompt."
        )
    unknown = [tag for tag in find_tags(request.prompt) if not tag.is_lora]
    if unknown := [*unknown, *(tag for tag in in_negative if tag not in ignored)]:
        yield f"{_listed(unknown)} {_are(unknown)} text: artgen supports tags of LoRAs only, such as <lora:NAME:0.8>."
    for text in unclosed_tags(request.prompt):
        yield f"'{text[:80]}' is text: a tag of a LoRA ends with '>'."
    for text in spaced_tags(request.prompt)[:MAX_TAGS_IN_NOTE]:
        yield f"'{text[:80]}' is text: a tag of a LoRA has no spaces before its name. Write <lora:NAME:0.8>."
    if _has_tag_in_brackets(request.prompt):
        yield "A LoRA whose tag is in square brackets is active in all steps, as in AUTOMATIC1111."


def _listed(tags: list[PromptTag]) -> str:
    texts = list(dict.fromkeys(map(str, tags)))
    more = f" and {len(texts) - MAX_TAGS_IN_NOTE} more" if len(texts) > MAX_TAGS_IN_NOTE else ""
    return f"{', '.join(texts[:MAX_TAGS_IN_NOTE])}{more}"


def _are(tags: list[PromptTag]) -> str:
    return "is" if len(set(map(str, tags))) == 1 else "are"


def _has_tag_in_brackets(prompt: str) -> bool:
    depth = 0
    for match in _BRACKET_PATTERN.finditer(prompt):
        if match[0].startswith("<") and depth > 0:
            return True
        depth = max(0, depth + {"[": 1, "]": -1}.get(match[0], 0))
    return False


def _resolve(tag: PromptTag, notes: list[str]) -> LoraSpec:
    """Return the LoRA of a tag with its path, and append notes about the tag."""
    lora, tag_notes = parse_lora_tag(tag)
    try:
        file = lora_files.read_lora(lora_files.find_lora(lora.name))
    except InputFileError:
        if ":" in lora.name:  # `<lora:NAME:strong>`
            raise scale_error(tag, lora.name.rpartition(":")[2]) from None
        raise
    if lora.text_scale is not None and not file.changes_text_encoders:
        lora = lora._replace(text_scale=None)
        tag_notes = [
            f"The scale for text encoders in {tag} has no effect: the LoRA does not change text encoders.",
            *tag_notes[1:],
        ]
    notes += tag_notes
    return lora._replace(name=str(file.path))


def _add_scales(loras: list[LoraSpec], count: int, listener: Listener) -> list[LoraSpec]:
    """Return the LoRAs without duplicates: each LoRA of a tag has the sum of its scales.

    Args:
        loras: LoRAs of `--lora`, then LoRAs of tags.
        count: number of LoRAs of `--lora`. Duplicates among them are refused later.
        listener: receives a note for each sum.

    Raises:
        UsageError: a sum is not from -10 to 10.
    """
    uses: dict[tuple[str, int], list[LoraSpec]] = {}
    names: dict[str, str] = {}
    for number, lora in enumerate(loras):
        file = lora_files.read_lora(lora_files.find_lora(lora.name))
        names[file.sha256] = file.name
        is_duplicate = number < count and (file.sha256, 0) in uses
        uses.setdefault((file.sha256, number if is_duplicate else 0), []).append(lora)
    return [same[0] if len(same) == 1 else _sum(names[digest], same, listener) for (digest, _), same in uses.items()]


def _sum(name: str, loras: list[LoraSpec], listener: Listener) -> LoraSpec:
    scale = round(sum(lora.scale for lora in loras), 10)
    text_scale = round(sum(lora.effective_text_scale for lora in loras), 10)
    if max(abs(scale), abs(text_scale)) > MAX_LORA_SCALE:
        raise UsageError(
            f"The scales of the LoRA '{name}' add up to {scale:g}; a scale must be from -10 to 10.",
            "Name the LoRA once.",
        )
    listener(Notice(f"The LoRA '{name}' is named {len(loras)} times. Its scales are added: {scale:g}."))
    return loras[0]._replace(scale=scale, text_scale=None if text_scale == scale else text_scale)
