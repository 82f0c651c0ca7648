"""Compute the shape of the weight that an adapter changes from the shapes of its factors.

LoRA: Hu et al. 2021, arXiv 2106.09685. DoRA: Liu et al. 2024, arXiv 2402.09353. LoHa: Hyeon-Woo et al. 2021, arXiv
2108.06098. LoKr: Yeh et al. 2023, arXiv 2309.14859. The layouts are from LyCORIS.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

FactorShapes = Mapping[str, tuple[int, ...]]


class LayerShape(NamedTuple):
    """Store the shape of a layer and the rank of its adapter.

    Attributes:
        inputs: input channels. A LoHa or LoKr of a convolution can store inputs * kernel height * kernel width.
        outputs: output channels.
        kernel: height and width of the convolution kernel; empty for a linear layer.
        rank: rank of the factors; None if a LoKr has no low-rank factors.
        kind: LoRA, LoHa or LoKr.
        dora_axis: outputs or inputs if the layer has the magnitudes of a DoRA for that axis; empty otherwise.
        magnitudes: number of magnitudes of a DoRA.
    """

    inputs: int
    outputs: int
    kernel: tuple[int, ...]
    rank: int | None
    kind: str = "LoRA"
    dora_axis: str = ""
    magnitudes: int = 0

    def fits(self, weight: tuple[int, ...]) -> bool:
        """Return whether the adapter changes a weight of this shape."""
        columns = self.inputs * math.prod(self.kernel)
        return len(weight) in (2, 4) and self.outputs == weight[0] and columns == math.prod(weight[1:])

    @property
    def weight(self) -> tuple[int, ...]:
        """Return the shape of the weight that the adapter changes."""
        return (self.outputs, self.inputs, *self.kernel)


def layer_shape(factors: FactorShapes) -> LayerShape | None:
    """Return the shape of a layer from the shapes of its factors, by factor name; None if factors do not match."""
    shape = _product_shape({name: shape for name, shape in factors.items() if name not in ("alpha", *_MAGNITUDES)})
    magnitudes = [(name, factors[name]) for name in _MAGNITUDES if name in factors]
    if shape is None or not magnitudes:
        return shape
    ((name, magnitude), *others) = magnitudes
    values = math.prod(magnitude)
    if not others and values == shape.outputs and (name == "magnitude" or magnitude[:1] == (values,)):
        return shape._replace(dora_axis="outputs", magnitudes=values)
    if not others and name == "dora_scale" and magnitude[:1] == (1,) and shape.inputs % max(values, 1) == 0:
        return shape._replace(dora_axis="inputs", magnitudes=values)
    return None


_MAGNITUDES = ("magnitude", "dora_scale")


def _product_shape(factors: FactorShapes) -> LayerShape | None:
    names = frozenset(factors)
    if names in (frozenset({"down", "up"}), frozenset({"down", "mid", "up"})):
        return _lora_shape(factors["down"], factors["up"], factors.get("mid"))
    if names and all(name.startswith("hada_") for name in names):
        return _loha_shape(factors)
    if names and all(name.startswith("lokr_") for name in names):
        return _lokr_shape(factors)
    return None


def _lora_shape(down: tuple[int, ...], up: tuple[int, ...], mid: tuple[int, ...] | None) -> LayerShape | None:
    if len(down) not in (2, 4) or len(up) != len(down) or any(size != 1 for size in up[2:]):
        return None
    if mid is None:
        is_valid, kernel = down[0] == up[1] and down[0] > 0, down[2:]
    else:
        is_valid, kernel = len(mid) == 4 and mid[:2] == (up[1], down[0]) and math.prod(down[2:]) == 1, mid[2:]
    return LayerShape(down[1], up[0], kernel, down[0]) if is_valid else None


def _loha_shape(factors: FactorShapes) -> LayerShape | None:
    names = {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}
    tucker = {"hada_t1", "hada_t2"}
    if set(factors) not in (names, names | tucker) or any(len(factors[name]) != 2 for name in names):
        return None
    (a1, b1), (a2, b2) = ((factors[f"hada_w{n}_a"], factors[f"hada_w{n}_b"]) for n in (1, 2))
    has_tucker = "hada_t1" in factors
    if has_tucker:  # The first factors are transposed: (rank, outputs).
        a1, a2 = a1[::-1], a2[::-1]
    if (a1[0], b1[1]) != (a2[0], b2[1]) or a1[1] != b1[0] or a2[1] != b2[0] or not b1[0] or not b2[0]:
        return None
    kernel: tuple[int, ...] = ()
    if has_tucker:
        t1, t2 = factors["hada_t1"], factors["hada_t2"]
        if len(t1) != 4 or len(t2) != 4 or t1[2:] != t2[2:] or t1[:2] != (b1[0],) * 2 or t2[:2] != (b2[0],) * 2:
            return None
        kernel = t1[2:]
    return LayerShape(b1[1], a1[0], kernel, b1[0], "LoHa")


def _lokr_shape(factors: FactorShapes) -> LayerShape | None:
    names = set(factors)
    first = _matrix_shape(factors, "lokr_w1")
    tucker = factors.get("lokr_t2")
    if tucker is None:
        second = _matrix_shape(factors, "lokr_w2")
    else:
        second = _tucker_shape(factors.get("lokr_w2_a", ()), factors.get("lokr_w2_b", ()), tucker)
    expected: set[str] = set()
    for name in ("lokr_w1", "lokr_w2"):
        expected |= {name} if name in names else {f"{name}_a", f"{name}_b"}
    if first is None or second is None or len(first) != 2 or names - {"lokr_t2"} != expected:
        return None
    ranks = [factors[name][0] for name in ("lokr_w2_b", "lokr_w1_b") if name in factors]
    kernel = second[2:]
    return LayerShape(first[1] * second[1], first[0] * second[0], kernel, ranks[0] if ranks else None, "LoKr")


def _matrix_shape(factors: FactorShapes, name: str) -> tuple[int, ...] | None:
    """Return the shape of a LoKr factor that is stored as one tensor or as the product of two."""
    if name in factors:
        shape = factors[name]
        return shape if len(shape) in (2, 4) else None
    a, b = factors.get(f"{name}_a", ()), factors.get(f"{name}_b", ())
    if len(a) != 2 or len(b) not in (2, 4) or a[1] != b[0] or not b[0]:
        return None
    return (a[0], *b[1:])


def _tucker_shape(a: tuple[int, ...], b: tuple[int, ...], tucker: tuple[int, ...]) -> tuple[int, ...] | None:
    if len(a) != 2 or len(b) != 2 or len(tucker) != 4 or tucker[:2] != (a[0], b[0]):
        return None
    return (a[1], b[1], *tucker[2:])
