"""Compare checkpoints bit by bit."""

from typing import Any

import torch


def same(first: Any, second: Any) -> bool:
    """Return whether two checkpoints, or parts of checkpoints, are bit-identical."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)
