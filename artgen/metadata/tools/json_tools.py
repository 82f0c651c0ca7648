"""Read the records of mflux, Easy Diffusion and Draw Things: flat JSON objects. sd-parsers does not read them."""

import re
from collections.abc import Mapping
from pathlib import PureWindowsPath

from artgen.metadata.external_record import ExternalRecord, RecordedFile, coerce, describe_all, valid_fields
from artgen.metadata.features import find_features
from artgen.metadata.json_texts import json_object, list_value, object_value, text_value

_MFLUX_FIELDS = {
    "prompt": "prompt", "negative_prompt": "negative_prompt", "seed": "seed", "steps": "steps", "width": "width",
    "height": "height", "guidance_scale": "guidance", "model": "model",
}  # fmt: skip
_MFLUX_FEATURES = {
    "controlnet": "ControlNet", "masked_image": "mask", "depth_image": "ControlNet", "redux": "image prompt",
    "image_paths": "input image", "original_": "earlier record",
}  # fmt: skip
_MFLUX_HIDDEN = {
    "mflux_version", "lora_paths", "lora_scales", "image_path", "image_strength", "generation_time_seconds",
    "created_at", "precision", "quantize", "base_model", "generation_time",
}  # fmt: skip

_EASY_FIELDS = {
    "prompt": ("prompt", "Prompt"),
    "negative_prompt": ("negative_prompt", "Negative Prompt"),
    "seed": ("seed", "Seed"),
    "model": ("use_stable_diffusion_model", "Stable Diffusion model"),
    "scheduler": ("sampler_name", "Sampler"),
    "width": ("width", "Width"),
    "height": ("height", "Height"),
    "steps": ("num_inference_steps", "Steps"),
    "guidance_scale": ("guidance_scale", "Guidance Scale"),
    "strength": ("prompt_strength", "Prompt Strength"),
}
_EASY_FEATURES = {
    "use_vae_model": "VAE", "vae model": "VAE", "use_controlnet": "ControlNet", "controlnet model": "ControlNet",
    "use_hypernetwork": "hypernetwork", "hypernetwork model": "hypernetwork", "tiling": "seamless tiling",
    "seamless tiling": "seamless tiling", "use_face": "face restoration", "use face": "face restoration",
    "use_upscale": "upscaling", "use upscaling": "upscaling", "control_filter": "ControlNet",
}  # fmt: skip
_EASY_LORAS = (("use_lora_model", "LoRA model"), ("lora_alpha", "LoRA Strength"))
_EASY_EMBEDDINGS = ("use_embeddings_model", "Embedding models")
_EASY_CLIP_SKIP = ("clip_skip", "Clip Skip")
_EASY_LINE = re.compile(r"^([A-Z][A-Za-z ]{1,40}): (.*)$")

_DRAW_FIELDS = {
    "prompt": "c", "negative_prompt": "uc", "seed": "seed", "steps": "steps", "guidance_scale": "scale",
    "scheduler": "sampler", "model": "model",
}  # fmt: skip
_DRAW_FEATURES = {
    "control": "ControlNet", "mask_blur": "mask", "upscaler": "upscaling", "refiner": "refiner",
    "hires_fix": "hires fix", "face_restoration": "face restoration",
}  # fmt: skip


def read_mflux(texts: Mapping[str, str]) -> ExternalRecord | None:
    """Return the record; None if no text is JSON of mflux."""
    data = json_object(texts, "UserComment", "json", "comment")
    if "mflux_version" not in data:
        return None
    values: dict[str, object] = {field: data.get(name) for field, name in _MFLUX_FIELDS.items()}
    values["prompt_weights"] = "none"
    kept = coerce(data.get("image_strength"), float)
    if data.get("image_path") or isinstance(kept, float):
        values["task"] = "inpaint" if data.get("masked_image_path") else "img2img"
        values["strength"] = round(1 - kept, 6) if isinstance(kept, float) else None  # mflux: 1 keeps the image
    fields, rejected = valid_fields(values)
    scales = list_value(data.get("lora_scales"))
    loras = []
    for index, path in enumerate(list_value(data.get("lora_paths"))):
        scale = coerce(scales[index], float) if index < len(scales) else None
        loras.append(RecordedFile(_file_name(path), "", 1.0 if scale is None else float(scale)))
    rest = {k: v for k, v in data.items() if k not in _MFLUX_HIDDEN | {*_MFLUX_FIELDS.values()} and v is not None}
    features, names = find_features(rest, _MFLUX_FEATURES)
    return ExternalRecord("mflux", fields, tuple(loras), (), features, describe_all(rest, names) | rejected)


def read_easydiffusion(texts: Mapping[str, str]) -> ExternalRecord | None:
    """Return the record; None if the texts are not of Easy Diffusion.

    Its values are PNG texts with one keyword each, JSON, or the lines `Name: value` of a text file.
    """
    lines = (_EASY_LINE.match(line) for line in texts.get("text", "")[:100_000].splitlines())
    candidates = (texts, json_object(texts, "UserComment", "json"), {line[1]: line[2] for line in lines if line})
    data: Mapping[str, object] = next(
        (each for each in candidates if any(name in each for name in _EASY_FIELDS["model"])), {}
    )
    if not data or not any(name in data for name in _EASY_FIELDS["prompt"]):
        return None
    values: dict[str, object] = {field: _first(data, names) for field, names in _EASY_FIELDS.items()}
    values["model"] = _file_name(values["model"]) or None
    values["clip_skip"] = 2 if str(_first(data, _EASY_CLIP_SKIP)).lower() == "true" else None
    values["prompt_weights"] = "a1111"
    if values["strength"] is not None:
        values["task"] = "inpaint" if _first(data, ("mask", "Mask")) is not None else "img2img"
    fields, rejected = valid_fields(values)
    names_and_scales = [list_value(_first(data, names)) for names in _EASY_LORAS]
    scales = [coerce(scale, float) for scale in names_and_scales[1] or [_first(data, _EASY_LORAS[1])]]
    loras = [
        RecordedFile(
            _file_name(name), "", 1.0 if index >= len(scales) or scales[index] is None else float(scales[index] or 0)
        )
        for index, name in enumerate(names_and_scales[0])
        if _file_name(name) != "None"
    ]
    embeddings = [
        RecordedFile(PureWindowsPath(_file_name(path)).stem)
        for path in list_value(_first(data, _EASY_EMBEDDINGS))
        if _file_name(path) != "None"
    ]
    used = {
        name for names in (*_EASY_FIELDS.values(), *_EASY_LORAS, _EASY_EMBEDDINGS, _EASY_CLIP_SKIP) for name in names
    }
    rest = {name: value for name, value in data.items() if name not in used and not name.startswith("xmp:")}
    features, names = find_features(rest, _EASY_FEATURES)
    other = {} if data is texts else describe_all(rest, names)
    return ExternalRecord("easydiffusion", fields, tuple(loras), tuple(embeddings), features, other | rejected)


def read_drawthings(texts: Mapping[str, str]) -> ExternalRecord | None:
    """Return the record; None if no text is JSON of Draw Things (XMP `exif:UserComment`)."""
    data = json_object(texts, "xmp:UserComment", "UserComment")
    if not {"c", "uc"} & data.keys() or not {"sampler", "model", "v2"} & data.keys():
        return None
    values: dict[str, object] = {field: data.get(name) for field, name in _DRAW_FIELDS.items()}
    if size := re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", str(data.get("size"))[:32]):
        values["width"], values["height"] = size[1], size[2]
    config = object_value(data.get("v2"))
    skip = coerce(data.get("clip_skip", config.get("clipSkip")), int)
    values |= {"clip_skip": skip, "prompt_weights": "a1111", "negative_prompt": values["negative_prompt"] or None}
    strength = coerce(data.get("strength"), float)
    if isinstance(strength, float) and strength < 1:
        values |= {"task": "img2img", "strength": strength}
    fields, rejected = valid_fields(values)
    loras = []
    for entry in map(object_value, list_value(data.get("lora") or config.get("loras"))):
        scale = coerce(entry.get("weight"), float)
        name = _file_name(entry.get("model") or entry.get("file"))
        if name:
            loras.append(RecordedFile(name, "", 1.0 if scale is None else float(scale)))
    hidden = {*_DRAW_FIELDS.values(), "size", "strength", "clip_skip", "lora", "v2", "profile"}
    rest = {name: value for name, value in data.items() if name not in hidden}
    features, names = find_features(rest, _DRAW_FEATURES)
    features = tuple(feature for feature in features if feature.name != "mask" or "task" in fields)
    return ExternalRecord("drawthings", fields, tuple(loras), (), features, describe_all(rest, names) | rejected)


def _first(data: Mapping[str, object], names: tuple[str, ...]) -> object:
    """Return the value of the first name that is present; None for empty values and the text None."""
    value = next((data[name] for name in names if name in data), None)
    return None if value in ("", "None") else value


def _file_name(path: object) -> str:
    return PureWindowsPath(text_value(path) or "").name
