"""List the words that the bundled model was trained on."""

from dataclasses import dataclass

from artgen.errors import UsageError
from artgen.registry import BUNDLED_MODEL, parse_reference
from artgen.registry.catalog import BUNDLED_PREFIX
from artgen.spec.python_text import for_python


@dataclass(frozen=True)
class TrainedWords:
    """Store the words that a model was trained on.

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

    def groups(self) -> dict[str, list[str]]:
        """Return the lists of words, by name."""
        return {name: value for name, value in vars(self).items() if name not in ("model", "subjects")}


@for_python()
def model_words(name: str = BUNDLED_MODEL) -> TrainedWords:
    """Return the words that the bundled model was trained on. Other models have no such list.

    Raises:
        UsageError: the model is not the bundled model.
        ModelUnavailableError: the model is unknown.
    """
    return find_words(name)


def find_words(name: str) -> TrainedWords:
    """Return the words of a model. See `model_words`."""
    reference = parse_reference(name)
    if reference.info is None or reference.info.source != f"{BUNDLED_PREFIX}{BUNDLED_MODEL}":
        raise UsageError(
            f"Cannot list the words of '{name}': only the bundled model '{BUNDLED_MODEL}' has a list of its words.",
            f"artgen models words {BUNDLED_MODEL}",
        )
    from artgen.jobs.trained_words import bundled_words  # slow imports

    found = bundled_words()
    return TrainedWords(BUNDLED_MODEL, found.subjects, **found.groups)
