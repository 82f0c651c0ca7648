"""Read the metadata of InvokeAI: `invokeai_metadata` (version 3 and later), `sd-metadata` (2) and `Dream` (1).

sd-parsers reads the two older formats. It loses the model names and the LoRAs of the current format, and
refuses records without a scheduler (Flux); this module reads them.
"""

import json
from collections.abc import Mapping

from artgen.metadata.external_record import ExternalRecord, RecordedFile, coerce, describe_all, valid_fields
from artgen.metadata.features import find_features
from artgen.metadata.json_texts import json_object, list_value, object_value, text_value
from artgen.metadata.tools.sd_parsers_reader import parse_with_sd_parsers
from artgen.metadata.tools.weight_conversion import convert_compel

_FIELDS = {
    "seed": "seed", "steps": "steps", "width": "width", "height": "height", "guidance_scale": "cfg_scale",
    "guidance_rescale": "cfg_rescale_multiplier", "scheduler": "scheduler",
}  # fmt: skip
_FEATURES = {
    "controlnets": "ControlNet", "control_layers": "ControlNet", "ipadapters": "IP-Adapter",
    "t2iadapters": "T2I-Adapter", "vae": "VAE", "refiner": "refiner", "hrf": "hires fix", "seamless": "seamless tiling",
    "positive_style": "style prompt", "negative_style": "style prompt", "regions": "regional prompts",
    "canvas_v2": "canvas layers", "ref_images": "image prompt", "esrgan": "upscaling", "upscale": "upscaling",
    "postprocessing": "upscaling and face restoration", "variations": "variation seed",
    "with_variations": "variation seed", "perlin": "Perlin noise", "threshold": "thresholding",
    "init_image": "input image", "init_img": "input image", "mask": "mask", "facetool": "face restoration",
    "hires_fix": "hires fix",
}  # fmt: skip
_DREAM_NAMES = {
    "I": "init_img", "M": "mask", "f": "strength", "v": "variations", "V": "with_variations", "G": "facetool",
    "U": "upscale",
}  # fmt: skip
"""Options of the format `Dream` -> names of the later formats."""
_HIDDEN = {
    "generation_mode", "positive_prompt", "negative_prompt", "model", "loras", "strength", "rand_device", "clip_skip",
    "app_version", "prompt", "type", "sampler", "model_weights", "model_hash", "app_id", "guidance", "image",
    "iterations",
}  # fmt: skip


def read_invokeai(texts: Mapping[str, str]) -> ExternalRecord | None:
    """Return the record; None if no text is metadata of InvokeAI."""
    data = json_object(texts, "invokeai_metadata") or json_object(texts, "json")
    if "positive_prompt" in data or "generation_mode" in data:
        return _read_current(data)
    return _read_older(texts)


def _read_current(data: Mapping[str, object]) -> ExternalRecord:
    values: dict[str, object] = {field: data.get(name) for field, name in _FIELDS.items()}
    values["guidance_rescale"] = values["guidance_rescale"] or None
    if values["guidance_scale"] is None:
        values["guidance_scale"] = data.get("guidance")
    skipped = coerce(data.get("clip_skip"), int)
    values["clip_skip"] = skipped + 1 if isinstance(skipped, int) and skipped else None
    model = object_value(data.get("model"))
    values["model"] = model.get("name") or model.get("model_name") or text_value(data.get("model"))
    mode = str(data.get("generation_mode"))
    if any(word in mode for word in ("inpaint", "outpaint")):
        values["task"] = "inpaint"
    elif "img2img" in mode:
        values["task"] = "img2img"
    values["strength"] = data.get("strength") if "task" in values else None
    notes = _add_prompts(values, data.get("positive_prompt"), data.get("negative_prompt"))
    fields, rejected = valid_fields(values)
    loras = []
    for entry in map(object_value, list_value(data.get("loras"))):
        model = object_value(entry.get("model") or entry.get("lora"))
        name, scale = model.get("name") or model.get("model_name"), coerce(entry.get("weight"), float)
        digest = str(model.get("hash") or "")
        if isinstance(name, str):
            digest = digest.removeprefix("sha256:") if digest.startswith("sha256:") else ""
            loras.append(RecordedFile(name, digest, 1.0 if scale is None else float(scale)))
    return _finish(fields, rejected, data, tuple(loras), notes)


def _read_older(texts: Mapping[str, str]) -> ExternalRecord | None:
    """Read `sd-metadata` and `Dream` with sd-parsers. Negative prompts are in square brackets in both."""
    metadata = json_object(texts, "sd-metadata")
    image = object_value(metadata.get("image"))
    parsed = None
    if image:
        if isinstance(image.get("prompt"), str):
            image["prompt"] = [{"prompt": image["prompt"], "weight": 1}]
        parsed = parse_with_sd_parsers(
            "invokeai", {"sd-metadata": json.dumps(metadata | {"image": image})}, ("sd-metadata",)
        )
    if parsed is None and "Dream" in texts:
        parsed = parse_with_sd_parsers("invokeai", {"Dream": texts["Dream"]}, ())
    if parsed is None:
        return None
    values: dict[str, object] = {field: parsed.values.get(name) for field, name in _FIELDS.items()}
    values |= {"scheduler": parsed.sampler, "model": parsed.model or None, "model_hash": parsed.model_hash[:64] or None}
    strength = parsed.values.get("strength", parsed.values.get("f"))
    if strength is not None and parsed.values.get("type") != "txt2img":
        values |= {"task": "inpaint" if parsed.values.get("type") == "inpaint" else "img2img", "strength": strength}
    notes = _add_prompts(values, parsed.prompt, parsed.negative_prompt)
    fields, rejected = valid_fields(values)
    return _finish(
        fields, rejected, {_DREAM_NAMES.get(key, key): value for key, value in parsed.values.items()}, (), notes
    )


def _add_prompts(values: dict[str, object], prompt: object, negative: object) -> list[str]:
    """Add the prompts with the weights of AUTOMATIC1111. Return notes."""
    texts = {"prompt": text_value(prompt) or "", "negative_prompt": text_value(negative) or ""}
    converted = {name: convert_compel(text) for name, text in texts.items()}
    if None in converted.values():
        values |= {name: text for name, text in texts.items() if text or name == "prompt"} | {"prompt_weights": "none"}
        return ["The prompt has functions of InvokeAI (blend, and, swap), which artgen uses as plain text."]
    values |= {name: text for name, text in converted.items() if text or name == "prompt"} | {"prompt_weights": "a1111"}
    if any(converted[name] != text for name, text in texts.items()):
        return ["The weights of InvokeAI in the prompts are converted to the syntax of AUTOMATIC1111."]
    return []


def _finish(
    fields: Mapping[str, str | int | float],
    rejected: Mapping[str, str],
    data: Mapping[str, object],
    loras: tuple[RecordedFile, ...],
    notes: list[str],
) -> ExternalRecord:
    rest = {name: value for name, value in data.items() if name not in _HIDDEN | {*_FIELDS.values()}}
    features, names = find_features(rest, _FEATURES)
    if "task" in fields:
        features = tuple(feature for feature in features if feature.name not in ("input image", "mask"))
    if data.get("rand_device") not in (None, "cpu"):
        notes.append("The noise was generated on another device than the CPU, so the image will differ.")
    return ExternalRecord(
        "invokeai", fields, loras, (), features, describe_all(rest, names) | dict(rejected), tuple(notes)
    )
