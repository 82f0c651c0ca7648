"""Read record fields from the graphs that ComfyUI embeds in images.

The `prompt` graph maps a node number to its class and inputs; an input is a value or a link [number, slot]. The
`workflow` graph is the format of the editor: nodes with a list of widget values and a separate list of links. The
search starts at the sampler and follows its inputs to the prompts, the size and the checkpoint.
"""

import math
from collections.abc import Iterator, Mapping

from artgen.metadata.external_record import ExternalRecord, valid_fields

_MAX_NODES = 5000
_MAX_DEPTH = 64

_WIDGET_NAMES = {
    "KSampler": ("seed", "", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": ("add_noise", "noise_seed", "", "steps", "cfg", "sampler_name", "scheduler"),
    "CLIPTextEncode": ("text",),
    "EmptyLatentImage": ("width", "height"),
    "CheckpointLoaderSimple": ("ckpt_name",),
}

Node = Mapping[str, object]
Graph = Mapping[str, Node]


def parse_comfy(prompt: object, workflow: object = None) -> ExternalRecord | None:
    """Read a decoded ComfyUI `prompt`, or `workflow` if `prompt` has no sampler.

    Returns:
        The record; None if the graph has no sampler. The function raises no errors.
    """
    for graph in (_prompt_nodes(prompt), _workflow_nodes(workflow)):
        samplers = [
            node for _, node in sorted(graph.items(), key=_node_sort_key) if "ksampler" in _class_type(node).lower()
        ]
        if samplers:
            return ExternalRecord("comfyui", valid_fields(_extract_fields(graph, samplers[0]))[0])
    return None


def _extract_fields(graph: Graph, sampler: Node) -> dict[str, object]:
    inputs = _node_inputs(sampler)
    fields: dict[str, object] = {}
    for field, link in (("prompt", "positive"), ("negative_prompt", "negative")):
        text = _find_input(graph, inputs.get(link), ("text", "text_g", "text_l", "string", "value"), str)
        if text is not None:
            fields[field] = text
    for field, names, kind in (
        ("seed", ("seed", "noise_seed"), int),
        ("steps", ("steps",), int),
        ("guidance_scale", ("cfg",), float),
        ("scheduler", ("sampler_name",), str),
        ("sigmas", ("scheduler",), str),
        ("strength", ("denoise",), float),
    ):
        value = next((inputs[name] for name in names if name in inputs), None)
        if isinstance(value, list):
            value = _find_input(graph, value, (*names, "value", "int", "float"), kind)
        if (typed := _coerce(value, kind)) is not None:
            fields[field] = typed
    if fields.get("strength") == 1.0:
        del fields["strength"]  # txt2img
    for side in ("width", "height"):
        value = _find_input(graph, inputs.get("latent_image"), (side,), int)
        if value is not None:
            fields[side] = value
    model = _find_input(graph, inputs.get("model"), ("ckpt_name", "unet_name"), str)
    if model is not None:
        fields["model"] = model
    return fields


def _find_input(graph: Graph, link: object, names: tuple[str, ...], kind: type) -> object:
    """Follow links from `link`, nearest nodes first, until a node has one of `names` with the right type."""
    frontier, seen = [link], set[str]()
    for _ in range(_MAX_DEPTH):
        following: list[object] = []
        for step in frontier:
            key = str(step[0]) if isinstance(step, list) and len(step) == 2 else None
            if key is None or key in seen or key not in graph:
                continue
            seen.add(key)
            inputs = _node_inputs(graph[key])
            for name in names:
                if (typed := _coerce(inputs.get(name), kind)) is not None:
                    return typed
            following += [value for value in inputs.values() if isinstance(value, list)]
        if not following:
            return None
        frontier = following
    return None


def _coerce(value: object, kind: type) -> object:
    if isinstance(value, bool):
        return None
    if kind is float and isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None
    return value if isinstance(value, kind) else None


def _prompt_nodes(prompt: object) -> dict[str, Node]:
    if not isinstance(prompt, dict) or len(prompt) > _MAX_NODES:
        return {}
    return {str(key): node for key, node in prompt.items() if isinstance(node, dict)}


def _workflow_nodes(workflow: object) -> dict[str, Node]:
    if not isinstance(workflow, dict):
        return {}
    sources = {
        link[0]: [str(link[1]), link[2]]
        for link in _as_list(workflow.get("links"))
        if isinstance(link, list) and len(link) >= 3 and isinstance(link[0], int)
    }
    return dict(_convert_nodes(_as_list(workflow.get("nodes"))[:_MAX_NODES], sources))


def _convert_nodes(nodes: list[object], sources: Mapping[int, list[object]]) -> Iterator[tuple[str, Node]]:
    for node in nodes:
        if not isinstance(node, dict):
            continue
        kind = str(node.get("type", ""))
        inputs: dict[str, object] = dict(
            zip(_WIDGET_NAMES.get(kind, ()), _as_list(node.get("widgets_values")), strict=False)
        )
        for slot in _as_list(node.get("inputs")):
            if isinstance(slot, dict) and isinstance(slot.get("link"), int) and slot["link"] in sources:
                inputs[str(slot.get("name"))] = sources[slot["link"]]
        yield str(node.get("id")), {"class_type": kind, "inputs": inputs}


def _class_type(node: Node) -> str:
    return str(node.get("class_type", ""))


def _node_inputs(node: Node) -> dict[str, object]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _node_sort_key(item: tuple[str, Node]) -> tuple[int, str]:
    return (int(item[0]) if item[0].isascii() and item[0].isdigit() and len(item[0]) < 10 else 10**9), item[0]
