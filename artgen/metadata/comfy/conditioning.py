"""Find the texts of the positive and negative conditioning of a sampler.

Nodes such as `ControlNetApplyAdvanced` have a positive and a negative input and output: the output slot of a link
selects the input that is followed.
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from artgen.metadata.comfy.graph import MAX_DEPTH, Link, Node
from artgen.metadata.comfy.node_classes import find_input, input_names, output_role
from artgen.metadata.comfy.walk import Walker
from artgen.metadata.external_record import coerce

_SIDES = ("positive", "negative")
_CONDITIONING_PATTERN = re.compile(
    r"conditioning(?:_?(?:[0-9]{1,3}|[a-z]|to|from))?|cond_?[0-9]{0,3}|cond_NEW|text_embeds|embeds"
)
_OTHER_PATTERN = re.compile(
    r".*(?:clip|model|vae|image|pixels|mask|latent|samples|control_net|controlnet|vision|style|sigmas|noise|guider|"
    r"sampler|lora|embed_ref|ipadapter).*"
)
"""Inputs that are not conditioning."""
_ENCODER_TEXTS = (
    ("text_g", "text_l"),
    ("t5xxl", "clip_g", "clip_l", "llama"),
    ("bert", "mt5xl"),
)
"""Texts of nodes with one text per encoder. The first text that is not empty is the prompt."""


class EncodedText(NamedTuple):
    """Represent the text of one text encoder node.

    Attributes:
        node: id of the node; empty if the text has no node of its own.
        text: text as the graph stores it.
        second: other text of the node, for another encoder; empty if it equals `text`.
    """

    node: str
    text: str
    second: str = ""


@dataclass
class ConditioningReader:
    """Find texts. `guidance` is the guidance of Flux that the node nearest to the sampler sets."""

    walker: Walker
    guidance: float | None = None
    _found: dict[tuple[Link, str], list[EncodedText] | None] = field(default_factory=dict)

    def texts(self, value: object, side: str, depth: int = 0) -> list[EncodedText] | None:
        """Return the texts of a conditioning, each text encoder node once.

        Args:
            value: link, or a text of a node that encodes its own prompts.
            side: `positive` or `negative`: the input of the sampler.
            depth: number of nodes that were followed.

        Returns:
            An empty list for `ConditioningZeroOut`; None if no text was found.
        """
        value = self.walker.follow(value)
        if isinstance(value, str):
            return [EncodedText("", value)]
        if not isinstance(value, Link) or depth > MAX_DEPTH:
            return None
        key = (value, side)
        if key not in self._found:
            self._found[key] = None  # The value of a cycle.
            self._found[key] = self._texts_of(value, side, depth)
        return self._found[key]

    def _texts_of(self, link: Link, side: str, depth: int) -> list[EncodedText] | None:
        node = self.walker.visit(link.node)
        if self.guidance is None and side == "positive" and "guidance" in node.inputs:
            guidance = self.walker.number(node.inputs["guidance"], "guidance", float)
            self.guidance = float(guidance) if guidance is not None else None
        if "zeroout" in node.kind.lower().replace("_", ""):
            return []
        num_unreadable = len(self.walker.unreadable)
        sources = self._sources(node, link.slot, side)
        if not sources and (found := self._encode(link.node, node, side)) is not None:
            return found
        if not sources and not _has_own_text(node):
            sources = [value for name, value in node.links if not _OTHER_PATTERN.fullmatch(name.lower())]
        texts: dict[EncodedText, None] = {}
        is_known = False
        for source in sources:
            found = self.texts(source, side, depth + 1)
            is_known = is_known or found is not None
            texts |= dict.fromkeys(found or ())
        if not is_known and len(self.walker.unreadable) == num_unreadable:
            self.walker.unreadable[node.kind] = None
        return list(texts) if is_known else None

    def _sources(self, node: Node, slot: int, side: str) -> list[object]:
        """Return the inputs of a node that its output is computed from; an empty list for text encoders."""
        role = output_role(node, slot)
        has = {name: find_input(node, name) is not None for name in _SIDES}
        if role in _SIDES and has[role]:
            return self._side(node, role)
        if all(has.values()):
            position = node.outputs[:slot].count(node.outputs[slot]) if slot < len(node.outputs) else slot
            return self._side(node, _SIDES[position] if position < 2 else side)
        conditionings = [link for name, link in node.links if _CONDITIONING_PATTERN.fullmatch(name)]
        if node.kind == "ConditioningAverage" and len(conditionings) == 2:
            weight = coerce(node.inputs.get("conditioning_to_strength"), float)
            ends = {1.0: "conditioning_to", 0.0: "conditioning_from"}
            return [node.inputs[ends[weight]]] if isinstance(weight, float) and weight in ends else list(conditionings)
        if conditionings:
            return list(conditionings)
        links = [node.inputs[name] for name in input_names(side) if isinstance(node.inputs.get(name), Link)]
        return links[:1] if not _has_own_text(node) else []

    @staticmethod
    def _side(node: Node, side: str) -> list[object]:
        """Return the input of a side, and the input that the node adds to it."""
        first, added = find_input(node, side), node.inputs.get(f"{side}_NEW")
        return [first] if added is None or added == first else [first, added]

    def _encode(self, node_id: str, node: Node, side: str) -> list[EncodedText] | None:
        """Return the text of a text encoder; None if the node has no text."""
        for names in _ENCODER_TEXTS:
            if any(name in node.inputs for name in names):
                texts = [self.walker.text(node.inputs.get(name), side) for name in names]
                known = [text for text in texts if text is not None]
                others = [text for text in known if text.strip()]
                if not known:
                    return None
                main = others[0] if others else known[0]
                second = next((text for text in others if text.strip() != main.strip()), "")
                return [EncodedText(node_id, main, second)]
        sources = [node.inputs[name] for name in input_names("text") if node.inputs.get(name) is not None]
        sources += [
            value
            for name, value in node.inputs.items()
            if re.search(r"text|prompt", name.lower()) and isinstance(value, str | Link) and "file" not in name.lower()
        ]
        sources += [
            value for name, value in node.inputs.items() if name.startswith("widget_") and isinstance(value, str)
        ]
        if not _has_own_text(node):
            own = find_input(node, side)
            sources = [own] if own is not None else []
        for source in sources:
            if (text := self.walker.text(source, side)) is not None:
                return [EncodedText(node_id, text)]
        return None


def _has_own_text(node: Node) -> bool:
    """Return whether a node encodes a text of its own."""
    return any(
        name in input_names("text") or re.search(r"text|prompt|widget_", name.lower())
        for name, value in node.inputs.items()
        if isinstance(value, str | Link) and name not in _SIDES
    )
