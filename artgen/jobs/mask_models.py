"""Find the models of masks that a text selects. Several requests share a model."""

from dataclasses import replace
from typing import TYPE_CHECKING

from artgen.events import Listener
from artgen.registry.mask_models import DEFAULT_MASK_MODEL, MaskModel, resolve_mask_model

if TYPE_CHECKING:
    from artgen.jobs.drafts import JobDraft

_Key = tuple[str, bool]


class MaskModelCache:
    """Store the mask models by name. A model whose files are not on the disk is known by its size."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._models: dict[_Key, MaskModel] = {}

    def add_to(self, draft: "JobDraft") -> "JobDraft":
        """Return the draft with what the computation of its mask needs. A known mask needs no model.

        Raises:
            ArtgenError: see `resolve_mask_model`.
        """
        text_mask = draft.inputs.text_mask
        if text_mask is None or text_mask.selected is not None:
            return replace(draft, text_mask=text_mask)
        key = getattr(draft.request, "mask_model", None) or DEFAULT_MASK_MODEL, draft.request.offline
        model = self._models.get(key) or self._resolve(key, download=False)
        self._models[key] = model
        return replace(draft, text_mask=replace(text_mask, model=model))

    @property
    def has_previews(self) -> bool:
        """Return whether the files of a model are not on the disk."""
        return any(model.download_notes() for model in self._models.values())

    def download(self) -> None:
        """Download the models whose files are not on the disk."""
        for key, model in self._models.items():
            if model.download_notes():
                self._models[key] = self._resolve(key, download=True)

    def _resolve(self, key: _Key, *, download: bool) -> MaskModel:
        return resolve_mask_model(key[0], offline=key[1], download=download, listener=self._listener)
