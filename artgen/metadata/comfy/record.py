"""Combine the settings, prompts, weights and features of a ComfyUI graph into one record."""

import re
from collections.abc import Mapping, Sequence

from artgen.errors import UsageError
from artgen.metadata.comfy.conditioning import ConditioningReader, EncodedText
from artgen.metadata.comfy.features import input_values, node_features, pass_features, source_features
from artgen.metadata.comfy.graph import Node
from artgen.metadata.comfy.hires import read_hires
from artgen.metadata.comfy.nets import read_nets
from artgen.metadata.comfy.node_classes import find_input, is_sampler
from artgen.metadata.comfy.sampling import Pass, count_saved_samplers, read_settings
from artgen.metadata.comfy.walk import Walker
from artgen.metadata.comfy.weights import Chain, clip_skip, find_loras, vae_name, weight_chain
from artgen.metadata.external_record import (
    FIELD_KINDS,
    MAX_VALUE_CHARS,
    ExternalRecord,
    Feature,
    FieldValue,
    RecordedFile,
    valid_fields,
)
from artgen.metadata.features import make_feature
from artgen.spec.lora import LoraSpec
from artgen.spec.prompt_tags import PromptTag, parse_lora_tag, remove_tags

MAX_LISTED = 8
_SIDES = ("positive", "negative")
_EMBEDDING_PATTERN = re.compile(r"embedding:([\w./\\-]{1,200})")
_CHOICE_PATTERN = re.compile(r"\{[^{}|]{0,1000}\|")
_TAG_READERS = re.compile(r"wildcard|power prompt|lora.?tag|prompt.?control|loratext|textlora", re.IGNORECASE)

Texts = Mapping[str, Sequence[EncodedText] | None]


def read_record(walker: Walker, passes: Sequence[Pass], *, is_editor: bool) -> ExternalRecord:
    """Return the record of the first of some passes.

    Args:
        walker: graph.
        passes: samplers of the saved image, the first pass first.
        is_editor: the graph is in the editor format.
    """
    first, last = passes[0], passes[-1]
    node = walker.graph[first.node_id]
    settings = read_settings(walker, first.node_id)
    reader = ConditioningReader(walker)
    texts = {side: _conditioning(walker, reader, node, side) for side in _SIDES}
    model = weight_chain(walker, input_values(walker, node, "model"), "model")
    clip = _clip_chain(walker, texts, model)
    task, features, size = source_features(walker, first)
    values: dict[str, object] = {**settings, **size, "task": task or None, "model": model.name or None}
    values["guidance_rescale"] = _guidance_rescale(walker, model)
    if vae := vae_name(walker, [*last.after.nodes, first.node_id]):
        features.append(make_feature("VAE", vae))
    features += _step_features(values, has_image=bool(task), has_more=len(passes) > 1)
    features += _guidance_features(values, reader.guidance)
    _set_clip_skip(walker, values, clip)
    loras = [*find_loras(walker, model, clip), *_add_prompts(walker, values, texts)]
    if not is_sampler(node):
        values["prompt_weights"] = "none" if "prompt" in values else None
        features.append(make_feature("other generator", node.kind))
    for key in last.after.nodes:
        walker.visit(key)
    if len(model.names) > 1:
        features.append(make_feature("model merge", ", ".join(model.names)[:MAX_VALUE_CHARS]))
    hires = None if task else read_hires(walker, passes, values)
    features += pass_features(walker, passes, model.name) if hires is None else hires
    features += _second_texts(texts)
    features += node_features(walker)
    fields, rejected = valid_fields({name: values[name] for name in FIELD_KINDS if name in values})
    embeddings = _embeddings(fields)
    notes = _notes(walker, fields, texts, is_editor=is_editor)
    merged, nets = _merged(features), read_nets(walker)
    return ExternalRecord("comfyui", fields, tuple(loras), embeddings, merged, rejected, tuple(notes), nets)


def _conditioning(walker: Walker, reader: ConditioningReader, node: Node, side: str) -> list[EncodedText] | None:
    values = input_values(walker, node, side)
    return next((found for value in values if (found := reader.texts(value, side)) is not None), None)


def _clip_chain(walker: Walker, texts: Texts, model: Chain) -> Chain:
    """Return the path from the text encoders to the loader of their weights.

    A node that encodes the prompts and loads the checkpoint is on the path of the model.
    """
    encoders = [walker.graph[text.node] for side in _SIDES for text in texts[side] or () if text.node]
    values = [clip for each in encoders if (clip := find_input(each, "clip")) is not None]
    if values:
        return weight_chain(walker, values[:1], "clip")
    loads_both = any("clip_skip" in walker.graph[key].inputs for key in model.nodes)
    return model if loads_both else Chain()


def _step_features(values: dict[str, object], *, has_image: bool, has_more: bool) -> list[Feature]:
    """Convert the first and the last step of a sampler to the strength, in place, or return them as features."""
    steps, strength = values.get("steps"), values.get("strength")
    start, end = values.pop("first_step", None), values.pop("last_step", None)
    features = []
    if isinstance(steps, int) and isinstance(start, int) and 0 < start < steps:
        if has_image and strength is None:
            strength = values["strength"] = round(1 - start / steps, 4)
        else:
            features.append(make_feature("first step", f"{start} of {steps}"))
    if isinstance(steps, int) and isinstance(end, int) and end < steps and not has_more:
        features.append(make_feature("last step", f"{end} of {steps}"))
    if has_image:
        values.setdefault("strength", 1.0)
    elif isinstance(strength, float) and strength >= 1:
        del values["strength"]
    elif isinstance(strength, float):
        features.append(make_feature("denoise below 1", f"{strength}"))
    return features


def _guidance_features(values: dict[str, object], guidance: float | None) -> list[Feature]:
    """Use the guidance of Flux as `guidance_scale`, as diffusers does. Return classifier-free guidance as a feature."""
    if guidance is None:
        return []
    scale = values.get("guidance_scale")
    values["guidance_scale"] = guidance
    if isinstance(scale, float) and scale != 1:
        return [make_feature("true classifier-free guidance", f"{scale}")]
    return []


def _guidance_rescale(walker: Walker, model: Chain) -> object:
    nodes = [walker.graph[key] for key in model.nodes]
    value = next((node.inputs.get("multiplier") for node in nodes if node.kind == "RescaleCFG"), None)
    return walker.number(value, "multiplier", float)


def _set_clip_skip(walker: Walker, values: dict[str, object], clip: Chain) -> None:
    """Add `clip_skip`. The text encoders of Stable Diffusion XL start with layer -2, which is clip skip 1."""
    skip = clip_skip(walker, clip)
    if skip is not None and any("sdxl" in walker.graph[key].kind.lower() for key in walker.visited):
        skip -= 1
    if skip is not None and skip > 1:
        values["clip_skip"] = skip


def _add_prompts(walker: Walker, values: dict[str, object], texts: Texts) -> list[RecordedFile]:
    """Add the prompts and their syntax to `values`. Return the LoRAs of tags that a node of the graph reads."""
    loras: list[LoraSpec] = []

    def read(tag: PromptTag) -> bool:
        if not tag.is_lora:
            return False
        try:
            loras.append(parse_lora_tag(tag)[0])
        except UsageError:
            return False
        return True

    reads_tags = any(_TAG_READERS.search(walker.graph[key].kind) for key in walker.visited)
    for side, name in zip(_SIDES, ("prompt", "negative_prompt"), strict=True):
        found = texts[side]
        if found is None:
            continue
        parts = dict.fromkeys(text.text for text in found if text.text.strip())
        prompt = ", ".join(parts) if len(parts) > 1 else next(iter(parts), found[0].text if found else "")
        values[name] = remove_tags(prompt, read) if reads_tags else prompt
    if values.get("prompt") is not None:
        values["prompt_weights"] = "a1111" if _uses_a1111_weights(walker) else "comfy"
    return [RecordedFile(lora.name, "", lora.scale, lora.text_scale) for lora in loras]


def _uses_a1111_weights(walker: Walker) -> bool:
    names = ("weight_interpretation", "positive_weight_interpretation", "parser")
    return any(walker.graph[key].inputs.get(name) == "A1111" for key in walker.visited for name in names)


def _second_texts(texts: Texts) -> list[Feature]:
    seconds = [text.second for side in _SIDES for text in texts[side] or () if text.second]
    return [make_feature("text of another encoder", text) for text in dict.fromkeys(seconds)]


def _embeddings(fields: Mapping[str, FieldValue]) -> tuple[RecordedFile, ...]:
    prompts = "\n".join(str(fields.get(name, "")) for name in ("prompt", "negative_prompt"))
    return tuple(RecordedFile(name) for name in dict.fromkeys(_EMBEDDING_PATTERN.findall(prompts)))


def _merged(features: Sequence[Feature]) -> tuple[Feature, ...]:
    """Join the values of features that have the same name."""
    merged: dict[str, Feature] = {}
    for feature in features:
        if (other := merged.get(feature.name)) is not None:
            value = "; ".join(dict.fromkeys(filter(None, (other.value, feature.value))))
            feature = Feature(feature.name, value, other.supported, other.reason or feature.reason)
        merged[feature.name] = feature
    return tuple(merged.values())


def _notes(walker: Walker, fields: Mapping[str, FieldValue], texts: Texts, *, is_editor: bool) -> list[str]:
    prompts = f"{fields.get('prompt', '')}\n{fields.get('negative_prompt', '')}"
    notes = []
    if texts["positive"] is None:
        notes.append("The graph contains no prompt that artgen can read.")
    if walker.unreadable:
        listed = list(walker.unreadable)
        more = f" and {len(listed) - MAX_LISTED} more" if len(listed) > MAX_LISTED else ""
        notes.append(f"Values that these nodes compute are unknown: {', '.join(listed[:MAX_LISTED])}{more}.")
    if walker.changing:
        notes.append(f"These nodes may have changed a text: {', '.join(list(walker.changing)[:MAX_LISTED])}.")
    if walker.remaining_steps < 0:
        notes.append("The graph is too large to follow all of its links.")
    if (samplers := count_saved_samplers(walker)) > 1:
        notes.append(f"The graph saves the images of {samplers} samplers. The record describes one of them.")
    if is_editor and _CHOICE_PATTERN.search(prompts):
        notes.append("The prompt contains choices in braces. The graph does not contain which ones were used.")
    if "guidance_rescale" in fields:
        notes.append(
            "ComfyUI rescales the guidance of the v-prediction, and artgen that of the model's own prediction."
        )
    if "<lora:" in prompts.lower():
        notes.append("ComfyUI does not read the LoRA tags in the prompt: they are text.")
    return notes
