"""Define the command `artgen models words`."""

from typing import Annotated

import typer

from artgen.cli.console import print_result
from artgen.cli.json_output import JsonOutput
from artgen.registry import BUNDLED_MODEL


def _declare_words() -> type:
    from artgen.api.trained_words import TrainedWords

    return TrainedWords


OUTPUT = JsonOutput(_declare_words, is_list=False)


@OUTPUT
def words(
    name: Annotated[str, typer.Argument(help="Name of the model; only tiny has a list of words.")] = BUNDLED_MODEL,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the words that the bundled model tiny was trained on: subjects, colors, places, numbers, sizes and styles.

    Other nouns and synonyms of a subject are in brackets. Other models have no such list.

    artgen models words tiny
    """
    from artgen.api.trained_words import find_words

    found = find_words(name)
    if as_json:
        OUTPUT.print(found)
        return
    for group, subjects in found.subjects.items():
        nouns = (f"{noun} ({', '.join(others)})" if others else noun for noun, others in subjects.items())
        print_result(f"{group}: {', '.join(nouns)}")
    for group, texts in found.groups().items():
        print_result(f"{group}: {', '.join(texts)}")
