"""Read the JSON of Fooocus. The module `a1111` reads the text of its scheme `a1111`.

sd-parsers reads only complete records of recent versions, and neither LoRAs nor the resolved styles; this module reads
them.
"""

import re
from collections.abc import Mapping

from artgen.metadata.external_record import ExternalRecord, RecordedFile, coerce, describe_all, valid_fields
from artgen.metadata.features import find_features
from artgen.metadata.json_texts import json_object, list_value, text_value

_FIELDS = {
    "seed": "seed", "steps": "steps", "guidance_scale": "guidance_scale", "scheduler": "sampler", "sigmas": "scheduler",
    "model": "base_model", "model_hash": "base_model_hash", "clip_skip": "clip_skip",
}  # fmt: skip
_FEATURES = {
    "refiner": "refiner", "vae": "VAE", "sharpness": "Fooocus sharpness and ADM guidance",
    "adm_guidance": "Fooocus sharpness and ADM guidance", "adaptive_cfg": "CFG mimicking", "freeu": "FreeU",
    "inpaint": "mask", "image_prompt": "image prompt", "overwrite_switch": "refiner",
}  # fmt: skip
_HIDDEN = {
    "prompt", "negative_prompt", "full_prompt", "full_negative_prompt", "styles", "performance", "version",
    "metadata_scheme", "resolution", "loras", "prompt_expansion", "created_by", "width", "height", "real_prompt",
    "real_negative_prompt",
}  # fmt: skip


def read_fooocus(texts: Mapping[str, str]) -> ExternalRecord | None:
    """Return the record; None if no text is JSON of Fooocus."""
    data = json_object(texts, "parameters", "UserComment", "comment", "Comment", "json")
    if not ({"base_model", "sampler"} <= data.keys() or str(data.get("version", "")).startswith("Fooocus")):
        return None
    values: dict[str, object] = {field: data.get(name) for field, name in _FIELDS.items()}
    values["prompt"] = _joined(data.get("full_prompt", data.get("real_prompt"))) or text_value(data.get("prompt"))
    negative = _joined(data.get("full_negative_prompt", data.get("real_negative_prompt")))
    values["negative_prompt"] = negative or text_value(data.get("negative_prompt")) or None
    values["width"], values["height"] = data.get("width"), data.get("height")
    size = re.search(r"([0-9]{1,6})\D{1,5}([0-9]{1,6})", str(data.get("resolution"))[:64])
    if size:
        values["width"], values["height"] = size[1], size[2]
    values["prompt_weights"] = "a1111"
    fields, rejected = valid_fields(values)
    rest = {name: value for name, value in data.items() if name not in _HIDDEN | {*_FIELDS.values()}}
    loras, lora_names = _loras(data)
    features, names = find_features(rest, _FEATURES)
    notes: tuple[str, ...] = ()
    if data.get("styles") not in (None, "", "[]", []) and "full_prompt" in data:
        notes = (f"The styles {data['styles']} of Fooocus are part of the prompt.",)
    other = describe_all(rest, names | lora_names) | rejected
    return ExternalRecord("fooocus", fields, loras, (), features, other, notes)


def _joined(value: object) -> str:
    """Join the texts of a resolved prompt, one for each style."""
    if isinstance(value, list):
        return ", ".join(part for part in value if isinstance(part, str) and part.strip())
    return value if isinstance(value, str) else ""


def _loras(data: Mapping[str, object]) -> tuple[tuple[RecordedFile, ...], set[str]]:
    """Read `loras`, a list of [name, scale, hash], else `lora_combined_1`: "name : scale"."""
    loras = []
    for entry in list_value(data.get("loras")):
        if isinstance(entry, list) and len(entry) >= 2 and isinstance(entry[0], str):
            scale = coerce(entry[1], float)
            digest = entry[2] if len(entry) > 2 and isinstance(entry[2], str) else ""
            loras.append(RecordedFile(entry[0], digest, 1.0 if scale is None else float(scale)))
    names = {name for name in data if re.match(r"lora_combined_|LoRA ", name)}
    if not loras:
        for name in sorted(names):
            parts = str(data[name]).split(" : ")
            scale = coerce(parts[-1], float)
            if len(parts) >= 2 and scale is not None and parts[-2] != "None" and parts[0] != "False":
                loras.append(RecordedFile(parts[-2], "", float(scale)))
    return tuple(loras), names
