"""Read the kind and the sizes of an adapter from the shapes of its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from artgen.errors import InputFileError, UsageError
from artgen.registry.safetensors_header import read_header, reject_pickle

_NEEDS_FACE_RECOGNITION = "Use a plus-face adapter, such as model=sd15-plus-face or model=sdxl-plus-face."


@dataclass(frozen=True)
class AdapterLayers:
    """Store the sizes of an adapter.

    Attributes:
        reads_hidden_states: whether the adapter reads the hidden states of the image encoder (plus and face adapters),
            not its embedding.
        image_width: width of the hidden states or of the embedding.
        text_width: width of the text embedding of the model.
        num_layers: number of cross-attention layers.
        outputs: output features of the attention layers, in the order of the file.
        is_redux: whether the file is the image embedder of Flux Redux, which adds the image to the text embedding.
    """

    reads_hidden_states: bool
    image_width: int
    text_width: int
    num_layers: int
    outputs: tuple[int, ...]
    is_redux: bool = False


def read_layers(path: Path) -> AdapterLayers:
    """Return the sizes of an adapter.

    Raises:
        RefusedError: the file is a pickle.
        InputFileError: the file is damaged, or is not an IP-Adapter.
        UsageError: the adapter needs a face recognition model, which artgen does not have.
    """
    reject_pickle(path)
    shapes = {name: shape for name, (_, shape) in read_header(path).tensors.items()}
    if redux := _read_redux(shapes):
        return redux
    keys = sorted(name for name in shapes if name.startswith("ip_adapter.") and name.endswith(".to_k_ip.weight"))
    if not keys or not any(name.startswith("image_proj.") for name in shapes):
        raise InputFileError(
            f"Cannot use '{path.name}' as the adapter of an image prompt: it is neither an IP-Adapter nor Flux Redux.",
            "Pass a .safetensors file of h94/IP-Adapter, or omit model=.",
        )
    is_face_id = any("_lora." in name or "perceiver_resampler" in name for name in shapes)
    if is_face_id or ("image_proj.norm.weight" in shapes and "image_proj.proj.0.weight" in shapes):
        raise UsageError(
            f"Cannot use the adapter '{path.name}': Face-ID adapters need insightface, which artgen does not support.",
            _NEEDS_FACE_RECOGNITION,
            settings=("image_prompt",),
        )
    keys.sort(key=lambda name: int(name.split(".")[1]) if name.split(".")[1].isdigit() else 0)
    outputs = tuple(shapes[key][0] for key in keys)
    common = (shapes[keys[0]][1], len(keys), outputs)
    if "image_proj.proj.weight" in shapes:
        return AdapterLayers(False, shapes["image_proj.proj.weight"][1], *common)
    for key, axis in (("image_proj.proj.0.weight", 1), ("image_proj.proj_in.weight", 1)):
        if key in shapes:
            return AdapterLayers(True, shapes[key][axis], *common)
    raise InputFileError(
        f"Cannot use '{path.name}' as the adapter of an image prompt: its projection of the image is unknown.",
        "Pass a .safetensors file of h94/IP-Adapter, or omit model=.",
    )


def _read_redux(shapes: Mapping[str, tuple[int, ...]]) -> AdapterLayers | None:
    """Return the sizes of the image embedder of Flux Redux; None for another file."""
    up, down = shapes.get("redux_up.weight", ()), shapes.get("redux_down.weight", ())
    if len(up) != 2 or len(down) != 2 or up[0] != down[1] or up[0] != 3 * down[0]:
        return None
    return AdapterLayers(True, up[1], down[0], 0, (), is_redux=True)
