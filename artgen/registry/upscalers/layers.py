"""Detect the architecture, the sizes and the scale of an ESRGAN-family network from the tensors of its file.

Three naming schemes of RRDBNet exist: of the first release of ESRGAN (`model.0`, `model.1.sub.0.RDB1.conv1.0`), of
the later releases (`RRDB_trunk.0.RDB1.conv1`), and of Real-ESRGAN (`body.0.rdb1.conv1`). RRDBNet is from Wang et al.,
"ESRGAN: Enhanced super-resolution generative adversarial networks", ECCVW 2018, arXiv 1809.00219. Its variants for the
scales 1 and 2, and SRVGGNetCompact, are from Wang et al., "Real-ESRGAN: Training real-world blind super-resolution with
pure synthetic data", ICCVW 2021, arXiv 2107.10833.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from artgen.errors import InputFileError
from artgen.registry.checkpoint_content import read_content
from artgen.registry.safetensors_header import read_header
from artgen.registry.upscalers.upscaler import COMPACT, RRDBNET

Shapes = Mapping[str, tuple[int, ...]]

RGB = 3
NUM_DENSE_BLOCKS = 3
"""Residual dense blocks in an RRDB."""
NUM_DENSE_CONVS = 5
"""Convolutions in a residual dense block."""
MAX_UPCONVS = 3
_PREFIXES = ("params_ema.", "params.", "module.")
_DTYPES = frozenset({"F64", "F32", "F16", "BF16"})
_HINT = "Use a network of the ESRGAN family (RRDBNet or SRVGGNetCompact), or `--upscaler swin2sr-x2`."
_RENAMED = {"RRDB_trunk": "body", "trunk_conv": "conv_body", "HRconv": "conv_hr"}
_OLD_BLOCK = re.compile(r"model\.1\.sub\.(\d+)\.RDB(\d)\.(conv\d)\.0\.(weight|bias)")
_OLD_LAYER = re.compile(r"model\.(\d+)\.(weight|bias)")
_OLD_TRUNK = re.compile(r"model\.1\.sub\.\d+\.(weight|bias)")


@dataclass(frozen=True)
class NetworkLayers:
    """Describe the network of a file.

    Attributes:
        class_name: RRDBNet or SRVGGNetCompact.
        scale: factor of both sides.
        config: sizes: `features`, `blocks`, `growth`, `upconvs` and `unshuffle` of RRDBNet; `features`, `convs` and
            `scale` of SRVGGNetCompact.
        names: name of each tensor in the file, by its name in artgen's module, which has the names of Real-ESRGAN.
    """

    class_name: str
    scale: int
    config: Mapping[str, int]
    names: Mapping[str, str]


def read_layers(path: Path) -> NetworkLayers:
    """Detect the network of a `.safetensors` file from its header.

    Raises:
        RefusedError: the file is a pickle.
        InputFileError: the file is damaged, or artgen does not support the network that its tensors describe.
    """
    header = read_header(path)
    prefix = next((each for each in _PREFIXES if any(name.startswith(each) for name in header.tensors)), "")
    found = {name.removeprefix(prefix): shape for name, (_, shape) in header.tensors.items() if name.startswith(prefix)}
    names = _canonical_names(found)
    shapes = {name: found[original] for name, original in names.items()}
    layers = _rrdb_layers(shapes) or _compact_layers(shapes)
    if layers is None:
        raise _unsupported_error(path)
    class_name, scale, config = layers
    expected = expected_shapes(class_name, config)
    if wrong := sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name)):
        original = names.get(wrong[0], wrong[0])[:100]
        reason = (
            f"the tensor '{original}' of {class_name} is missing or has another shape"
            if wrong[0] in expected
            else f"{class_name} does not have its tensor '{original}'"
        )
        raise InputFileError(f"Cannot use '{path.name}' as an upscaler: {reason}.", _HINT)
    if unknown := sorted({dtype for dtype, _ in header.tensors.values()} - _DTYPES):
        raise InputFileError(f"Cannot use the upscaler '{path.name}': its weights have the dtype {unknown[0]}.", _HINT)
    return NetworkLayers(class_name, scale, config, {name: prefix + original for name, original in names.items()})


def expected_shapes(class_name: str, config: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a network, by the names of Real-ESRGAN."""
    shapes: dict[str, tuple[int, ...]] = {}

    def add_conv(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs, 3, 3)
        shapes[f"{name}.bias"] = (outputs,)

    features = config["features"]
    if class_name == COMPACT:
        for index in range(config["convs"]):
            is_last = index == config["convs"] - 1
            add_conv(
                f"body.{2 * index}", features if index else RGB, RGB * config["scale"] ** 2 if is_last else features
            )
            if not is_last:
                shapes[f"body.{2 * index + 1}.weight"] = (features,)
        return shapes
    add_conv("conv_first", RGB * config["unshuffle"] ** 2, features)
    for block in range(config["blocks"]):
        for dense in range(1, NUM_DENSE_BLOCKS + 1):
            for conv in range(NUM_DENSE_CONVS):
                outputs = features if conv == NUM_DENSE_CONVS - 1 else config["growth"]
                add_conv(f"body.{block}.rdb{dense}.conv{conv + 1}", features + conv * config["growth"], outputs)
    for name in ("conv_body", *(f"conv_up{index + 1}" for index in range(config["upconvs"])), "conv_hr"):
        add_conv(name, features, features)
    add_conv("conv_last", features, RGB)
    return shapes


def _canonical_names(shapes: Shapes) -> dict[str, str]:
    """Return the name of each tensor in the file by its name in Real-ESRGAN."""
    if "model.0.weight" in shapes:
        return _names_of_first_release(shapes)
    names = {}
    for original in shapes:
        first, _, rest = original.partition(".")
        name = f"{_RENAMED.get(first, first)}.{rest}"
        name = re.sub(r"^upconv(\d)\.", r"conv_up\1.", name)
        names[re.sub(r"^(body\.\d+)\.RDB(\d)\.", r"\1.rdb\2.", name)] = original
    return names


def _names_of_first_release(shapes: Shapes) -> dict[str, str]:
    """Return the names of the first release: layers are numbered, and layers without weights are counted too.

    After the blocks (layer 1), each doubling of the size has the layers upsampling, convolution, activation. The last
    two convolutions follow, with an activation between them.
    """
    numbers = sorted({int(match[1]) for name in shapes if (match := _OLD_LAYER.fullmatch(name))} - {0})
    layers = {0: "conv_first"}
    for index, number in enumerate(numbers[:-2]):
        layers[number] = f"conv_up{index + 1}"
    layers.update(zip(numbers[-2:], ("conv_hr", "conv_last"), strict=False))
    names = {}
    for original in shapes:
        if match := _OLD_BLOCK.fullmatch(original):
            names[f"body.{match[1]}.rdb{match[2]}.{match[3]}.{match[4]}"] = original
        elif match := _OLD_TRUNK.fullmatch(original):
            names[f"conv_body.{match[1]}"] = original
        elif match := _OLD_LAYER.fullmatch(original):
            names[f"{layers[int(match[1])]}.{match[2]}"] = original
        else:
            names[original] = original
    return names


def _rrdb_layers(shapes: Shapes) -> tuple[str, int, dict[str, int]] | None:
    """Return the class, the scale and the sizes of an RRDBNet; None if its characteristic tensors are missing."""
    first, dense = shapes.get("conv_first.weight", ()), shapes.get("body.0.rdb1.conv1.weight", ())
    if len(first) != 4 or len(dense) != 4:
        return None
    blocks = 1 + max(int(match[1]) for name in shapes if (match := re.match(r"body\.(\d+)\.", name)))
    upconvs = sum(f"conv_up{index}.weight" in shapes for index in range(1, MAX_UPCONVS + 1))
    unshuffle = {RGB: 1, RGB * 4: 2, RGB * 16: 4}.get(first[1])
    if unshuffle is None or blocks > len(shapes) or 2**upconvs < unshuffle:
        return None
    sizes = {"features": first[0], "blocks": blocks, "growth": dense[0], "upconvs": upconvs, "unshuffle": unshuffle}
    return RRDBNET, 2**upconvs // unshuffle, sizes


def _compact_layers(shapes: Shapes) -> tuple[str, int, dict[str, int]] | None:
    """Return the class, the scale and the sizes of an SRVGGNetCompact; None if the tensors are others."""
    numbers = sorted(int(match[1]) for name in shapes if (match := re.fullmatch(r"body\.(\d+)\.bias", name)))
    first = shapes.get("body.0.weight", ())
    last = shapes.get(f"body.{numbers[-1]}.weight", ()) if numbers else ()
    if len(first) != 4 or len(last) != 4 or first[1] != RGB or len(numbers) < 2:
        return None
    scale = math.isqrt(last[0] // RGB)
    return COMPACT, scale, {"features": first[0], "convs": len(numbers), "scale": scale}


def _unsupported_error(path: Path) -> InputFileError:
    content = read_content(path)
    kind = content.file_kind.description if content.file_kind else "an image model" if content.denoiser else None
    return InputFileError(f"Cannot use '{path.name}' as an upscaler: it is {kind or 'another file'}.", _HINT)
