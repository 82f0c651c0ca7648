"""Run the forward and the backward pass in bfloat16 with float32 weights: half the time of autocast on a CPU."""

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Bf16Copy(Generic[ModuleT]):
    """Store a bfloat16 copy of a module. Call `copy_weights` after a change of the float32 weights."""

    def __init__(self, module: ModuleT) -> None:
        self.module = module
        self.copy: ModuleT = deepcopy(module).to(torch.bfloat16)

    @torch.no_grad()
    def copy_weights(self) -> None:
        """Copy the float32 weights to the bfloat16 copy."""
        torch._foreach_copy_(list(self.copy.parameters()), list(self.module.parameters()))

    @torch.no_grad()
    def copy_gradients(self) -> None:
        """Move the gradients of the bfloat16 copy to the float32 weights."""
        for full, half in zip(self.module.parameters(), self.copy.parameters(), strict=True):
            full.grad = None if half.grad is None else half.grad.float()
            half.grad = None
