"""Create LoRA, DoRA, LoHa and LoKr files for tiny models, and the same models with merged weights.

The formulas and the names are written independently of artgen: papers of the methods, sd-scripts, XLabs and LyCORIS.
"""

import itertools
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from adapter_layers import Layer
from safetensors.torch import load_file, save_file

RANK = 2
Tensors = dict[str, torch.Tensor]


def adapter_factors(kind: str, weight: tuple[int, ...]) -> Tensors:
    """Return random factors of an adapter by LyCORIS' names.

    Args:
        kind: lora, loha, loha-tucker, lokr, lokr-full, lokr-w1, lokr-tucker, locon-tucker.
        weight: shape of the weight.
    """
    outputs, inputs, *kernel = weight
    columns = inputs * (kernel[0] * kernel[1] if kernel else 1)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape) * 0.4

    if kind == "lora":
        return {
            "lora_down.weight": random(RANK, inputs, *kernel),
            "lora_up.weight": random(outputs, RANK, *[1] * len(kernel)),
        }
    if kind == "locon-tucker":
        return {
            "lora_down.weight": random(RANK, inputs, 1, 1), "lora_mid.weight": random(RANK, RANK, *kernel),
            "lora_up.weight": random(outputs, RANK, 1, 1),
        }  # fmt: skip
    if kind == "loha":
        return {
            "hada_w1_a": random(outputs, RANK), "hada_w1_b": random(RANK, columns),
            "hada_w2_a": random(outputs, RANK), "hada_w2_b": random(RANK, columns),
        }  # fmt: skip
    if kind == "loha-tucker":
        return {
            "hada_t1": random(RANK, RANK, *kernel), "hada_w1_a": random(RANK, outputs),
            "hada_w1_b": random(RANK, inputs), "hada_t2": random(RANK, RANK, *kernel),
            "hada_w2_a": random(RANK, outputs), "hada_w2_b": random(RANK, inputs),
        }  # fmt: skip
    a, b = next(size for size in (4, 3, 5, 1) if outputs % size == 0), 4 if inputs % 4 == 0 else 1
    c, d = outputs // a, inputs // b
    if kind == "lokr-full":
        return {"lokr_w1": random(a, b), "lokr_w2": random(c, d, *kernel)}
    if kind == "lokr-w1":
        return {"lokr_w1_a": random(a, RANK), "lokr_w1_b": random(RANK, b), "lokr_w2": random(c, d, *kernel)}
    if kind == "lokr-tucker":
        return {
            "lokr_w1": random(a, b), "lokr_t2": random(RANK, RANK, *kernel), "lokr_w2_a": random(RANK, c),
            "lokr_w2_b": random(RANK, d),
        }  # fmt: skip
    return {"lokr_w1": random(a, b), "lokr_w2_a": random(c, RANK), "lokr_w2_b": random(RANK, columns // b)}


def product(factors: Tensors) -> torch.Tensor:
    """Return the change of the weight for scale 1 and without alpha, shape (outputs, inputs * kernel size)."""
    values = {name.removesuffix(".weight"): tensor for name, tensor in factors.items()}
    if "lora_mid" in values:
        down, up = values["lora_down"].flatten(1), values["lora_up"].flatten(1)
        return torch.stack([
            torch.stack([up @ values["lora_mid"][..., row, column] @ down for column in range(3)], -1)
            for row in range(3)
        ], -2).flatten(1)  # fmt: skip
    if "lora_down" in values:
        return values["lora_up"].flatten(1) @ values["lora_down"].flatten(1)
    if "hada_t1" in values:
        return (_tucker(values, "hada_t1", "hada_w1") * _tucker(values, "hada_t2", "hada_w2")).flatten(1)
    if "hada_w1_a" in values:
        return (values["hada_w1_a"] @ values["hada_w1_b"]) * (values["hada_w2_a"] @ values["hada_w2_b"])
    first = values["lokr_w1"] if "lokr_w1" in values else values["lokr_w1_a"] @ values["lokr_w1_b"]
    if "lokr_t2" in values:
        second = _tucker(values, "lokr_t2", "lokr_w2")
    else:
        second = values["lokr_w2"] if "lokr_w2" in values else values["lokr_w2_a"] @ values["lokr_w2_b"]
    return torch.cat([torch.cat([cell * second.flatten(1) for cell in row], 1) for row in first], 0)


def _tucker(values: Tensors, core: str, name: str) -> torch.Tensor:
    a, b = values[f"{name}_a"].T, values[f"{name}_b"]
    cells = [[a @ values[core][..., row, column] @ b for column in range(3)] for row in range(3)]
    return torch.stack([torch.stack(row, -1) for row in cells], -2)


def rank_of(factors: Tensors) -> int | None:
    """Return the rank that divides alpha; None if the scale is 1 because all factors are complete."""
    for name in ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
        if name in factors:
            return factors[name].shape[0]
    return None


def save_adapter(
    path: Path,
    model: Path,
    layers: Sequence[Layer],
    *,
    kinds: Sequence[str] = ("lora",),
    dora: str = "",
    alpha: float | None = 1.5,
    scale: float = 1.0,
    seed: int = 7,
    key: Callable[[Layer, str], str],
) -> Path:
    """Save an adapter to `path`, and a copy of the model with merged weights to `path` without its suffix.

    Args:
        path: file of the adapter.
        model: folder of the model.
        layers: changed layers.
        kinds: kinds of the layers in turn, see `adapter_factors`; only 3x3 convolutions have the variants `-tucker`.
        dora: outputs or inputs: axis of the magnitudes of a DoRA. empty: no DoRA.
        alpha: alpha of all layers.
        scale: scale of the adapter in the merged weights.
        seed: seed of the factors.
        key: function that returns the tensor's name from the layer and LyCORIS' name of the factor.
    """
    torch.manual_seed(seed)
    merged = path.with_suffix("")
    shutil.copytree(model, merged)
    tensors: Tensors = {}
    for component in dict.fromkeys(layer.component for layer in layers):
        file = next((merged / component).glob("*.safetensors"))
        weights = load_file(file)
        for layer, kind in zip(layers, itertools.cycle(kinds), strict=False):
            if layer.component != component:
                continue
            names = [f"{module}.weight" for module in layer.modules]
            rows = torch.cat([weights[name] for name in names])
            original = torch.cat(rows.chunk(2)[::-1]) if layer.swapped else rows
            layer_kind = kind.partition("-tucker")[0].replace("locon", "lora") if rows.shape[2:] != (3, 3) else kind
            factors = adapter_factors(layer_kind, tuple(original.shape))
            rank = rank_of(factors)
            multiplier = scale * (alpha / rank if alpha is not None and rank else 1.0)
            changed = original + multiplier * product(factors).reshape(original.shape)
            if dora:
                axes = tuple(dim for dim in range(changed.dim()) if dim != (0 if dora == "outputs" else 1))
                magnitude = torch.linalg.vector_norm(original, dim=axes, keepdim=True) * 1.3
                changed = magnitude * changed / torch.linalg.vector_norm(changed, dim=axes, keepdim=True)
                factors["dora_scale"] = magnitude
            if alpha is not None:
                factors["alpha"] = torch.tensor(alpha)
            tensors |= {key(layer, name): tensor for name, tensor in factors.items()}
            changed = torch.cat(changed.chunk(2)[::-1]) if layer.swapped else changed
            sizes = [weights[name].shape[0] for name in names]
            for name, value in zip(names, changed.split(sizes), strict=True):
                weights[name] = value.contiguous()
        save_file(weights, file, {"format": "pt"})
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def kohya_key(layer: Layer, factor: str) -> str:
    """Return a name as in kohya's sd-scripts and LyCORIS."""
    prefix = {"text_encoder": "lora_te1_text_model_", "text_encoder_2": "lora_te2_text_model_"}
    name = layer.name.replace(".", "_").removeprefix("text_model_")
    return f"{prefix.get(layer.component, 'lora_unet_')}{name}.{factor}"


def prefixed_key(prefix: str, *, matrices: str = "AB") -> Callable[[Layer, str], str]:
    """Return a function for names with a prefix, dots, and `lora_A` and `lora_B` (or `lora_down` and `lora_up`)."""
    names: Mapping[str, str] = {"lora_down": "lora_A", "lora_up": "lora_B"} if matrices == "AB" else {}

    def key(layer: Layer, factor: str) -> str:
        head, dot, tail = factor.partition(".")
        return f"{prefix}{layer.name}.{names.get(head, head)}{dot}{tail}"

    return key


def xlabs_key(layer: Layer, factor: str) -> str:
    """Return a name as in XLabs' trainer."""
    return f"{layer.name}.{factor.removeprefix('lora_')}"
