"""Which pictures make which batch: a function of the seed and the number of the batch alone, so that a training that
goes on sees what it would have seen.
"""

import random as chance
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

ImageSize = tuple[int, int]


@dataclass(frozen=True)
class BatchSpec:
    """One batch.

    Attributes:
        index: counted from 0 over the whole training.
        size: width and height in pixels that its pictures share.
        indices: numbers of the pictures.
    """

    index: int
    size: ImageSize
    indices: tuple[int, ...]


def batches(image_sizes: Sequence[ImageSize], batch_size: int, seed: int) -> Iterator[BatchSpec]:
    """Batches without end, each of pictures of one size, every picture equally often in the long run.

    Sizes take turns in proportion to how many pictures they have; the pictures of one size come in random order, all of
    them before any comes again.

    Args:
        image_sizes: of each picture.
        batch_size: pictures in each batch; a size with fewer repeats them.
        seed: decides the order.
    """
    groups: dict[ImageSize, list[int]] = {}
    for number, size in enumerate(image_sizes):
        groups.setdefault(size, []).append(number)
    streams = {size: _shuffle_forever(members, seed, place) for place, (size, members) in enumerate(groups.items())}
    credit = dict.fromkeys(groups, 0)
    number = 0
    while True:
        for size, members in groups.items():
            credit[size] += len(members)
        size = max(credit, key=lambda one: credit[one])
        credit[size] -= len(image_sizes)
        yield BatchSpec(number, size, tuple(next(streams[size]) for _ in range(batch_size)))
        number += 1


def _shuffle_forever(indices: Sequence[int], seed: int, group_index: int) -> Iterator[int]:
    turn = 0
    while True:
        order = list(indices)
        chance.Random(f"{seed} {group_index} {turn}").shuffle(order)
        yield from order
        turn += 1


def batch_generator(seed: int, batch_index: int) -> torch.Generator:
    """The random numbers of one batch, on the CPU: of the seed and the batch's number, and of nothing before it."""
    state = np.random.SeedSequence([seed, batch_index]).generate_state(1)[0]
    return torch.Generator().manual_seed(int(state))
