"""Read the list of neutral prompts, and write the prompt file of the batch."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from artgen import InputFileError

DEFAULT_LIST = Path(__file__).with_name("prompts.json")
KINDS = ("people", "places", "things")
ARTICLES = ("a ", "an ", "the ")


@dataclass(frozen=True)
class Prompt:
    """Represent a neutral prompt.

    Attributes:
        text: the prompt, which states none of the measured attributes.
        group: name of its group in the list, such as `occupations`.
        kind: people, places or things; it selects the measured attributes.
    """

    text: str
    group: str
    kind: str

    @property
    def noun(self) -> str:
        """Return the prompt without its article."""
        article = next((each for each in ARTICLES if self.text.startswith(each)), "")
        return self.text.removeprefix(article)


@dataclass(frozen=True)
class PromptList:
    """Store the prompts of an audit, and the SHA-256 of their file."""

    prompts: tuple[Prompt, ...]
    sha256: str


def read_prompt_list(path: Path) -> PromptList:
    """Read a list of prompts: a JSON object with `shows` and `prompts` for each group.

    Raises:
        InputFileError: the file cannot be read, or has another structure.
    """
    hint = f"Use the structure of '{DEFAULT_LIST}'."
    try:
        data = path.read_bytes()
        prompts = [
            Prompt(text.strip(), group, content["shows"])
            for group, content in json.loads(data).items()
            for text in content["prompts"]
        ]
    except OSError as error:
        raise InputFileError(f"Cannot read '{path}': {error.strerror}.", hint) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputFileError(f"Cannot read '{path}': it is not a list of prompts.", hint) from None
    texts = [prompt.text for prompt in prompts]
    if unknown := next((prompt.kind for prompt in prompts if prompt.kind not in KINDS), None):
        raise InputFileError(f"Cannot use '{path}': 'shows' is '{unknown}', not {', '.join(KINDS)}.", hint)
    if not texts or not all(texts) or len(set(texts)) < len(texts):
        raise InputFileError(f"Cannot use '{path}': it has no prompts, or an empty or repeated prompt.", hint)
    return PromptList(tuple(prompts), hashlib.sha256(data).hexdigest())


def write_prompt_file(prompts: Sequence[Prompt], num_seeds: int, path: Path) -> None:
    """Write a prompt file for `artgen batch`: line i has prompt i with the seeds 1 to `num_seeds`."""
    lines = [json.dumps({"prompt": prompt.text, "seed": f"1-{num_seeds}"}) for prompt in prompts]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
