"""Validate the settings of `best_of`, and define what the record of the best image contains."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from artgen.errors import UsageError
from artgen.spec.settings import MAX_SEED, BestOfSettings, ScoreSettings, options_of

if TYPE_CHECKING:
    from artgen.spec.base_requests import Request

SEEDS, SCORES, SCORE, SCORE_MODEL = "best_of_seeds", "best_of_scores", "best_of_score", "best_of_score_model"
"""Fields of the record of an image that was selected."""
DEFAULT_SCORE = "model"


def check_score_model(settings: ScoreSettings) -> None:
    """Check that the model of a score has an effect.

    Raises:
        UsageError: `score_model` is set, and the score uses no CLIP model.
    """
    if settings.score_model is not None and settings.score != "clip":
        raise UsageError(
            "--score-model has no effect without --score clip.",
            "Add --score clip, or remove --score-model.",
            settings=("score_model", "score"),
        )


@dataclass(frozen=True, kw_only=True)
class BestOf(BestOfSettings):
    """Store the settings of a request that can generate several images and return the best one."""

    def _normalize_best_of(self, names: Collection[str]) -> None:
        """Check the settings together.

        Raises:
            UsageError: a setting has no effect.
        """
        if not {"best_of", "score", "score_model", "strength"}.intersection(names):
            return
        for name in ("score", "score_model"):
            if getattr(self, name) is not None and self.best_of is None:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(
                    f"{option} has no effect without --best-of.",
                    f"Add --best-of 8, or remove {option}.",
                    settings=(name, "best_of"),
                )
        check_score_model(self)
        if getattr(self, "strength", None) == 0 and num_candidates(self) > 1:
            raise UsageError(
                "Cannot combine strength 0 and best_of: the image does not change.",
                "Remove --best-of, or use a strength above 0.",
                settings=("best_of", "strength"),
            )


def num_candidates(request: object) -> int:
    """Return the number of images that are generated for the result of a request, 1 or more."""
    return getattr(request, "best_of", None) or 1


def candidate_requests(request: "Request") -> "list[Request]":
    """Return the request of each candidate image: with seeds that count up, without `best_of`.

    The images of a variation have the same seed, and variation seeds that count up.
    """
    count = num_candidates(request)
    if count == 1:
        return [request]
    name = _seed_name(getattr(request, "variation_strength", None))
    first = int(getattr(request, name) or 0)
    single = request.replace(best_of=None, score=None, score_model=None)
    return [single.replace(**{name: seed}) for seed in range(first, first + count) if seed <= MAX_SEED]


def candidate_seed(request: "Request") -> int:
    """Return the seed in which a candidate differs from the others."""
    return int(getattr(request, _seed_name(getattr(request, "variation_strength", None))) or 0)


def _seed_name(variation_strength: object) -> str:
    return "variation_seed" if variation_strength else "seed"


def recorded_score_model(name: str) -> str:
    """Return the name of a CLIP model as a record contains it: without the folders of a local model."""
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):  # a hub id
        return name
    return PureWindowsPath(name).name if "\\" in name else PurePath(name).name


def remove_selection(record: dict[str, Any], changes: Mapping[str, Any]) -> list[str]:
    """Remove the settings of the selection from the record of an image, in place. Return notes.

    The record of a selected image contains its own seed, so that a replay generates one image and needs no score.
    Records are untrusted: a recorded score model can be a path.

    Args:
        record: untrusted record.
        changes: settings that the user sets; they are kept.
    """
    names = options_of(BestOfSettings).keys() - changes.keys()
    removed = sorted(name for name in names if record.pop(name, None) is not None)
    if not removed:
        return []
    return [f"Ignored recorded settings: {', '.join(removed)}. The image of the recorded seed is generated."]


def typed_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record that the request of a selected image has: with `best_of` and the first seed.

    Args:
        record: untrusted record.
    """
    seeds = record.get(SEEDS)
    if not isinstance(seeds, list) or not seeds or not all(isinstance(seed, str) and seed.isdigit() for seed in seeds):
        return dict(record)
    name = _seed_name(record.get("variation_strength"))
    values = {name: int(seeds[0]), "best_of": len(seeds), "score": record.get(SCORE)}
    return {**record, **values, "score_model": record.get(SCORE_MODEL)}
