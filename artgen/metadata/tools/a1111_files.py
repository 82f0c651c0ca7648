"""Read the LoRAs, LyCORIS files, hypernetworks and embeddings of A1111 text."""

import re
from collections.abc import Iterable, Mapping

from artgen.errors import UsageError
from artgen.metadata.external_record import Feature, RecordedFile, coerce
from artgen.metadata.features import make_feature
from artgen.metadata.json_texts import json_object, object_value, text_value
from artgen.spec.prompt_tags import HYPERNETWORK_KINDS, PromptTag, parse_lora_tag, remove_tags
from artgen.system.external_data import parse_json

MAX_EMBEDDINGS = 100
"""Number of embeddings whose names are searched in the prompts."""

_ADDNET_PATTERN = re.compile(r"(.*?)\(([0-9a-fA-F]{8,64})\)")
_DIGEST_PATTERN = re.compile(r"[0-9a-fA-F]{8,64}")


def read_loras(prompt: str, lowered: Mapping[str, str]) -> tuple[tuple[RecordedFile, ...], str, tuple[Feature, ...]]:
    """Return the LoRAs, the prompt without their tags, and features.

    Args:
        prompt: prompt with tags.
        lowered: parameters; the keys are in lower case.
    """
    digests = _digests_of(lowered, "lora:") | _named_digests(lowered.get("lora hashes", ""))
    loras: list[RecordedFile] = []
    features: list[Feature] = []

    def read(tag: PromptTag) -> bool:
        if tag.kind in HYPERNETWORK_KINDS:
            features.append(make_feature("hypernetwork", tag.arguments))
        elif tag.is_lora:
            try:
                lora, notes = parse_lora_tag(tag)
            except UsageError:
                features.append(make_feature("LoRA tag", f"<{tag.kind}:{tag.arguments}>"))
                return True
            features.extend(make_feature("LoRA options", note.rstrip(".")) for note in notes if "no effect" in note)
            loras.append(RecordedFile(lora.name, digests.get(lora.name, ""), lora.scale, lora.text_scale))
        return tag.is_lora or tag.kind in HYPERNETWORK_KINDS

    prompt = remove_tags(prompt, read)
    known = {lora.name.lower() for lora in loras}
    more = [*_fooocus_loras(lowered, digests), *_addnet_loras(lowered), *_civitai_loras(lowered)]
    loras += [lora for lora in more if lora.name.lower() not in known]
    known = {lora.name.lower() for lora in loras}
    untagged = [f"{name}: {digest}" for name, digest in digests.items() if name.lower() not in known]
    if untagged:
        features.append(make_feature("LoRA without a tag", ", ".join(untagged)))
    return tuple(loras), prompt, tuple(features)


def _named_digests(text: str) -> dict[str, str]:
    """Read `name: 0123456789ab, name: ...`."""
    parts = (part.rpartition(":") for part in text.split(","))
    return {name.strip(): value.strip().lower() for name, _, value in parts if _DIGEST_PATTERN.fullmatch(value.strip())}


def _digests_of(lowered: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Read the hashes with a prefix of the JSON of `Hashes`."""
    return {
        name.removeprefix(prefix).strip(): digest.lower()
        for name, digest in json_object(lowered, "hashes").items()
        if name.startswith(prefix) and isinstance(digest, str) and _DIGEST_PATTERN.fullmatch(digest)
    }


def _fooocus_loras(lowered: Mapping[str, str], digests: Mapping[str, str]) -> Iterable[RecordedFile]:
    for part in lowered.get("lora weights", "").split(","):
        name, _, scale = part.rpartition(":")
        number = coerce(scale, float)
        if name.strip() and isinstance(number, float):
            yield RecordedFile(name.strip(), digests.get(name.strip(), ""), number)


def _addnet_loras(lowered: Mapping[str, str]) -> Iterable[RecordedFile]:
    """Read the LoRAs of the extension Additional Networks: `AddNet Model 1: name(hash)`."""
    for number in range(1, 6):
        match = _ADDNET_PATTERN.fullmatch(lowered.get(f"addnet model {number}", "")[:300])
        if not match:
            continue
        both = lowered.get(f"addnet weight {number}", "1")
        scale, text_scale = (coerce(lowered.get(f"addnet weight {side} {number}", both), float) for side in "ab")
        if isinstance(scale, float) and isinstance(text_scale, float):
            yield RecordedFile(match[1], match[2].lower(), scale, None if text_scale == scale else text_scale)


def _civitai_loras(lowered: Mapping[str, str]) -> Iterable[RecordedFile]:
    """Read the LoRAs of `Civitai resources`, which have the number of a model version instead of a hash."""
    try:
        resources = parse_json(lowered.get("civitai resources", "[]") or "[]")
    except ValueError:
        return
    for entry in map(object_value, resources if isinstance(resources, list) else ()):
        if str(entry.get("type")).lower() in ("lora", "lycoris", "locon", "dora"):
            name = text_value(entry.get("modelName")) or f"civitai:{entry.get('modelVersionId')}"
            scale = coerce(entry.get("weight", 1), float)
            yield RecordedFile(name, "", scale if isinstance(scale, float) else 1.0)


def read_embeddings(prompts: str, lowered: Mapping[str, str]) -> tuple[tuple[RecordedFile, ...], tuple[Feature, ...]]:
    """Return the textual inversions of `TI hashes`, `Hashes` and `TI`, and a feature for those without effect.

    Args:
        prompts: both prompts. An embedding whose name is in neither is not returned.
        lowered: parameters; the keys are in lower case.
    """
    digests = _digests_of(lowered, "embed:") | _named_digests(lowered.get("ti hashes", ""))
    listed = (name.strip() for name in lowered.get("ti", "").split(","))
    names = list(dict.fromkeys([*digests, *filter(None, listed)]))[:MAX_EMBEDDINGS]
    prompts = prompts.lower()
    used = [name for name in names if name.lower() in prompts]
    unused = [name for name in names if name.lower() not in prompts]
    features = (make_feature("embedding that no prompt names", ", ".join(unused)),) if unused else ()
    return tuple(RecordedFile(name, digests.get(name, "")) for name in used), features
