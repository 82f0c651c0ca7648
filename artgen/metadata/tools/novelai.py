"""Read the metadata of NovelAI: the texts Description (prompt), Source (model) and Comment (JSON).

sd-parsers splits the texts. This module adds the prompts of characters, the texts of WebP files, the fields of recent
versions and the weights of the prompt.
"""

from collections.abc import Mapping

from artgen.metadata.external_record import ExternalRecord, describe_all, valid_fields
from artgen.metadata.features import find_features
from artgen.metadata.json_texts import json_object, list_value, object_value, text_value
from artgen.metadata.tools.sd_parsers_reader import parse_with_sd_parsers
from artgen.metadata.tools.weight_conversion import convert_novelai

_FIELDS = {
    "seed": "seed", "steps": "steps", "width": "width", "height": "height", "guidance_scale": "scale",
    "guidance_rescale": "cfg_rescale", "sigmas": "noise_schedule",
}  # fmt: skip
_FEATURES = {
    "sm": "SMEA", "dynamic_thresholding": "dynamic thresholding", "controlnet": "ControlNet", "mask": "mask",
    "reference": "image prompt", "director": "image prompt", "skip_cfg": "sampler options",
    "deliberate_euler": "sampler options", "prefer_brownian": "sampler options",
    "uncond_scale": "sampler options", "lora_unet": "LoRA of NovelAI", "image": "input image",
}  # fmt: skip
_HIDDEN = {
    "prompt", "uc", "negative_prompt", "sampler", "strength", "noise", "v4_prompt", "v4_negative_prompt", "signed_hash",
    "n_samples", "version", "params_version", "legacy", "legacy_v3_extend", "legacy_uc", "add_original_image",
    "request_type", "extra_noise_seed", "uncond_per_vibe", "wonky_vibe_correlation", "hide_debug_overlay",
    "controlnet_strength", "cfg_sched_eligibility", "explike_fine_detail", "minimize_sigma_inf", "stream",
}  # fmt: skip


def read_novelai(texts: Mapping[str, str]) -> ExternalRecord | None:
    """Return the record; None if no text is JSON of NovelAI."""
    name = "Comment" if "Comment" in texts else "UserComment"
    comment = json_object(texts, name)
    source = texts.get("Source", "")
    is_novelai = "NovelAI" in f"{texts.get('Software', '')[:80]} {source[:80]}"
    if "sampler" not in comment or not (is_novelai or "uc" in comment or "v4_prompt" in comment):
        return None
    description = texts.get("Description") or texts.get("ImageDescription") or text_value(comment.get("prompt")) or ""
    parsed = parse_with_sd_parsers(
        "novelai", {"Comment": texts[name], "Description": "-", "Source": source[:200]}, ("Comment",)
    )
    if parsed is None:
        return None
    base, negative = _captions(comment.get("v4_prompt")), _captions(comment.get("v4_negative_prompt"))
    prompt = ", ".join(base) or description
    negative_prompt = ", ".join(negative) or parsed.negative_prompt
    values: dict[str, object] = {field: parsed.values.get(key) for field, key in _FIELDS.items()}
    values |= {"scheduler": parsed.sampler, "model": parsed.model or source[:200] or None}
    values |= {"prompt": convert_novelai(prompt), "negative_prompt": convert_novelai(negative_prompt) or None}
    values |= {"prompt_weights": "a1111", "guidance_rescale": values["guidance_rescale"] or None}
    request = str(comment.get("request_type"))
    if any(word in request for word in ("Img2Img", "Infill", "Inpaint")) or comment.get("strength") not in (None, ""):
        values |= {"task": "inpaint" if "Infill" in request or "mask" in comment else "img2img"}
        values["strength"] = comment.get("strength")
    fields, rejected = valid_fields(values)
    rest = {k: v for k, v in parsed.values.items() if k not in _HIDDEN | {*_FIELDS.values()}}
    features, names = find_features(rest, _FEATURES)
    notes = []
    if prompt != fields["prompt"] or negative_prompt != fields.get("negative_prompt", ""):
        notes.append("The weights of NovelAI in the prompts are converted to the syntax of AUTOMATIC1111.")
    if len(base) > 1:
        notes.append("The prompts of the characters are appended to the prompt; their positions are not used.")
    return ExternalRecord("novelai", fields, (), (), features, describe_all(rest, names) | rejected, tuple(notes))


def _captions(value: object) -> list[str]:
    """Return the caption of the image and the captions of the characters of a prompt of version 4."""
    caption = object_value(object_value(value).get("caption"))
    characters = [object_value(each).get("char_caption") for each in list_value(caption.get("char_captions"))]
    return [text for text in (caption.get("base_caption"), *characters) if isinstance(text, str) and text.strip()]
