"""Follow the links of a ComfyUI graph to texts, numbers and nodes."""

import re
from dataclasses import dataclass, field

from artgen.metadata.comfy.graph import MAX_DEPTH, MAX_TEXT_CHARS, Graph, Link, Node
from artgen.metadata.comfy.node_classes import (
    find_input,
    input_names,
    is_sampler,
    is_transparent,
    output_role,
    pipe_links,
    size_text,
)
from artgen.metadata.external_record import FieldValue, coerce

_PART_PATTERN = re.compile(r"(?:text|string|str|prompt|input|value)_?(?:[a-z]|[0-9]{1,2})")
_SWITCH_PATTERN = re.compile(
    r"(?:text|string|prompt|input|value|any|image|conditioning|model|clip)_?0?([0-9]{1,3})", re.I
)
_CONDITIONS = ("switch", "boolean", "cond", "condition", "bool", "ANY", "Input")
_CONDITION_PAIRS = (("on_true", "on_false"), ("tt_value", "ff_value"), ("if_true", "if_false"))
"""Inputs of a node that returns one of them, the input for true first."""
_SWITCH_PAIRS = tuple(
    (f"{name}_a", f"{name}_b") for name in ("text", "conditioning", "image", "latent", "model", "clip", "vae", "input")
)
_CONSTANT_NAMES = ("value", "boolean", "int", "number", "Value", "Number", "widget_0")
_NUMBER_NAMES = ("value", "int", "float", "number", "Value", "Number", "a", "widget_0")
_CHANGING_PATTERN = re.compile(
    r"token|parse|style|wildcardproc|replace|regex|translat|trim|strip|truncat|split|substring|case|caption|llm|gpt|"
    r"enhance|expan"
)
"""Nodes of texts that may return another text than their input."""
_SEPARATOR_NAMES = ("delimiter", "separator", "sep")
MAX_STEPS = 300_000
"""Limit of the number of links that are followed; real graphs need some thousands."""
_OTHER_NAMES = re.compile(
    r"name|mode|type|path|file|format|method|device|image|pixels|model|clip|vae|mask|latent|samples|conditioning|style"
)
"""Inputs that are not texts of prompts."""
_STORED_TEXTS = ("text_0", "text2", "text_1")
"""Inputs of nodes that display a text, with the text that was displayed."""


@dataclass
class Walker:
    """Follow links. `visited` has the nodes on the paths, in the order of the search; their number is bounded.

    Attributes:
        graph: nodes by id.
        visited: ids of the nodes that affect the image.
        unreadable: classes of the nodes whose value is unknown.
        changing: classes of the nodes that may change a text.
        remaining_steps: number of links that may still be followed.
    """

    graph: Graph
    visited: dict[str, None] = field(default_factory=dict)
    unreadable: dict[str, None] = field(default_factory=dict)
    changing: dict[str, None] = field(default_factory=dict)
    remaining_steps: int = MAX_STEPS
    _texts: dict[tuple[Link, str], str | None] = field(default_factory=dict)

    def visit(self, node_id: str) -> Node:
        """Return a node and mark it as visited."""
        self.visited[node_id] = None
        return self.graph[node_id]

    def follow(self, value: object) -> object:
        """Follow nodes that return one of their inputs: reroutes, switches, contexts and pipes.

        Returns:
            A link to another node, a value, or None.
        """
        seen = set[Link]()
        while isinstance(value, Link):
            self.remaining_steps -= 1
            if value in seen or self.remaining_steps < 0:
                return None
            seen.add(value)
            node = self.graph[value.node]
            role = output_role(node, value.slot)
            if is_transparent(node):
                value = node.links[0][1]
            elif (choice := self._switch_choice(node)) is not None:
                value = choice
            elif (piped := self._piped(value.node, role)) is not None:
                value = piped
            else:
                if _is_unknown_switch(node):
                    self.unreadable[node.kind] = None
                return value
        return value

    def _switch_choice(self, node: Node) -> object:
        """Return the input that a switch selects; None for other nodes and if the choice is unknown.

        A switch has a number (`select`, `input`, `index`) and numbered inputs, or a condition with the inputs `on_true`
        and `on_false`. rgthree's "Any Switch" returns its first input that has a value.
        """
        if (pair := _condition_pair(node)) is not None:
            condition = self._constant(next((node.inputs[name] for name in _CONDITIONS if name in node.inputs), None))
            return pair[0 if condition else 1] if isinstance(condition, bool | int) else None
        if "switch" not in node.kind.lower() or not (numbered := _numbered_inputs(node)):
            return None
        for name in ("select", "input", "Input", "index"):
            selected = coerce(self._constant(node.inputs.get(name)), int)
            if isinstance(selected, int) and selected in numbered:
                return numbered[selected]
        return numbered[min(numbered)] if node.kind.startswith("Any Switch") else None

    def _constant(self, value: object) -> object:
        """Return a value, or the value of the primitive that a link leads to; None if a node computes it."""
        for _ in range(MAX_DEPTH):
            if not isinstance(value, Link):
                return value
            link = self._follow_reroutes(value)
            if link is None:
                return None
            inputs = self.graph[link.node].inputs
            value = next((inputs[name] for name in _CONSTANT_NAMES if inputs.get(name) is not None), None)
        return None

    def _piped(self, node_id: str, role: str) -> object:
        """Return the value with a meaning that a context or pipe contains; None if the node is not one."""
        node = self.graph[node_id]
        if not role or not pipe_links(node) or is_sampler(node) or _PIPE_ROLE.fullmatch(role):
            return None
        value = self.attribute(node, role)
        if value is not None:
            self.visit(node_id)
        return value

    def attribute(self, node: Node, role: str) -> object:
        """Return the input of a node with a meaning, or of the node that its pipe or context comes from."""
        seen = set[Link]()
        stack: list[Node] = [node]
        while stack:
            self.remaining_steps -= 1
            node = stack.pop()
            value = find_input(node, role)
            if value is not None or self.remaining_steps < 0:
                return value
            for link in reversed(pipe_links(node)):
                target = self._follow_reroutes(link)
                if target is not None and target not in seen:
                    seen.add(target)
                    stack.append(self.visit(target.node))
        return None

    def _follow_reroutes(self, link: Link) -> Link | None:
        for _ in range(min(len(self.graph), self.remaining_steps)):
            node = self.graph[link.node]
            if not is_transparent(node):
                return link
            self.remaining_steps -= 1
            link = node.links[0][1]
        return None

    def number(self, value: object, role: str, kind: type[FieldValue]) -> FieldValue | None:
        """Return the number, or the name of a choice, that a value or link has; None if it is unknown."""
        kind_of_source = ""
        for _ in range(MAX_DEPTH):
            value = self.follow(value)
            if not isinstance(value, Link):
                break
            node = self.graph[value.node]
            kind_of_source = node.kind
            value = self._number_source(node, value.slot, role, kind)
        number = coerce(value, kind)
        if number is None and kind_of_source:
            self.unreadable[kind_of_source] = None
        return number

    def _number_source(self, node: Node, slot: int, role: str, kind: type[FieldValue]) -> object:
        if (name := output_role(node, slot)) and (value := find_input(node, name)) is not None:
            return value
        sides = ("width", "height")
        if role in sides and slot < 2 and (size := size_text(node)) is not None:
            return size[slot]
        if role in sides and all(find_input(node, side) is not None for side in sides) and slot < 2:
            return find_input(node, sides[slot])
        for name in (*input_names(role), *_NUMBER_NAMES):
            if (value := node.inputs.get(name)) is not None:
                return value
        typed = [value for value in node.inputs.values() if isinstance(value, Link) or coerce(value, kind) is not None]
        return typed[0] if len(typed) == 1 else None

    def text(self, value: object, side: str = "positive", depth: int = 0) -> str | None:
        """Return the text that a value or link has; None if it is unknown.

        Args:
            value: text or link.
            side: `positive` or `negative`, for nodes that return both texts.
            depth: number of nodes that were followed.
        """
        value = self.follow(value)
        if isinstance(value, str):
            return value[:MAX_TEXT_CHARS]
        if not isinstance(value, Link) or depth > MAX_DEPTH:
            return None
        key = (value, side)
        if key not in self._texts:
            self._texts[key] = None  # The value of a cycle.
            self._texts[key] = self._text_of(self.graph[value.node], value.slot, side, depth)
        return self._texts[key]

    def _text_of(self, node: Node, slot: int, side: str, depth: int) -> str | None:
        if "random" in node.kind.lower() and "populated_text" not in node.inputs:
            self.unreadable[node.kind] = None
            return None
        if node.kind == "StringReplace":
            texts = [self.text(node.inputs.get(name), side, depth + 1) for name in ("string", "find", "replace")]
            return _replaced(*texts)
        if _CHANGING_PATTERN.search(node.kind.lower()) and node.inputs.get("action") is None:
            self.changing[node.kind] = None
        parts = [name for name in node.inputs if _PART_PATTERN.fullmatch(name) and node.inputs[name] is not None]
        if len(parts) > 1 and _joins(node):
            return self._joined(node, parts, side, depth)
        for source in _text_sources(node, output_role(node, slot), side):
            if (text := self.text(source, side, depth + 1)) is not None:
                return text
        self.unreadable[node.kind] = None
        return None

    def _joined(self, node: Node, parts: list[str], side: str, depth: int) -> str | None:
        """Join texts. ComfyUI's node joins empty texts too; the nodes of extensions omit them."""
        parts = sorted(parts, key=lambda name: (len(name), name))
        texts = [text for name in parts if (text := self.text(node.inputs[name], side, depth + 1)) is not None]
        if not texts:
            return None
        if node.inputs.get("action") == "replace" and len(texts) >= 2:
            return _replaced(texts[0], texts[1], texts[2] if len(texts) > 2 else "")
        found = next((node.inputs[name] for name in _SEPARATOR_NAMES if name in node.inputs), None)
        separator = self.text(found, side, depth + 1) if found is not None else None
        if (line_break := node.inputs.get("linebreak_addition", separator)) in ("true", "false"):
            separator = "\n" if line_break == "true" else ""  # An older version of the node has no delimiter.
        if separator is None:
            separator = ", " if node.inputs.get("tidy_tags") == "yes" else ""
        if node.kind != "StringConcatenate":
            texts = [text for text in texts if text]
        return separator.replace("\\n", "\n").join(texts)[:MAX_TEXT_CHARS]


def _replaced(text: str | None, old: str | None, new: str | None) -> str | None:
    return text.replace(old, new or "")[:MAX_TEXT_CHARS] if text is not None and old else text


_PIPE_ROLE = re.compile(r".*(?:pipe|ctx|context|tuple)")


def _joins(node: Node) -> bool:
    kind = node.kind.lower()
    return (
        any(name in node.inputs for name in _SEPARATOR_NAMES)
        or re.search(r"concat|join|append|combine|merge|stringfunction", kind) is not None
    )


def _text_sources(node: Node, role: str, side: str) -> list[object]:
    """Return the inputs that may contain the text of an output, in order of priority."""
    sides = ("positive", "negative")
    sources: list[object] = []
    if role in sides or all(find_input(node, name) is not None for name in sides):
        sources.append(find_input(node, role if role in sides else side))
    elif role:
        sources.append(node.inputs.get(role))
    sources += [node.inputs.get(name) for name in (*input_names("text"), *_STORED_TEXTS)]
    sources = [source for source in sources if source is not None]
    if not sources:
        names = [name for name in node.inputs if not _OTHER_NAMES.search(name.lower())]
        others = [node.inputs[name] for name in names if isinstance(node.inputs[name], str | Link)]
        sources = others if len(others) == 1 else []
    return sources


def _is_unknown_switch(node: Node) -> bool:
    """Return whether a node returns one of several inputs, after its choice was not found."""
    return _condition_pair(node) is not None or ("switch" in node.kind.lower() and len(_numbered_inputs(node)) > 1)


def _condition_pair(node: Node) -> tuple[object, object] | None:
    """Return the inputs that a condition selects, the one for true first; None if a node does not have them."""
    names = {name.lower(): name for name in node.inputs}
    pairs = _CONDITION_PAIRS if "switch" not in node.kind.lower() else (*_CONDITION_PAIRS, *_SWITCH_PAIRS)
    pair = next((pair for pair in pairs if names.keys() >= set(pair)), None)
    return None if pair is None else (node.inputs[names[pair[0]]], node.inputs[names[pair[1]]])


def _numbered_inputs(node: Node) -> dict[int, object]:
    return {
        int(match[1]): value
        for name, value in node.inputs.items()
        if value is not None and (match := _SWITCH_PATTERN.fullmatch(name))
    }
