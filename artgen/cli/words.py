"""Define the command `artgen models words`."""

from dataclasses import dataclass
from typing import Annotated

import typer

from artgen.cli.console import print_result
from artgen.cli.json_output import JsonOutput
from artgen.errors import UsageError
from artgen.registry import parse_reference
from artgen.registry.catalog import BUNDLED_PREFIX
from artgen.registry.default_selection import BUNDLED_MODEL


@dataclass(frozen=True)
class TrainedWords:
    """Store the words that a model was trained on, for `--json`.

    Attributes:
        model: name of the model.
        subjects: group of subjects, such as animals -> most common noun -> other nouns and synonyms.
        colors: colors of subjects and backgrounds.
        places: backgrounds, and positions of one subject.
        positions: words between two subjects.
        numbers: numbers of equal subjects.
        sizes: sizes of a subject.
        styles: styles of the image.
    """

    model: str
    subjects: dict[str, dict[str, list[str]]]
    colors: list[str]
    places: list[str]
    positions: list[str]
    numbers: list[str]
    sizes: list[str]
    styles: list[str]


OUTPUT = JsonOutput(lambda: TrainedWords, is_list=False)


@OUTPUT
def words(
    name: Annotated[str, typer.Argument(help="Name of the model; only tiny has a list of words.")] = BUNDLED_MODEL,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the words that the bundled model tiny was trained on: subjects, colors, places, numbers, sizes and styles.

    Other nouns and synonyms of a subject are in brackets. Other models have no such list.

    artgen models words tiny
    """
    from artgen.jobs.trained_words import bundled_words

    reference = parse_reference(name)
    if reference.info is None or reference.info.source != f"{BUNDLED_PREFIX}{BUNDLED_MODEL}":
        raise UsageError(
            f"Cannot list the words of '{name}': only the bundled model '{BUNDLED_MODEL}' has a list of its words.",
            f"artgen models words {BUNDLED_MODEL}",
        )
    found = bundled_words()
    if as_json:
        OUTPUT.print(TrainedWords(BUNDLED_MODEL, found.subjects, **found.groups))
        return
    for group, subjects in found.subjects.items():
        nouns = (f"{noun} ({', '.join(others)})" if others else noun for noun, others in subjects.items())
        print_result(f"{group}: {', '.join(nouns)}")
    for group, texts in found.groups.items():
        print_result(f"{group}: {', '.join(texts)}")
