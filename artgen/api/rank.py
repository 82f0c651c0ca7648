"""Rank images by how well they fit a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from artgen.api.arguments import api_function
from artgen.api.call import start_call
from artgen.api.image_lists import image_files
from artgen.api.keyword_types import RankKeywords

if TYPE_CHECKING:
    from artgen.api.image_lists import ImagesInput
    from artgen.api.sheet_pages import Sheet

SHEET_ROWS = 12
CELL_PX = 256


@dataclass(frozen=True)
class ImageScore:
    """Store the score of an image.

    Attributes:
        path: the image file.
        prompt: the text with which the image was compared.
        score: the score; higher is better.
        index: position of the image in the input, from 0.
    """

    path: Path
    prompt: str
    score: float
    index: int = 0


@api_function("rank")
def rank(images: "ImagesInput", prompt: str | None = None, **settings: Unpack[RankKeywords]) -> list[ImageScore]:
    """Rank images by how well they fit a prompt, the best image first.

    The score is how much lower the denoising error of the model is with the prompt than without it, or the similarity
    of a CLIP model. A result has the attributes `path`, `prompt`, `score` and `index`. Compare only scores of the same
    prompt and the same model.

    Args:
        images: path, folder, PIL image, array or result, or a list of them.
        prompt: text with which the images are compared. None: the recorded prompt of each image.

    Raises:
        UsageError, InputFileError, ModelUnavailableError: A value, an image or the model is invalid.
        NonFiniteError: The model produced NaN or infinity.
    """
    with start_call("rank", settings) as call:
        from artgen.jobs import image_ranking

        request = image_ranking.RankRequest(prompt=prompt, **call.values)
        if "model" in call.values:
            image_ranking.reject_unused_model(request)
        files = image_files(images, call.listener.add_note)
        prompts = {file: image_ranking.find_prompt(file, request, call.listener) for file in files}
        plan = image_ranking.prepare_ranking(request, list(prompts.values()), call.listener)
        from artgen.engine.image_scores.rank_images import FileScorer

        scorer = FileScorer(plan, len(files), call.listener)
        scores = [
            ImageScore(file, prompts[file].text, scorer.score(file, prompts[file], index + 1), index)
            for index, file in enumerate(files)
        ]
    return sort_scores(scores)


def sort_scores(scores: Sequence[ImageScore]) -> list[ImageScore]:
    """Return scores in the order of the ranking: the highest first, equal scores in the order of the images."""
    return sorted(scores, key=lambda each: -each.score)


def create_rank_sheet(ranked: Sequence[ImageScore]) -> "Sheet":
    """Return a contact sheet of ranked images, with the rank and the score below each image."""
    from artgen.api.sheet_pages import Sheet
    from artgen.images.contact_sheet import Cell, paginate

    prompts = {each.prompt for each in ranked}
    cells = [
        Cell(each.path, "\n".join((f"{number}. {each.score:.4g}", *([each.prompt] if len(prompts) > 1 else []))))
        for number, each in enumerate(ranked, 1)
    ]
    columns = max(1, round(len(cells) ** 0.5))
    title = prompts.pop() if len(prompts) == 1 else ""
    return Sheet(paginate(cells, columns=columns, rows=SHEET_ROWS, title=title), CELL_PX)
