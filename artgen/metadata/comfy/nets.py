"""Read the ControlNets, IP-Adapters and style models (Flux Redux) of a ComfyUI graph."""

import re
from collections.abc import Iterator
from dataclasses import replace

from artgen.metadata.comfy.graph import Link, Node
from artgen.metadata.comfy.walk import Walker
from artgen.metadata.external_record import RecordedNet

_SAME_CONTENT = re.compile(
    r"^(?:image_?(?:scale|resize|pad)|.*(?:imageresize|imagescale|pixelperfect|previewimage|prepimage).*)"
)
"""Nodes that change only the size of an image."""
_NAMES = ("control_net_name", "ipadapter_file", "preset", "style_model_name")
_LOADER_LINKS = ("control_net", "ipadapter", "style_model", "model")
_IMAGES = ("image", "images", "pixels")
MAX_NODES_OF_IMAGE = 20
MAX_NETS = 20


def read_nets(walker: Walker) -> tuple[RecordedNet, ...]:
    """Return the nets of the visited nodes, in the order of the search."""
    nets: list[RecordedNet] = []
    for key in list(walker.visited):
        if len(nets) < MAX_NETS:
            nets += _read_node(walker, walker.graph[key])
    return tuple(nets)


def _read_node(walker: Walker, node: Node) -> Iterator[RecordedNet]:
    kind, links = node.kind.lower().replace(" ", ""), {name for name, _ in node.links}
    if "control_net" in links and "image" in links and "strength" in node.inputs:
        yield _read_control(walker, node)
    elif "ipadapter" in kind and "image" in links and "weight" in node.inputs:
        yield _read_image_prompt(walker, node, node.inputs["image"])
    elif {"style_model", "clip_vision_output"} <= links:
        vision = walker.follow(node.inputs["clip_vision_output"])
        image = walker.graph[vision.node].inputs.get("image") if isinstance(vision, Link) else None
        yield _read_style(walker, node, image)


def _read_control(walker: Walker, node: Node) -> RecordedNet:
    name, union_type = _loaded(walker, node, "control_net")
    image, modules = _image(walker, node.inputs.get("image"))
    notes = ["its mask is ignored"] if isinstance(node.inputs.get("mask_optional"), Link) else []
    notes += _computed(modules) if len(modules) > 1 else []
    found = RecordedNet("control", name, module=modules[0] if modules else "", kind=union_type, image=image)
    return _with_range(walker, node, found, notes, ("strength", "start_percent", "end_percent"))


def _read_image_prompt(walker: Walker, node: Node, source: object) -> RecordedNet:
    name, _ = _loaded(walker, node, "ipadapter")
    image, modules = _image(walker, source)
    notes = _computed(modules)
    weight_type = str(node.inputs.get("weight_type", "linear"))
    if weight_type not in ("linear", "original", "standard"):
        notes.append(f"its weight type {weight_type[:40]!r} has no equivalent")
    if isinstance(node.inputs.get("attn_mask"), Link):
        notes.append("its mask is ignored")
    found = RecordedNet("image_prompt", name, image=image)
    return _with_range(walker, node, found, notes, ("weight", "start_at", "end_at"))


def _read_style(walker: Walker, node: Node, source: object) -> RecordedNet:
    name, _ = _loaded(walker, node, "style_model")
    image, modules = _image(walker, source)
    scale = _number(walker, node, "strength", 1.0)
    notes = _computed(modules)
    if scale != 1:
        strength_type = str(node.inputs.get("strength_type", "multiply"))[:40]
        notes.append(
            f"its strength of the type {strength_type!r} scales the image only, and artgen also scales the prompt"
        )
    return RecordedNet("image_prompt", name, scale=scale, image=image, notes=tuple(notes))


def _with_range(
    walker: Walker, node: Node, net: RecordedNet, notes: list[str], names: tuple[str, str, str]
) -> RecordedNet:
    """Return a net with its notes, and with the scale and the range of steps in the inputs with these names."""
    scale, start, end = (
        _number(walker, node, name, default) for name, default in zip(names, (1.0, 0.0, 1.0), strict=True)
    )
    return replace(net, scale=scale, start=start, end=end, notes=tuple(notes))


def _computed(modules: tuple[str, ...]) -> list[str]:
    """Return a note if nodes of the graph compute an image."""
    return [f"its image is computed by {', '.join(modules)[:80]}"] if modules else []


def _loaded(walker: Walker, node: Node, link_name: str) -> tuple[str, str]:
    """Return the file name or preset of the loader that a node is connected to, and the type of a union net."""
    value: object = node.inputs.get(link_name)
    union_type = ""
    for _ in range(MAX_NODES_OF_IMAGE):
        value = walker.follow(value)
        if not isinstance(value, Link):
            break
        loader = walker.graph[value.node]
        if "union" in loader.kind.lower() and isinstance(loader.inputs.get("type"), str):
            union_type = str(loader.inputs["type"])
        names = [loader.inputs.get(name) for name in _NAMES]
        if found := next((name for name in names if isinstance(name, str)), ""):
            return found, union_type
        value = next((loader.inputs[name] for name in _LOADER_LINKS if isinstance(loader.inputs.get(name), Link)), None)
    return "", union_type


def _image(walker: Walker, value: object) -> tuple[str, tuple[str, ...]]:
    """Return the file name of an image and the classes of the nodes that change its content, the last one first.

    The name is empty if the image is not a file.
    """
    modules: list[str] = []
    for _ in range(MAX_NODES_OF_IMAGE):
        value = walker.follow(value)
        if isinstance(value, str):
            return value, tuple(modules[:-1])
        if not isinstance(value, Link):
            break
        node = walker.graph[value.node]
        if not _SAME_CONTENT.match(node.kind.lower().replace(" ", "")):
            chosen = node.inputs.get("preprocessor")
            modules.append(chosen if isinstance(chosen, str) else node.kind)
        value = next((node.inputs[name] for name in _IMAGES if name in node.inputs), None)
    return "", tuple(modules)


def _number(walker: Walker, node: Node, name: str, default: float) -> float:
    maximum = 10.0 if name in ("strength", "weight") else 1.0
    value = walker.number(node.inputs.get(name, default), name, float)
    return float(value) if isinstance(value, int | float) and 0 <= value <= maximum else default
