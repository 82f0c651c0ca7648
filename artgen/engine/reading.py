"""Prompts read by text encoders that are in memory only meanwhile: `--offload text` on the CPU.

There is no other memory to put them in, so the pipeline that reads has no denoiser, the one that draws no text
encoders, and each is let go of before the other is loaded. That is how diffusers' guide to Stable Diffusion 3 has its
T5, twice the size of the denoiser, out of the way.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from artgen.engine import embeddings, loading, prompts
from artgen.engine.device import Placement
from artgen.engine.memory import Economy
from artgen.events import Listener
from artgen.prepare import Prepared

AHEAD = 256 << 20
"""Bytes of embeddings up to which prompts of coming pictures are read too, while the text encoders are there."""

Row = dict[str, torch.Tensor]


@dataclass(frozen=True)
class _Words:
    """What a picture's embeddings depend on beside the model."""

    prompt: str
    negative: str
    guided: bool
    in_chunks: bool

    @classmethod
    def of(cls, job: Prepared) -> "_Words":
        request = job.drawing
        texts = request.prompt, request.negative_prompt
        long = request.long_prompt == "chunk" and any(prompts.dropped(job.model, text) for text in texts)
        return cls(*texts, request.guided, long)


_read: dict[tuple[Any, ...], dict[_Words, Row]] = {}
"""The embeddings of the last model, by its files and where it computes."""


def is_apart(economy: Economy, placement: Placement) -> bool:
    """Whether prompts are read before the model is loaded."""
    return economy.offload == "text" and not placement.on_gpu


def read(jobs: Sequence[Prepared], coming: Iterable[Prepared], placement: Placement, listener: Listener) -> None:
    """Reads the prompts of pictures, for `told`.

    Where one of them is new, the model that is loaded is let go of, and the text encoders after it.

    Args:
        jobs: pictures that are drawn together, with a model that `artgen.fitting` lets be read apart.
        coming: pictures after them, for the same model.
        placement: the CPU, and the precision.
        listener: is told what is loaded.

    Raises:
        ModelUnavailableError: weights are missing, damaged or of another architecture.
    """
    place = _place(jobs[0], placement)
    if place not in _read:
        _read.clear()
    rows = _read.setdefault(place, {})
    wanted = [_Words.of(job) for job in jobs]
    if any(words not in rows for words in wanted):
        if _size(rows) > AHEAD:
            rows.clear()
        loading.release()
        reader = loading.load_reader(jobs[0].model, placement, listener)
        for words in wanted:
            if words not in rows:
                rows[words] = _row(reader, words)
        for job in coming:
            if _size(rows) > AHEAD:
                break
            if (words := _Words.of(job)) not in rows:
                rows[words] = _row(reader, words)
        del reader
        loading.collect()


def told(jobs: Sequence[Prepared], placement: Placement) -> dict[str, torch.Tensor]:
    """What was read of these pictures' prompts, as keyword arguments for a pipeline, one row a picture.

    The same that a pipeline is given that reads itself.
    """
    rows = _read[_place(jobs[0], placement)]
    found = [rows[_Words.of(job)] for job in jobs]
    return {name: torch.cat([row[name] for row in found]) if len(found) > 1 else one for name, one in found[0].items()}


def _place(job: Prepared, placement: Placement) -> tuple[Any, ...]:
    return job.model.path, job.model.revision, job.model.variant, placement


def _row(reader: Any, words: _Words) -> Row:
    with loading.quiet():
        if words.in_chunks:
            return dict(prompts.chunked(reader, [words.prompt], [words.negative], words.guided))
        encoded = embeddings.encode(reader, words.prompt, words.negative, words.guided, torch.device("cpu"))
    return embeddings.joined([encoded])


def _size(rows: dict[_Words, Row]) -> int:
    return sum(tensor.nbytes for row in rows.values() for tensor in row.values())
