"""Read the JSON of SwarmUI (its documentation: "Image Metadata Format").

sd-parsers does not read this format. The values can be texts, and lists can be texts with commas.
"""

from collections.abc import Mapping

from artgen.metadata.external_record import ExternalRecord, RecordedFile, coerce, describe_all, valid_fields
from artgen.metadata.features import find_features, make_feature
from artgen.metadata.json_texts import json_object, list_value, object_value, text_value

_FIELDS = {
    "prompt": ("prompt",),
    "negative_prompt": ("negativeprompt",),
    "seed": ("seed",),
    "steps": ("steps",),
    "width": ("width",),
    "height": ("height",),
    "scheduler": ("sampler", "comfyuisampler", "autowebuisampler"),
    "sigmas": ("scheduler", "comfyuischeduler"),
    "model": ("model",),
    "strength": ("initimagecreativity",),
}
_FEATURES = {
    "controlnet": "ControlNet", "variationseed": "variation seed", "refiner": "refiner", "seamless": "seamless tiling",
    "freeu": "FreeU", "vae": "VAE", "mask": "mask", "promptimages": "image prompt", "revision": "image prompt",
    "usereferenceonly": "image prompt", "video": "video", "text2video": "video", "ipadapter": "IP-Adapter",
    "useipadapter": "IP-Adapter", "segment": "segment refining", "dynamicthresholding": "dynamic thresholding",
    "samplersigma": "sampler options", "samplerrho": "sampler options", "sigmashift": "sampler options",
    "endstepsearly": "sampler options", "removebackground": "background removal", "negativemodel": "negative model",
    "initimage": "input image", "unsampler": "unsampler",
}  # fmt: skip
_HIDDEN = {
    "swarm_version",
    "images",
    "batchsize",
    "automaticvae",
    "aspectratio",
    "sidelength",
    "cfgscale",
    "fluxguidancescale",
}
_LORA_NAMES = ("loras", "loraweights", "loratencweights", "lorasectionconfinement")


def read_swarmui(texts: Mapping[str, str]) -> ExternalRecord | None:
    """Return the record; None if no text is JSON of SwarmUI."""
    data = json_object(texts, "parameters", "UserComment", "Model", "json")
    params = object_value(data.get("sui_image_params"))
    if not params:
        return None
    values: dict[str, object] = {
        field: next((params[name] for name in names if name in params), None) for field, names in _FIELDS.items()
    }
    values["prompt_weights"] = "comfy"
    flux_guidance = params.get("fluxguidancescale")
    values["guidance_scale"] = params.get("cfgscale") if flux_guidance is None else flux_guidance
    stop = coerce(params.get("clipstopatlayer"), int)
    values["clip_skip"] = -stop if isinstance(stop, int) else None
    if values["strength"] is not None:
        has_mask = any(name.startswith("mask") and name != "maskbehavior" for name in params)
        values["task"] = "inpaint" if has_mask else "img2img"
    fields, rejected = valid_fields(values)
    used = {name for names in _FIELDS.values() for name in names} | {*_LORA_NAMES, "clipstopatlayer"}
    rest = {name: value for name, value in params.items() if name not in used | _HIDDEN}
    features, names = find_features(rest, _FEATURES)
    if "task" in fields:
        features = tuple(feature for feature in features if feature.name not in ("input image", "mask"))
    if "<" in str(fields.get("prompt", "")):
        features += (make_feature("prompt tags", "tags in < > of the prompt"),)
    if flux_guidance is not None and coerce(params.get("cfgscale"), float) not in (None, 1.0):
        features += (make_feature("true classifier-free guidance", params["cfgscale"]),)
    hashes = _hashes(data.get("sui_models"))
    extra = object_value(data.get("sui_extra_data"))
    embeddings = [
        RecordedFile(str(name), hashes.get(str(name), "")) for name in list_value(extra.get("used_embeddings"))
    ]
    return ExternalRecord(
        "swarmui", fields, _loras(params, hashes), tuple(embeddings), features, describe_all(rest, names) | rejected
    )


def _loras(params: Mapping[str, object], hashes: Mapping[str, str]) -> tuple[RecordedFile, ...]:
    weights, text_weights = (list_value(params.get(name)) for name in ("loraweights", "loratencweights"))
    loras = []
    for index, name in enumerate(list_value(params.get("loras"))):
        if not (label := text_value(name)):
            continue
        scale = coerce(weights[index], float) if index < len(weights) else None
        text_scale = coerce(text_weights[index], float) if index < len(text_weights) else None
        digest = hashes.get(label.removesuffix(".safetensors"), "")
        loras.append(RecordedFile(label, digest, 1.0 if scale is None else float(scale), _number(text_scale)))
    return tuple(loras)


def _number(value: object) -> float | None:
    return value if isinstance(value, float) else None


def _hashes(models: object) -> dict[str, str]:
    """Return the AutoV3 hashes by name: SwarmUI hashes the tensors without the header, as AutoV3 does."""
    hashes = {}
    for model in list_value(models):
        name, digest = (text_value(object_value(model).get(key)) for key in ("name", "hash"))
        if name and digest:
            hashes[name.removesuffix(".safetensors")] = digest.removeprefix("0x")[:12]
    return hashes
