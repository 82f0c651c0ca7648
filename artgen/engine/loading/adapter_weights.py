"""Compute the change of a weight from the factors of a DoRA, LoHa, LoKr or Tucker-decomposed LoRA.

diffusers loads LoRAs, and peft adds them to the result of a layer. This module adds the other kinds in the same place:
it computes the change of the weight at each call, which needs no memory between calls, and the model is unchanged.

Methods: LoRA: Hu et al. 2021, arXiv 2106.09685. DoRA: Liu et al. 2024, arXiv 2402.09353. LoHa: Hyeon-Woo et al. 2021,
arXiv 2108.06098. LoKr: Yeh et al. 2023, arXiv 2309.14859. The layouts of the tensors are from LyCORIS.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from artgen.registry.lora_layers.original_names import Target

Factors = Mapping[str, torch.Tensor]


@dataclass
class WeightChange:
    """Add the change of a weight to the result of a layer, as a variant of peft's `LoraLayer`.

    Attributes:
        factors: tensors of the adapter by factor name, without alpha.
        multiplier: alpha / rank.
        target: rows of the factors' product that change the layer.
        shape: shape of the layer's weight: (outputs, inputs) or (outputs, inputs, kernel height, kernel width).
    """

    factors: dict[str, torch.Tensor]
    multiplier: float
    target: Target
    shape: tuple[int, ...]

    def forward(
        self, module: Any, active_adapter: str, x: torch.Tensor, result: torch.Tensor, **_: object
    ) -> torch.Tensor:
        """Return `result` plus the layer's output for the change of its weight.

        Args:
            module: peft's layer, with the scale of the adapter in `scaling`.
            active_adapter: name of the adapter.
            x: input of the layer, shape (B, ..., inputs) or (B, inputs, H, W).
            result: output of the layer, shape (B, ..., outputs) or (B, outputs, H, W).
        """
        self.factors = {name: values.to(x.device) for name, values in self.factors.items()}
        layer = module.get_base_layer()
        change = self.change(layer, module.scaling[active_adapter]).to(x.dtype)
        if isinstance(layer, torch.nn.Conv2d):
            # The method of the class respects the padding mode.
            added: torch.Tensor = layer._conv_forward(x, change, None)
        else:
            added = functional.linear(x, change)
        return result + added

    def change(self, layer: Any, scale: float) -> torch.Tensor:
        """Return the change of the weight of a layer in fp32, with the shape of the weight.

        The scale of a DoRA is the scale of its low-rank part, as in peft. The scale 0 changes nothing.

        Args:
            layer: linear layer or convolution.
            scale: scale of the adapter.
        """
        start, end = self.target.rows
        product = product_of(self.factors)[start:end]
        if self.target.swapped:
            product = torch.cat(product.chunk(2)[::-1])
        change = product.reshape(self.shape) * (self.multiplier * scale)
        magnitude = self.factors.get("magnitude", self.factors.get("dora_scale"))
        if magnitude is None or scale == 0:
            return change
        weight = _weight_of(layer).to(change)
        return _apply_magnitude(weight, change, self._magnitude_of_rows(magnitude)) - weight

    def _magnitude_of_rows(self, magnitude: torch.Tensor) -> torch.Tensor:
        """Return the magnitudes with the number of dimensions of the weight."""
        ones = [1] * (len(self.shape) - 2)
        if "dora_scale" in self.factors and magnitude.shape[0] == 1:
            return magnitude.float().reshape(1, self.shape[1], *ones)
        start, end = self.target.rows
        values = magnitude.float().flatten()[start:end]
        if self.target.swapped:
            values = torch.cat(values.chunk(2)[::-1])
        return values.reshape(-1, 1, *ones)


def _weight_of(layer: Any) -> torch.Tensor:
    weight: torch.Tensor = layer.weight
    if weight.is_meta:
        from accelerate.utils import align_module_device  # accelerate offloads the weight and is installed.

        with align_module_device(layer):
            weight = layer.weight.clone()
    return weight


def _apply_magnitude(weight: torch.Tensor, change: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
    """Return the weight of a DoRA: the norms of its rows (or columns) are the magnitudes."""
    changed = weight + change
    dims = [dim for dim in range(weight.dim()) if magnitude.shape[dim] == 1]
    scaled: torch.Tensor = magnitude * changed / torch.linalg.vector_norm(changed, dim=dims, keepdim=True)
    return scaled


def product_of(factors: Factors) -> torch.Tensor:
    """Return the product of an adapter's factors in fp32, shape (outputs, ...), without alpha."""
    values = {name: tensor.float() for name, tensor in factors.items()}
    if "down" in values:
        down, up = values["down"].flatten(1), values["up"].flatten(1)
        if "mid" in values:
            return torch.einsum("rskl,si,or->oikl", values["mid"], down, up)
        return up @ down
    if "hada_w1_a" in values:
        return _hada_part(values, 1) * _hada_part(values, 2)
    first = values["lokr_w1"] if "lokr_w1" in values else values["lokr_w1_a"] @ values["lokr_w1_b"]
    second = _lokr_second(values)
    return torch.kron(first.reshape(*first.shape, *[1] * (second.dim() - 2)), second.contiguous())


def _hada_part(values: Factors, number: int) -> torch.Tensor:
    a, b = values[f"hada_w{number}_a"], values[f"hada_w{number}_b"]
    if f"hada_t{number}" in values:
        return torch.einsum("rskl,si,ro->oikl", values[f"hada_t{number}"], b, a)
    return a @ b


def _lokr_second(values: Factors) -> torch.Tensor:
    if "lokr_w2" in values:
        return values["lokr_w2"]
    a, b = values["lokr_w2_a"], values["lokr_w2_b"]
    if "lokr_t2" in values:
        return torch.einsum("rskl,si,ro->oikl", values["lokr_t2"], b, a)
    return (a @ b.flatten(1)).reshape(a.shape[0], *b.shape[1:])
