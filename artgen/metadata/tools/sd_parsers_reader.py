"""Read metadata with the parsers of the package sd-parsers.

Only its parsers are used, with texts that artgen extracted: its extractors have no size limit and cache the last image
by its address in memory. Before a parser is called, this module checks the size of the texts and parses JSON with
`parse_json`. An exception of the package means that the metadata is not readable: the result is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from artgen.metadata.json_texts import json_object

MAX_TEXT_CHARS = 20_000
"""Limit of a text that is not JSON: some patterns of the package need quadratic time."""


@dataclass(frozen=True)
class ParsedImage:
    """Store the result of a parser.

    Attributes:
        prompt: prompts, joined by commas.
        negative_prompt: negative prompts, joined by commas.
        sampler: name of the sampler in the tool.
        model: name of the model; may be empty.
        model_hash: hash of the model; may be empty.
        values: the other values by name.
    """

    prompt: str
    negative_prompt: str
    sampler: str
    model: str
    model_hash: str
    values: Mapping[str, object]


def parse_with_sd_parsers(
    tool: Literal["invokeai", "novelai"], texts: Mapping[str, str], json_names: tuple[str, ...]
) -> ParsedImage | None:
    """Return the result of the parser of a tool; None if it does not read the texts.

    Args:
        tool: selects the parser.
        texts: metadata texts that the parser needs.
        json_names: names of the texts that must be JSON objects.
    """
    from sd_parsers.parsers import InvokeAIParser, NovelAIParser

    for name, text in texts.items():
        is_json = name in json_names
        if (is_json and not json_object(texts, name)) or (not is_json and len(text) > MAX_TEXT_CHARS):
            return None
    parser = {"invokeai": InvokeAIParser, "novelai": NovelAIParser}[tool](normalize_parameters=False)
    try:
        info = parser.parse(
            {name: text if name in json_names else " ".join(text.split()) for name, text in texts.items()}
        )
        sampler = info.samplers[0]
        return ParsedImage(
            ", ".join(prompt.value for prompt in sampler.prompts),
            ", ".join(prompt.value for prompt in sampler.negative_prompts),
            str(sampler.name),
            str(sampler.model.name or "") if sampler.model else "",
            str(sampler.model.hash or "") if sampler.model else "",
            {str(name): value for name, value in (info.metadata | sampler.parameters).items()},
        )
    except Exception:  # the package raises many exception types on values of unexpected types
        return None
