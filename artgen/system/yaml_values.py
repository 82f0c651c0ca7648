"""Read YAML in bounded time and memory: text, numbers, true, false, null, lists and mappings.

Scalars follow the core schema of YAML 1.2, so a date or `yes` is text. Other tags are rejected. Each node keeps its
line, and each alias counts as a copy of its nodes. This module imports PyYAML; import it only when it is needed.
"""

import math
import re
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.resolver import BaseResolver

from artgen.system.external_data import MAX_INTEGER_DIGITS, MAX_JSON_DEPTH

MAX_YAML_NODES = 1_000_000
"""Maximum number of values of a document, with the copies of aliases. A node takes 300 bytes."""

_CORE = "tag:yaml.org,2002:"
_SCALARS = {
    "null": re.compile(r"~|null|Null|NULL|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+"),
    "float": re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"),
    "str": re.compile(r".*", re.DOTALL),
}

if yaml.__with_libyaml__:
    from yaml._yaml import CParser as EventParser
else:  # PyYAML was built without libyaml
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class EventParser(Reader, Scanner, Parser):  # type: ignore[no-redef]
        """Parse YAML to events in Python."""

        def __init__(self, stream: str) -> None:
            Reader.__init__(self, stream)
            Scanner.__init__(self)
            Parser.__init__(self)


class YamlError(ValueError):
    """Report invalid YAML: a readable reason without a full stop, and the line, counted from 1 (0: unknown)."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


class _NodeReader(Composer, EventParser, BaseResolver):
    """Compose nodes from events and limit their number and their depth."""

    def __init__(self, text: str) -> None:
        EventParser.__init__(self, text)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._size = 0
        self._depth = 0
        self._anchor_sizes: dict[str, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        line, previous_size = event.start_mark.line + 1, self._size
        is_alias = isinstance(event, yaml.AliasEvent)
        if is_alias and event.anchor in self.anchors and event.anchor not in self._anchor_sizes:
            raise YamlError(f"the alias '*{event.anchor}' contains itself", line)
        self._size += 1 + (self._anchor_sizes.get(event.anchor, 0) if is_alias else 0)
        self._depth += 1
        if self._size > MAX_YAML_NODES:
            raise YamlError(f"it has more than {MAX_YAML_NODES:,} values, with the copies of aliases", line)
        if self._depth > MAX_JSON_DEPTH:
            raise YamlError(f"its values are nested deeper than {MAX_JSON_DEPTH} levels", line)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if event.anchor is not None and not is_alias:
            self._anchor_sizes[event.anchor] = self._size - previous_size
        return node


for _name, _pattern in _SCALARS.items():
    _NodeReader.add_implicit_resolver(_CORE + _name, re.compile(f"(?:{_pattern.pattern})\\Z"), None)


def compose(text: str) -> yaml.Node | None:
    """Return the root node of a YAML text; None if the text is empty.

    Raises:
        YamlError: the text is not one YAML document, or exceeds a limit.
    """
    try:
        node: yaml.Node | None = _NodeReader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise YamlError(str(error.problem), error.problem_mark.line + 1 if error.problem_mark else 0) from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        position = getattr(error, "position", 0)
        raise YamlError(f"{getattr(error, 'reason', error)}", text.count("\n", 0, position) + 1) from None
    return node


def line_of(node: yaml.Node) -> int:
    """Return the line of a node, counted from 1."""
    return int(node.start_mark.line) + 1


def to_value(node: yaml.Node, depth: int = 0, *, as_text: bool = False) -> Any:
    """Return the value of a node.

    Args:
        node: node of `compose`.
        depth: nesting of the node.
        as_text: return numbers, true and false, also in keys, as they are written: `007` is text.

    Raises:
        YamlError: a tag is not supported, a key occurs twice or is not text, or a number has too many digits.
    """
    tag = node.tag.removeprefix(_CORE)
    if depth > MAX_JSON_DEPTH:
        raise YamlError(f"its values are nested deeper than {MAX_JSON_DEPTH} levels", line_of(node))
    if isinstance(node, yaml.SequenceNode) and tag == "seq":
        return [to_value(item, depth + 1, as_text=as_text) for item in node.value]
    if isinstance(node, yaml.MappingNode) and tag == "map":
        return _to_mapping(node, depth + 1, as_text)
    if not isinstance(node, yaml.ScalarNode) or tag not in _SCALARS:
        raise YamlError(f"the tag '{node.tag.replace(_CORE, '!!')}' is not supported", line_of(node))
    if not _SCALARS[tag].fullmatch(node.value):
        raise YamlError(f"{node.value!r} does not have the type of the tag '!!{tag}'", line_of(node))
    return node.value if as_text and tag != "null" else _to_scalar(node, tag)


def _to_scalar(node: yaml.ScalarNode, tag: str) -> Any:
    text = node.value
    if tag == "int":
        if len(text) > MAX_INTEGER_DIGITS:
            raise YamlError(f"a number has {len(text)} digits (at most {MAX_INTEGER_DIGITS})", line_of(node))
        return int(text)
    if tag == "float":
        if not math.isfinite(number := float(text)):
            raise YamlError(f"{text[:MAX_INTEGER_DIGITS]} is not a finite number", line_of(node))
        return number
    return {"null": None, "bool": text.lower() == "true"}.get(tag, text)


def _to_mapping(node: yaml.MappingNode, depth: int, as_text: bool) -> dict[str, Any]:
    own: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = to_value(key_node, depth, as_text=as_text)
        value = to_value(value_node, depth, as_text=as_text)
        if not isinstance(key, str):
            raise YamlError(f"the key {key!r} is not text", line_of(key_node))
        if key in own:
            raise YamlError(f"the key {key!r} occurs twice", line_of(key_node))
        if key == "<<" and not key_node.style:  # merge keys: the first mapping has priority
            parts = value if isinstance(value, list) else [value]
            if not all(isinstance(part, dict) for part in parts):
                raise YamlError("the key '<<' does not contain a mapping", line_of(key_node))
            for part in reversed(parts):
                merged |= part
        else:
            own[key] = value
    return merged | own
