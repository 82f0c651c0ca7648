"""Read a graph in the format of ComfyUI's editor, the `workflow` of images.

A node has a list of widget values without names, and the links are a separate list. Nodes that exist only in the editor
are removed: `PrimitiveNode`, `Reroute`, `SetNode` and `GetNode`, muted (mode 2) and bypassed (mode 4) nodes, group
nodes and subgraphs. As in ComfyUI, a bypassed node passes the first input that has the type of the output.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from artgen.metadata.comfy.graph import MAX_NODES, Graph, Link, Node
from artgen.metadata.comfy.widgets import widget_inputs
from artgen.metadata.json_texts import object_value

MUTED, BYPASSED = 2, 4
MAX_NESTED_SUBGRAPHS = 8
MAX_SLOTS = 200
"""Limit of the inputs and of the outputs of a node."""
MAX_ITEMS = 100_000
"""Limit of the number of nodes and links that are read."""
_SUBGRAPH_INPUT = "-10"
"""Node id that represents the inputs of a subgraph inside the subgraph; its outputs have the id -20."""
_VIRTUAL_KINDS = frozenset({"primitivenode", "note", "markdownnote", "setnode", "getnode"})


@dataclass
class _Draft:
    """Collect the nodes of all scopes.

    Attributes:
        nodes: nodes with the values of their widgets.
        links: node id -> input name -> output, which `sources` may replace.
        sources: outputs that have no node of their own -> the output or value that replaces them; None: no value.
        setters: name of a `SetNode` -> its output.
        getters: output of a `GetNode` -> the name.
        types: output -> its type.
        broadcasts: inputs of the nodes "Anything Everywhere" and "Prompts Everywhere", which connect an output to the
            inputs without a link.
        open_inputs: node id, name and type of the inputs without a link.
        remaining_items: number of nodes and links that may still be read; each use of a subgraph counts.
    """

    definitions: Mapping[str, dict[str, object]]
    groups: Mapping[str, object]
    nodes: dict[str, Node] = field(default_factory=dict)
    links: dict[str, Mapping[str, Link]] = field(default_factory=dict)
    sources: dict[Link, object] = field(default_factory=dict)
    setters: dict[str, Link] = field(default_factory=dict)
    getters: dict[Link, str] = field(default_factory=dict)
    types: dict[Link, str] = field(default_factory=dict)
    broadcasts: list[tuple[str, Link]] = field(default_factory=list)
    open_inputs: list[tuple[str, str, str]] = field(default_factory=list)
    remaining_items: int = MAX_ITEMS

    def take(self, *items: object) -> bool:
        """Count nodes and links before they are read. Return whether they may be read."""
        self.remaining_items -= sum(len(item) + 1 for item in items if isinstance(item, list | dict))
        return self.remaining_items >= 0 and len(self.nodes) < MAX_NODES


def read_workflow_graph(workflow: object) -> Graph:
    """Read a graph in the editor format. Invalid nodes and links are omitted."""
    if not isinstance(workflow, dict):
        return {}
    inner = workflow.get("workflow")
    if isinstance(inner, dict) and "nodes" not in workflow:
        return read_workflow_graph(inner)
    definitions = object_value(workflow.get("definitions")).get("subgraphs")
    draft = _Draft(
        {str(item.get("id")): item for item in _dicts(definitions)},
        object_value(object_value(workflow.get("extra")).get("groupNodes")),
    )
    _add_scope(draft, workflow, "", 0)
    draft.sources |= {link: draft.setters.get(name) for link, name in draft.getters.items()}
    _connect_broadcasts(draft)
    return {key: _with_links(draft, key, node) for key, node in draft.nodes.items()}


def _add_scope(draft: _Draft, scope: Mapping[str, object], prefix: str, level: int) -> None:
    if not draft.take(scope.get("nodes"), scope.get("links")):
        return
    links = _read_links(scope.get("links"), prefix)
    for item in _dicts(scope.get("nodes")):
        if len(draft.nodes) >= MAX_NODES:
            return
        _add_node(draft, item, links, (prefix, level))


def _add_node(draft: _Draft, item: dict[str, object], links: Mapping[str, Link], place: tuple[str, int]) -> None:
    prefix, level = place
    key, kind = f"{prefix}{item.get('id')}", str(item.get("type", ""))
    slots, outputs = _dicts(item.get("inputs"))[:MAX_SLOTS], _dicts(item.get("outputs"))[:MAX_SLOTS]
    linked = {str(slot.get("name")): links[str(slot["link"])] for slot in slots if str(slot.get("link")) in links}
    if item.get("mode") == MUTED:
        draft.sources |= {Link(key, index): None for index in range(len(outputs) or 1)}
    elif item.get("mode") == BYPASSED:
        passed = _passed(slots, [output.get("type") for output in outputs] or [None], links)
        draft.sources |= {Link(key, index): link for index, link in enumerate(passed)}
    elif kind in draft.definitions and level < MAX_NESTED_SUBGRAPHS:
        _add_subgraph(draft, item, linked, (key, level))
    elif (
        kind.startswith(("workflow/", "workflow>"))
        and level < MAX_NESTED_SUBGRAPHS  # ComfyUI does not nest groups
        and isinstance(draft.groups.get(kind[9:]), dict)
    ):
        _add_group(draft, item, linked, key)
    elif not _add_virtual(draft, item, linked, key):
        names = tuple(str(output.get("name", "")).lower() for output in outputs)
        draft.nodes[key] = Node(kind, widget_inputs(kind, slots, item.get("widgets_values")), names)
        draft.links[key] = linked
        draft.types |= {Link(key, index): str(output.get("type")) for index, output in enumerate(outputs)}
        if kind.startswith(("Anything Everywhere", "Prompts Everywhere")) and not kind.endswith("?"):
            draft.broadcasts += linked.items()
        else:
            free = [slot for slot in slots if slot.get("link") is None and not slot.get("widget")]
            draft.open_inputs += [(key, str(slot.get("name")), str(slot.get("type"))) for slot in free]


def _add_virtual(draft: _Draft, item: dict[str, object], linked: Mapping[str, Link], key: str) -> bool:
    """Register the output of a node that exists only in the editor. Return whether the node is such a node."""
    kind = str(item.get("type", "")).removeprefix("easy ").lower()
    if kind not in _VIRTUAL_KINDS and not kind.startswith("reroute"):
        return False
    values = item.get("widgets_values")
    first = values[0] if isinstance(values, list) and values else None
    output = Link(key, 0)
    if kind == "primitivenode":
        draft.sources[output] = first
    elif kind == "getnode":
        draft.getters[output] = str(first)
    else:
        draft.sources[output] = next(iter(linked.values()), None)
        if kind == "setnode":
            draft.setters[str(first)] = output
    return True


def _passed(slots: list[dict[str, object]], kinds: list[object], links: Mapping[str, Link]) -> list[Link | None]:
    """Return the link that a bypassed node passes to each output: of the same slot or of the first input of its type.

    Args:
        slots: inputs of the node.
        kinds: types of the outputs; None is unknown.
        links: outputs by link id.
    """
    inputs = [(str(slot.get("type")), links.get(str(slot.get("link")))) for slot in slots]
    first: dict[str, Link | None] = {}
    for name, link in inputs:
        if link is not None:
            first.setdefault(name, link)
    passed = []
    for index, kind in enumerate(kinds):
        name, link = inputs[index] if index < len(inputs) else ("", None)
        passed.append(link if link is not None and kind in (None, name) else first.get(str(kind)))
    return passed


def _add_subgraph(draft: _Draft, item: dict[str, object], linked: Mapping[str, Link], place: tuple[str, int]) -> None:
    """Add the nodes of a subgraph. Inside, the node -10 provides the inputs; the node -20 receives the outputs."""
    key, level = place
    definition = draft.definitions[str(item.get("type"))]
    if not draft.take(definition.get("inputs"), definition.get("links"), definition.get("nodes")):
        return
    prefix = f"{key}:"
    widgets = _promoted_widgets(item)
    for index, slot in enumerate(_dicts(definition.get("inputs"))):
        name = str(slot.get("name"))
        draft.sources[Link(prefix + _SUBGRAPH_INPUT, index)] = linked.get(name, widgets.get("-1", {}).get(name))
    for link in _link_entries(definition.get("links")):
        if str(link[3]) == "-20" and isinstance(link[4], int) and link[4] >= 0:
            draft.sources[Link(key, link[4])] = Link(f"{prefix}{link[1]}", _slot(link[2]))
    inner = [_with_widgets(node, widgets.get(str(node.get("id")), {})) for node in _dicts(definition.get("nodes"))]
    _add_scope(draft, {**definition, "nodes": inner}, prefix, level + 1)


def _promoted_widgets(item: dict[str, object]) -> dict[str, dict[str, object]]:
    """Return inner node id -> values of the widgets that a subgraph shows; the id "-1" is an input."""
    values = item.get("widgets_values")
    values = values if isinstance(values, list) else []
    proxies = object_value(item.get("properties")).get("proxyWidgets")
    if isinstance(proxies, list) and proxies:
        names = [(str(pair[0]), str(pair[1])) for pair in proxies if isinstance(pair, list) and len(pair) >= 2]
    else:
        names = [("-1", str(slot.get("name"))) for slot in _dicts(item.get("inputs")) if slot.get("widget")]
    widgets: dict[str, dict[str, object]] = {}
    for (node, name), value in zip(names, values, strict=False):
        if value is not None:
            widgets.setdefault(node, {})[name] = value
    return widgets


def _with_widgets(node: dict[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Return an inner node with the values that the subgraph node has for its widgets."""
    if not changes:
        return node
    values = widget_inputs(str(node.get("type", "")), _dicts(node.get("inputs")), node.get("widgets_values"))
    return {**node, "widgets_values": {**values, **changes}}


def _add_group(draft: _Draft, item: dict[str, object], linked: Mapping[str, Link], key: str) -> None:
    """Add the nodes of a group node, the predecessor of subgraphs. Its links name nodes by their index."""
    definition = object_value(draft.groups.get(str(item.get("type"))[9:]))
    if not draft.take(definition.get("nodes"), definition.get("links"), definition.get("external")):
        return
    nodes = _dicts(definition.get("nodes"))[:MAX_NODES]
    sources = _int_rows(definition.get("links"), 4)
    inner = {(target, slot): (origin, origin_slot) for origin, origin_slot, target, slot in sources}
    used = set(inner.values())
    external = {(index, slot) for index, slot in _int_rows(definition.get("external"), 2)}
    outer = iter(slot for slot in _dicts(item.get("inputs")) if not slot.get("widget"))
    values = item.get("widgets_values")
    remaining = list(values) if isinstance(values, list) else []
    output = 0
    links: dict[str, Link] = {}
    prepared = []
    for index, node in enumerate(nodes):
        slots = [dict(slot) for slot in _dicts(node.get("inputs"))]
        for position, slot in enumerate(slots):
            slot["link"] = f"{index}.{position}"
            if (source := inner.get((index, position))) is not None:
                links[str(slot["link"])] = Link(f"{key}:{source[0]}", source[1])
            elif not slot.get("widget") and (given := linked.get(str(next(outer, {}).get("name")))) is not None:
                links[str(slot["link"])] = given
        own = node.get("widgets_values")
        count = len(own) if isinstance(own, list) else 0
        taken, remaining = remaining[:count], remaining[count:]
        prepared.append({**node, "id": index, "inputs": slots, "widgets_values": taken if len(taken) == count else own})
        for position in range(len(_dicts(node.get("outputs")))):
            if (index, position) not in used or (index, position) in external:
                draft.sources[Link(key, output)] = Link(f"{key}:{index}", position)
                output += 1
    for node in prepared:
        _add_node(draft, node, links, (f"{key}:", MAX_NESTED_SUBGRAPHS))


def _connect_broadcasts(draft: _Draft) -> None:
    """Connect broadcasts to inputs of the same type, and prompts to the inputs `positive` and `negative`."""
    sides = {"+ve": "positive", "-ve": "negative"}
    by_type = {sides.get(name) or draft.types.get(link, ""): link for name, link in draft.broadcasts}
    for key, name, kind in draft.open_inputs:
        link = by_type.get(name if kind == "CONDITIONING" else kind)
        if link is not None and kind not in ("", "*"):
            draft.links[key] = {**draft.links[key], name: link}


def _with_links(draft: _Draft, key: str, node: Node) -> Node:
    """Return a node with its links. An input without a source keeps the value of its widget."""
    resolved = {name: _resolve(draft, link) for name, link in draft.links[key].items()}
    inputs = {**node.inputs, **{name: value for name, value in resolved.items() if value is not None}}
    return Node(node.kind, inputs, node.outputs)


def _resolve(draft: _Draft, link: Link) -> object:
    value: object = link
    seen = set[Link]()
    while isinstance(value, Link) and value in draft.sources:
        if value in seen:
            return None
        seen.add(value)
        value = draft.sources[value]
    return value if not isinstance(value, Link) or value.node in draft.nodes else None


def _read_links(value: object, prefix: str) -> dict[str, Link]:
    """Return link id -> output, from lists and from objects with names."""
    return {str(entry[0]): Link(f"{prefix}{entry[1]}", _slot(entry[2])) for entry in _link_entries(value)}


def _link_entries(value: object) -> Iterable[list[object]]:
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        if isinstance(item, dict):
            yield [item.get(name) for name in names]
        elif isinstance(item, list) and len(item) >= 3:
            yield [*item, None, None]


def _slot(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _dicts(value: object) -> list[dict[str, object]]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, dict)]


def _int_rows(value: object, width: int) -> list[tuple[int, ...]]:
    """Return the first `width` items of each list in a list, if they are whole numbers."""
    rows = [item[:width] for item in value if isinstance(item, list)] if isinstance(value, list) else []
    return [
        tuple(row) for row in rows if len(row) == width and all(isinstance(item, int) and item >= 0 for item in row)
    ]
