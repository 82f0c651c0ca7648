"""Use the recorded prompt of an input image if the user gives no prompt.

Records are untrusted. A recorded prompt is final: its wildcards, styles, LoRA tags and embeddings are text, and no file
is searched. The recorded model is never used, because it could be a large download.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen import metadata
from artgen.errors import ArtgenError, UsageError
from artgen.events import Listener, Notice, no_op
from artgen.metadata.reading import INVALID_RECORD_NOTE
from artgen.registry import default_model
from artgen.registry.catalog import builtin_models
from artgen.spec.base_requests import PromptedImageRequest, Request
from artgen.spec.prompt_expansion import PromptExpansion
from artgen.spec.prompt_syntax import has_syntax
from artgen.spec.settings import PromptSettings, validate
from artgen.spec.settings.prompts import PROMPT_WEIGHTS
from artgen.system.input_files import is_stdin

DROPPABLE = ("negative_prompt", "prompt_weights")
"""Recorded settings that are ignored, with a note, if the model does not support them."""

MAX_PROMPT_CHARS = 200
MAX_NAME_CHARS = 60
MAX_LISTED_IMAGES = 5
NO_PROMPT_HINT = 'For no prompt, add --prompt "".'


@dataclass(frozen=True)
class RecordedPrompt:
    """Store the recorded prompt of an image.

    Attributes:
        settings: `prompt`, `expansion`, and `negative_prompt` and `prompt_weights` if they are used.
        image: name of the image.
        unused: sentences about recorded values that are not used.
    """

    settings: Mapping[str, Any]
    image: str
    unused: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """Return the prompts for a note."""
        negative = self.settings.get("negative_prompt")
        more = f" (negative prompt: '{_cut(negative, MAX_PROMPT_CHARS)}')" if negative else ""
        return f"'{_cut(self.settings['prompt'], MAX_PROMPT_CHARS)}'{more}"

    @property
    def note(self) -> str:
        """Return the note about one image."""
        used = f"Using the recorded prompt of '{self.image}': {self.shown}. {NO_PROMPT_HINT}"
        return " ".join((used, *self.unused))


def recorded_prompt(
    path: Path, given: Collection[str], model: str | None = None, listener: Listener = no_op
) -> RecordedPrompt | None:
    """Return the recorded prompt of an image; None if the image has no valid one.

    Args:
        path: input image.
        given: settings that the user gave; their recorded values are not used.
        model: model that is used; the recorded model is named in a sentence if it is another one.
        listener: receives a note if the recorded prompt cannot be used.
    """
    try:
        found = metadata.read_metadata(path)
    except (ArtgenError, OSError) as error:
        if INVALID_RECORD_NOTE in str(error):
            listener(Notice(f"'{path.name}': {INVALID_RECORD_NOTE}"))
        return None  # the error of a damaged image is reported when the image is loaded
    fields = found.fields
    for name in ("prompt", "negative_prompt"):
        if name not in given and not isinstance(fields.get(name) or "", str):
            listener(Notice(f"The recorded {name} of '{path.name}' is not used: it is not text."))
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        return None
    values: dict[str, Any] = {"prompt": prompt, "expansion": PromptExpansion()}
    negative = fields.get("negative_prompt")
    if isinstance(negative, str) and negative and "negative_prompt" not in given:
        values["negative_prompt"] = negative
    rule = fields.get("prompt_weights", "none" if found.record else "a1111")  # records of versions without syntax
    if rule in PROMPT_WEIGHTS and rule != "a1111" and "prompt_weights" not in given:
        values["prompt_weights"] = rule
    texts = {name: values[name] for name in ("prompt", "negative_prompt") if name in values}
    try:
        validate(PromptSettings(**texts))
        for text in texts.values():
            has_syntax(text, values.get("prompt_weights", "a1111"))
    except UsageError as error:
        listener(Notice(f"The recorded prompt of '{path.name}' is not used: {error.message}"))
        return None
    name = "standard input" if is_stdin(path) else path.name
    return RecordedPrompt(values, name, tuple(_unused_sentences(found, given, model)))


def with_recorded_prompts(requests: Sequence[Request], given: Collection[str], listener: Listener) -> list[Request]:
    """Return requests that differ in the seed with the recorded prompt of their input image, if they have no prompt.

    Args:
        requests: requests of one task with the same image.
        given: settings that the user gave.
        listener: receives a note that shows the prompt.
    """
    first = requests[0] if requests else None
    if not isinstance(first, PromptedImageRequest) or first.prompt or first.style or "prompt" in given:
        return list(requests)
    path = first.input_paths.get("image")
    if path is None or getattr(first, "strength", None) == 0 or first.expansion is not None:
        return list(requests)
    model = first.model or default_model(offline=first.offline)
    found = recorded_prompt(path, given, model, listener)
    if found is None:
        return list(requests)
    listener(Notice(found.note))
    return [request.replace(**found.settings) for request in requests]


def add_unsupported(error: ArtgenError, given: set[str], listener: Listener) -> None:
    """Add the recorded settings that cause an error to the settings that are not taken from the record.

    Args:
        error: error of the preparation of requests with a recorded prompt.
        given: settings that the user gave, or that are set otherwise; receives the settings.
        listener: receives a note.

    Raises:
        ArtgenError: the error, if no recorded setting causes it.
    """
    names = [name for name in error.settings if name in DROPPABLE and name not in given]
    if not names:
        raise error
    given.update(names)
    listener(Notice(f"The recorded {names[0]} is not used: {error.message}"))


def group_note(found: Mapping[str, RecordedPrompt]) -> str:
    """Return one note about the recorded prompts of the images of a batch; empty if there are none.

    Args:
        found: path of the image -> recorded prompt.
    """
    if not found:
        return ""
    listed = list(found.values())[:MAX_LISTED_IMAGES]
    if len(found) == 1:
        return listed[0].note
    hidden = len(found) - len(listed)
    shown = "; ".join(f"'{each.image}': {each.shown}" for each in listed)
    unused = dict.fromkeys(text for each in found.values() for text in each.unused)
    more = f"; and {hidden:,} more" if hidden else ""
    return " ".join(
        (f"Using the recorded prompts of {len(found):,} images: {shown}{more}. {NO_PROMPT_HINT}", *list(unused)[:3])
    )


def _unused_sentences(found: metadata.ImageMetadata, given: Collection[str], model: str | None) -> list[str]:
    """Return sentences about the recorded model and LoRAs, which are not used."""
    sentences = []
    recorded = found.fields.get("model")
    if isinstance(recorded, str) and recorded and "model" not in given and recorded != model:
        tool = f" of {found.external.tool_name}" if found.external and not found.record else ""
        hint = f"; to use it, add -m {recorded}" if found.record and recorded in builtin_models() else ""
        sentences.append(f"The recorded model '{_cut(recorded, MAX_NAME_CHARS)}'{tool} is not used{hint}.")
    loras = found.record.get("lora") if found.record else found.external.loras if found.external else ()
    if isinstance(loras, list | tuple) and loras and "lora" not in given:
        sentences.append(f"The recorded LoRAs are not used: {', '.join(_cut(str(each), 40) for each in loras[:3])}.")
    return sentences


def _cut(text: object, num_chars: int) -> str:
    """Return a text on one line with at most a number of characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= num_chars else f"{line[:num_chars]}..."
