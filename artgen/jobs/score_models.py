"""Find the CLIP models of requests for `--score clip`. Several requests share a model."""

from dataclasses import replace
from typing import TYPE_CHECKING

from artgen.events import Listener
from artgen.registry.score_models import ScoreModel, resolve_score_model
from artgen.spec.best_of import num_candidates

if TYPE_CHECKING:
    from artgen.jobs.drafts import JobDraft

_Key = tuple[str | None, bool]


class ScoreModelCache:
    """Store the CLIP models by name. Only the size is stored of a model whose files are not on the disk."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._models: dict[_Key, ScoreModel] = {}

    def add_to(self, draft: "JobDraft") -> "JobDraft":
        """Return the draft with the CLIP model that scores its images. Other drafts are unchanged.

        Raises:
            UsageError, ModelUnavailableError, RefusedError: see `resolve_score_model`.
        """
        request = draft.request
        if num_candidates(request) == 1 or getattr(request, "score", None) != "clip":
            return draft
        key = getattr(request, "score_model", None), request.offline
        model = self._models.get(key) or self._resolve(key, download=False)
        self._models[key] = model
        notes = [model.download_note] if model.download_note else []
        return replace(draft, score_model=model, notes=(*draft.notes, *notes))

    @property
    def has_previews(self) -> bool:
        """Return whether the files of a model are not on the disk."""
        return any(model.download_bytes for model in self._models.values())

    def download(self) -> None:
        """Download the models whose files are not on the disk."""
        for key, model in self._models.items():
            if model.download_bytes:
                self._models[key] = self._resolve(key, download=True)

    def _resolve(self, key: _Key, *, download: bool) -> ScoreModel:
        return resolve_score_model(key[0], offline=key[1], download=download, listener=self._listener)
