"""Define the graph of a ComfyUI image, and read it from the API format.

The API format (`prompt` in images) maps a node id to `class_type` and `inputs`; an input is a value or a link
`[node id, output slot]`. The editor format (`workflow`) is read by `editor.py` into the same type.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

MAX_NODES = 5000
"""Limit of the number of nodes; further nodes are ignored."""
MAX_DEPTH = 150
"""Limit of the length of a path that is followed recursively."""
MAX_TEXT_CHARS = 100_000
"""Limit of a text that is joined from several nodes."""


class Link(NamedTuple):
    """Identify one output of a node."""

    node: str
    slot: int


@dataclass(frozen=True)
class Node:
    """Represent a node.

    Attributes:
        kind: class name of the node.
        inputs: name -> value or `Link`. Links lead to existing nodes.
        outputs: names of the outputs in lower case; empty if they are unknown.
    """

    kind: str
    inputs: Mapping[str, object]
    outputs: tuple[str, ...] = ()

    @property
    def links(self) -> list[tuple[str, Link]]:
        """Return the names and values of the inputs that are links."""
        return [(name, value) for name, value in self.inputs.items() if isinstance(value, Link)]


Graph = Mapping[str, Node]


def read_prompt_graph(prompt: object) -> Graph:
    """Read a graph in the API format, also inside `{"prompt": ...}` and as a list of nodes. Omit invalid nodes."""
    if isinstance(prompt, list):
        prompt = {str(item.get("id", index)): item for index, item in enumerate(prompt) if isinstance(item, dict)}
    if not isinstance(prompt, dict):
        return {}
    inner = prompt.get("prompt")
    if isinstance(inner, dict) and "class_type" not in prompt:
        return read_prompt_graph(inner)
    raw = {
        str(key): item
        for key, item in list(prompt.items())[:MAX_NODES]
        if isinstance(item, dict) and isinstance(item.get("class_type"), str)
    }
    return {key: Node(item["class_type"], _read_inputs(item.get("inputs"), raw)) for key, item in raw.items()}


def with_output_names(graph: Graph, editor_graph: Graph) -> Graph:
    """Add the names of outputs that the editor format of the same graph contains."""
    named = {}
    for key, node in graph.items():
        other = editor_graph.get(key)
        same = other is not None and other.kind == node.kind
        named[key] = replace(node, outputs=other.outputs) if other is not None and same else node
    return named


def sort_key(node_id: str) -> tuple[int, ...]:
    """Return the key that sorts node ids by their numbers, such as "9" < "10" < "57:3"."""
    return tuple(int(part[:9]) for part in re.findall(r"[0-9]+", node_id[:200]))


def _read_inputs(inputs: object, nodes: Mapping[str, object]) -> dict[str, object]:
    if not isinstance(inputs, dict):
        return {}
    return {str(name): _read_value(value, nodes) for name, value in inputs.items()}


def _read_value(value: object, nodes: Mapping[str, object]) -> object:
    """Return a link, or the value. The editor wraps lists that are not links in `{"__value__": LIST}`."""
    if isinstance(value, dict) and value.keys() == {"__value__"}:
        return value["__value__"]
    if not isinstance(value, list) or len(value) != 2:
        return value
    node, slot = value
    if isinstance(slot, bool) or not isinstance(slot, int) or isinstance(node, bool) or not isinstance(node, str | int):
        return value
    return Link(str(node), slot) if str(node) in nodes and slot >= 0 else None
