"""Compute the batch order from (seed, batch index), so that a resumed run uses the same batches."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

ImageSize = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class BatchSpec:
    """Represent one batch.

    Attributes:
        index: position in the complete training, counted from 0.
        size: width and height in pixels of every image of the batch.
        indices: indices of the images in the data set.
    """

    index: int
    size: ImageSize
    indices: tuple[int, ...]


def batches(image_sizes: Sequence[ImageSize], batch_size: int, seed: int) -> Iterator[BatchSpec]:
    """Yield batches without end. All images of a batch have the same size.

    The sizes alternate in proportion to their numbers of images. The images of one size come in random order; an image
    repeats only after all other images of its size.

    Args:
        image_sizes: size of each image.
        batch_size: images per batch; a size with fewer images repeats them.
        seed: seed of the random order.
    """
    groups: dict[ImageSize, list[int]] = {}
    for index, size in enumerate(image_sizes):
        groups.setdefault(size, []).append(index)
    streams = {
        size: _shuffle_forever(members, seed, group_index) for group_index, (size, members) in enumerate(groups.items())
    }
    credit = dict.fromkeys(groups, 0)
    batch_index = 0
    while True:
        for size, members in groups.items():
            credit[size] += len(members)
        size = max(credit, key=lambda candidate: credit[candidate])
        credit[size] -= len(image_sizes)
        yield BatchSpec(batch_index, size, tuple(next(streams[size]) for _ in range(batch_size)))
        batch_index += 1


def _shuffle_forever(indices: Sequence[int], seed: int, group_index: int) -> Iterator[int]:
    epoch = 0
    while True:
        order = list(indices)
        random.Random(f"{seed} {group_index} {epoch}").shuffle(order)
        yield from order
        epoch += 1


def batch_generator(seed: int, batch_index: int) -> torch.Generator:
    """Return the CPU random generator of one batch. Its state depends only on the two arguments."""
    state = np.random.SeedSequence([seed, batch_index]).generate_state(1)[0]
    return torch.Generator().manual_seed(int(state))
