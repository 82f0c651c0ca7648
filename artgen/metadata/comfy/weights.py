"""Find the checkpoint, the LoRAs and the layers of the text encoder that a ComfyUI graph uses."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from artgen.metadata.comfy.graph import Link, Node
from artgen.metadata.comfy.node_classes import find_input, input_names, pipe_links
from artgen.metadata.comfy.walk import Walker
from artgen.metadata.external_record import RecordedFile, coerce

_NAME_INPUTS = {
    "model": ("ckpt_name", "base_ckpt_name", "unet_name", "gguf_name", "model_name", "model_path", "checkpoint",
              "widget_0"),
    "clip": ("clip_name", "clip_name1", "ckpt_name", "base_ckpt_name", "widget_0"),
    "vae": ("vae_name", "ckpt_name"),
}  # fmt: skip
_LORA_NAME = re.compile(r"lora_name|lora_?0*([0-9]{1,3})|lora_name_?([0-9]{1,3})|lora_([0-9]{1,3})_name")
_MODEL_SCALES = ("strength_model", "lora_model_strength", "model_strength", "strength", "lora_strength", "weight")
_TEXT_SCALES = ("strength_clip", "lora_clip_strength", "clip_strength")
_NO_FILES = ("", "none", "baked vae", "default")
_OTHER_MODELS = r"style|upscale|clip|refiner|vision|sam|bbox|segm|control"
MAX_LORAS = 200


@dataclass(frozen=True)
class Chain:
    """Represent the nodes between a sampler or an encoder and the loader of its weights.

    Attributes:
        nodes: ids of the nodes, the loader last.
        names: file names of the weights; several for a merge of models.
    """

    nodes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the first file name; empty if it is unknown."""
        return next(iter(self.names), "")


def weight_chain(walker: Walker, values: Iterable[object], role: str) -> Chain:
    """Follow the model, the CLIP or the VAE of a node to its loader.

    Args:
        walker: graph.
        values: links, or names of files.
        role: `model`, `clip` or `vae`.
    """
    nodes: dict[str, None] = {}
    names: dict[str, None] = {}
    stack = list(values)[::-1]
    while stack:
        value = walker.follow(stack.pop())
        if isinstance(value, str):
            names[value] = None
        if not isinstance(value, Link) or value.node in nodes:
            continue
        nodes[value.node] = None
        node = walker.visit(value.node)
        name = _file_name(node, role)
        following = [link for key, link in node.links if _is_weight_input(key, role)]
        following = following or ([] if name else pipe_links(node))
        stack += following[::-1]
        if not following and name:
            names[name] = None
    return Chain(tuple(nodes), tuple(names))


def _is_weight_input(name: str, role: str) -> bool:
    if role != "model":
        return name in input_names(role)
    is_model = re.fullmatch(r"model_?[0-9a-z]{0,2}|model_opt(?:ional)?|.*_model", name) is not None
    return name in input_names(role) or (is_model and not re.match(_OTHER_MODELS, name))


def _file_name(node: Node, role: str) -> str:
    for key in _NAME_INPUTS[role]:
        value = node.inputs.get(key)
        if isinstance(value, str) and value.strip().lower() not in _NO_FILES:
            return value
    return ""


def find_loras(walker: Walker, model: Chain, clip: Chain) -> tuple[RecordedFile, ...]:
    """Return the LoRAs of a sampler, in the order in which they are applied.

    A LoRA that is only on the path of the model or only on the path of the text encoder has the scale 0 in the other.
    """
    found = []
    for key in dict.fromkeys([*model.nodes[::-1], *clip.nodes[::-1]]):
        for lora in _loras_of(walker, key, set()):
            text_scale = lora.scale if lora.text_scale is None else lora.text_scale
            text_scale = text_scale if key in clip.nodes or not clip.nodes else 0.0
            scale = lora.scale if key in model.nodes else 0.0
            if scale or text_scale:
                found.append(RecordedFile(lora.name, "", scale, None if text_scale == scale else text_scale))
    return tuple(found[:MAX_LORAS])


def _loras_of(walker: Walker, node_id: str, seen: set[str]) -> Iterator[RecordedFile]:
    """Yield the LoRAs that a node and the stacks connected to it load."""
    if node_id in seen or len(seen) > MAX_LORAS:
        return
    seen.add(node_id)
    node = walker.visit(node_id)
    for name, link in node.links:
        if name.endswith("lora_stack") and isinstance(target := walker.follow(link), Link):
            yield from _loras_of(walker, target.node, seen)
    if node.inputs.get("toggle") in (False, "False"):
        return
    limit = coerce(node.inputs.get("lora_count", node.inputs.get("num_loras")), int)
    for name, value in node.inputs.items():
        match = _LORA_NAME.fullmatch(name.lower())
        number = next((group for group in match.groups() if group), "") if match else ""
        if isinstance(limit, int) and number and int(number) > limit:
            continue
        yield from _lora_of_value(walker, node, value, number if match else None)


def _lora_of_value(walker: Walker, node: Node, value: object, number: str | None) -> Iterator[RecordedFile]:
    """Yield the LoRAs of one input: objects with names and scales, or a file name.

    Args:
        walker: graph.
        node: node of the input.
        value: value of the input.
        number: number in the name of an input that names a LoRA; empty if the name has no number; None for other
            inputs.
    """
    if isinstance(value, list):
        for item in value[:MAX_LORAS]:
            if isinstance(item, dict):
                yield from _lora_of_value(walker, node, item, number)
    elif isinstance(value, dict):
        name = value.get("lora", value.get("name"))
        scale = coerce(value.get("strength"), float)
        text_scale = coerce(value.get("strengthTwo", value.get("clipStrength")), float)
        if isinstance(name, str) and isinstance(scale, float) and value.get("on", value.get("active", True)) is True:
            yield RecordedFile(name, "", scale, text_scale if isinstance(text_scale, float) else None)
    elif number is not None:
        name = walker.number(value, "lora_name", str)
        if isinstance(name, str) and name.strip().lower() not in _NO_FILES:
            if str(node.inputs.get(f"switch_{number}", "On")) != "On":
                return
            yield RecordedFile(name, "", *_scales(walker, node, number))


def _scales(walker: Walker, node: Node, number: str) -> tuple[float, float | None]:
    """Return the scales of the LoRA with a number, for the denoiser and the text encoders."""
    model: tuple[str, ...] = _MODEL_SCALES
    text: tuple[str, ...] = _TEXT_SCALES
    if number:
        text = (
            f"clip_str_{number}",
            f"lora_{number}_clip_strength",
            f"clip_weight_{number}",
            f"strength_clip_{number}",
        )
        model = tuple(name.replace("clip", "model") for name in text)
        both = (f"lora_wt_{number}", f"lora_{number}_strength", f"strength_{number.zfill(2)}", f"strength_{number}")
        is_simple = node.inputs.get("input_mode", node.inputs.get("mode")) == "simple"
        model, text = (both, ()) if is_simple else ((*model, *both), text)
    scales: list[float | None] = []
    for names in (model, text):
        value = next((node.inputs[name] for name in names if node.inputs.get(name) is not None), None)
        scale = walker.number(value, "strength_model", float) if value is not None else None
        scales.append(scale if isinstance(scale, float) else None)
    return 1.0 if scales[0] is None else scales[0], scales[1]


def clip_skip(walker: Walker, clip: Chain) -> int | None:
    """Return the number of A1111's clip skip: 2 for `stop_at_clip_layer` -2. None is the last layer."""
    for key in clip.nodes:
        node = walker.graph[key]
        for name in ("stop_at_clip_layer", "clip_skip", "base_clip_skip"):
            if name in node.inputs:
                layer = walker.number(node.inputs[name], name, int)
                if isinstance(layer, int) and abs(layer) > 1:
                    return abs(layer)
                return None
    return None


def vae_name(walker: Walker, nodes: Iterable[str]) -> str:
    """Return the file name of the VAE of the first of some nodes that has one; empty for the VAE of the checkpoint."""
    for key in nodes:
        value = find_input(walker.graph[key], "vae")
        if value is None:
            continue
        chain = weight_chain(walker, [value], "vae")
        loader = walker.graph[chain.nodes[-1]] if chain.nodes else None
        name = loader.inputs.get("vae_name") if loader else None
        return name if isinstance(name, str) and name.strip().lower() not in _NO_FILES else ""
    return ""
