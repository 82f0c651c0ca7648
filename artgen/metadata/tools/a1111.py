"""Read A1111 text of any tool that writes it: AUTOMATIC1111, Forge, SD.Next, Fooocus, ComfyUI nodes and artgen."""

import re
from collections.abc import Iterator, Mapping

from artgen.metadata.a1111_text import NEGATIVE_PREFIX, A1111Text, split_a1111
from artgen.metadata.external_record import MAX_VALUE_CHARS, ExternalRecord, Feature, describe_all, valid_fields
from artgen.metadata.features import find_features, make_feature, merge_features
from artgen.metadata.json_texts import is_json
from artgen.metadata.tools.a1111_files import read_embeddings, read_loras
from artgen.metadata.tools.a1111_hires import read_hires
from artgen.metadata.tools.a1111_nets import read_nets
from artgen.spec.sampler_names import automatic_sigmas, split_spacing

_FIELDS = {
    "steps": "steps", "seed": "seed", "cfg scale": "guidance_scale", "distilled cfg scale": "guidance_scale",
    "model": "model", "model hash": "model_hash", "clip skip": "clip_skip", "sampler": "scheduler",
    "denoising strength": "strength", "cfg rescale phi": "guidance_rescale", "cfg rescale": "guidance_rescale",
    "guidance rescale": "guidance_rescale", "schedule type": "sigmas", "scheduler": "sigmas",
    "guidance scale": "guidance_scale",
}  # fmt: skip
_VARIATION_FIELDS = {"variation seed": "variation_seed", "variation seed strength": "variation_strength"}
_PREFIXES = {
    "hires": "hires fix", "first pass size": "hires fix", "controlnet": "ControlNet",
    "variation seed": "variation seed", "seed resize": "seed resize", "refiner": "refiner",
    "face restoration": "face restoration", "hypernet": "hypernetwork",
    "token merging": "token merging", "hypertile": "token merging", "freeu": "FreeU", "adetailer": "ADetailer",
    "ultimate sd": "upscaling", "sd upscale": "upscaling", "postprocess upscale": "upscaling", "script": "script",
    "x type": "script", "rp ": "regional prompts", "regional": "regional prompts",
    "latent couple": "regional prompts", "dynamic thresholding": "dynamic thresholding",
    "mimic": "dynamic thresholding", "sag": "self-attention guidance", "pag": "perturbed-attention guidance",
    "perturbed": "perturbed-attention guidance", "ensd": "sampler options", "eta": "sampler options",
    "sigma": "sampler options", "schedule max": "sampler options", "schedule min": "sampler options",
    "schedule rho": "sampler options", "ngms": "sampler options", "skip early": "sampler options",
    "sgm noise": "sampler options", "discard penultimate": "sampler options", "noise multiplier": "sampler options",
    "extra noise": "sampler options", "downcast": "sampler options", "noise schedule": "sampler options",
    "beta schedule": "sampler options", "unipc": "sampler options", "shift": "sampler options",
    "negative guidance": "sampler options", "vae": "VAE", "module": "text encoder and VAE files",
    "ip-adapter": "IP-Adapter", "ipadapter": "IP-Adapter", "animatediff": "AnimateDiff",
    "tiled diffusion": "tiled diffusion", "emphasis": "emphasis", "old prompt editing": "emphasis",
    "pad conds": "emphasis", "image cfg": "input image", "init image": "input image", "mask": "mask",
    "inpaint": "mask", "conditional mask": "mask", "soft inpainting": "mask",
    "sharpness": "Fooocus sharpness and ADM guidance", "adm guidance": "Fooocus sharpness and ADM guidance",
    "reactor": "face swap", "roop": "face swap", "face swap": "face swap", "cads": "CADS",
    "kohya hrfix": "Kohya hires fix", "loractl": "LoRA schedule", "negpip": "NegPiP", "cutoff": "cutoff",
}  # fmt: skip
_HIDDEN = {
    "version", "tiling", "user", "app", "backend", "lora hashes", "lora weights", "ti hashes", "ti", "hashes", "rng",
    "size", "civitai resources", "civitai metadata", "created date", "raw prompt", "raw negative prompt", "scheduler",
}  # fmt: skip
_TEXT_NAMES = (
    "parameters", "UserComment", "text", "postprocessing", "comment", "Comment", "ImageDescription", "Description",
    "xmp:UserComment", "xmp:description", "XPComment",
)  # fmt: skip
_NO_SAMPLER = ("undefined", "unknown", "default", "none", "")


def parse_a1111(text: str) -> ExternalRecord:
    """Parse A1111 text of any tool. The function raises no errors: text without parameters gives only a prompt.

    LoRAs are removed from the prompt.
    """
    return record_of_text(split_a1111(text))


def read_a1111(texts: Mapping[str, str]) -> ExternalRecord | None:
    """Return the record of the first text with parameters; None if there is none."""
    for name in _TEXT_NAMES:
        if name in texts and not is_json(texts[name]):
            text = texts[name]
            if name == "xmp:description" and texts.get("xmp:CreatorTool") == "Draw Things":
                text = text.replace("\n-", f"\n{NEGATIVE_PREFIX} ", 1)
            split = split_a1111(text)
            if split.has_parameters:
                return record_of_text(split)
    return None


def record_of_text(split: A1111Text) -> ExternalRecord:
    """Return the record of the parts of an A1111 text. LoRAs are removed from the prompt."""
    pairs = dict(split.pairs)
    values: dict[str, object] = {"prompt": split.prompt, "negative_prompt": split.negative_prompt or None}
    lowered = {name.lower(): value for name, value in pairs.items()}
    values |= {field: lowered[name] for name, field in _FIELDS.items() if name in lowered}
    if size := re.fullmatch(r"([0-9]{1,6})\s?[x×]\s?([0-9]{1,6})", lowered.get("size", "")):
        values["width"], values["height"] = size[1], size[2]
    _set_sampler(values)
    variation = {setting: lowered[name] for name, setting in _VARIATION_FIELDS.items() if name in lowered}
    has_variation = len(variation) == len(_VARIATION_FIELDS)
    values |= {**_mask_settings(lowered), **(variation if has_variation else {})}
    if lowered.get("tiling", "").lower() == "true":
        values["seamless"] = "both"
    hidden = _HIDDEN | _FIELDS.keys() | (_VARIATION_FIELDS.keys() if has_variation else set())
    rest = {
        name: value for name, value in pairs.items() if name.lower() not in hidden and not name.startswith("AddNet ")
    }
    features, names = find_features(rest, _PREFIXES)
    tool, rule = _tool_and_rule(lowered)
    values["prompt_weights"] = rule
    features = _set_task(values, lowered, features)
    loras, values["prompt"], more_features = read_loras(str(values["prompt"]), lowered)
    if lowered.get("rng", "CPU").upper() not in ("CPU", ""):
        features += (make_feature("noise source", lowered["rng"]),)
    fields, rejected = valid_fields(values)
    if lowered.get("size") and "width" not in fields:
        rejected["Size"] = lowered["size"]
    other = describe_all(rest, names) | rejected | _hidden_values(pairs)
    embeddings, unused = read_embeddings(f"{split.prompt}\n{split.negative_prompt}", lowered)
    features = merge_features((*features, *more_features, *unused))
    notes = (*_notes(split), *_mask_notes(lowered))
    return ExternalRecord(tool, fields, loras, embeddings, features, other, notes, read_nets(rest))


def _notes(split: A1111Text) -> Iterator[str]:
    if split.has_more:
        yield "The text has several prompts with parameters. The last one is used."
    values: dict[str, set[str]] = {}
    for name, value in split.pairs:
        values.setdefault(name, set()).add(value)
    repeated = [name for name, different in values.items() if len(different) > 1]
    if repeated:
        listed = ", ".join(repeated)[:MAX_VALUE_CHARS]
        yield f"These parameters have several values, of which the last one is used: {listed}."


def _hidden_values(pairs: Mapping[str, str]) -> dict[str, str]:
    """Return values without an effect on the pixels, for `artgen info`."""
    names = ("version", "user", "app", "rng", "lora hashes", "ti hashes", "hashes", "civitai resources")
    return describe_all({name: value for name, value in pairs.items() if name.lower() in names})


def _set_sampler(values: dict[str, object]) -> None:
    """Split the sampler of older files ("DPM++ 2M Karras"), and resolve the schedule "Automatic" of A1111 1.9."""
    sampler = str(values.get("scheduler") or "")
    if sampler.lower() in _NO_SAMPLER:
        values["scheduler"] = None
        sampler = ""
    name, spacing = split_spacing(sampler)
    schedule = str(values.get("sigmas") or "").lower()
    if spacing and schedule in ("", "automatic", spacing):
        values["scheduler"], values["sigmas"] = name, spacing
    elif schedule == "automatic":
        values["sigmas"] = automatic_sigmas(sampler)
    else:
        values["sigmas"] = schedule or None


def _mask_settings(lowered: Mapping[str, str]) -> dict[str, object]:
    """Return the settings of inpainting that have an exact equivalent.

    The mask blur of A1111 also blurs the outside of the mask, and its masked contents `fill`, `latent noise` and
    `latent nothing` change the latents in another way. They have no exact equivalent.
    """
    values: dict[str, object] = {}
    if lowered.get("inpaint area", "").lower() == "only masked":
        values["only_masked"] = lowered.get("masked area padding", "32")
    if lowered.get("masked content", "").lower() == "original":
        values["fill"] = "original"
    return values


def _mask_notes(lowered: Mapping[str, str]) -> Iterator[str]:
    """Yield a note for each setting of inpainting without an exact equivalent."""
    if lowered.get("mask blur", "0") not in ("0", "0.0"):
        yield (
            f"Mask blur {lowered['mask blur'][:MAX_VALUE_CHARS]} has no exact equivalent and is ignored: --feather "
            "blurs only the inside of the mask."
        )
    content = lowered.get("masked content", "original").lower()
    if content != "original":
        yield f"Masked content {content[:MAX_VALUE_CHARS]!r} has no exact equivalent and is ignored. See --fill."


def _set_task(
    values: dict[str, object], lowered: Mapping[str, str], features: tuple[Feature, ...]
) -> tuple[Feature, ...]:
    """Set `task` if the image had an input image. The strength of hires fix is not a strength of img2img."""
    found = {feature.name for feature in features}
    operations = lowered.get("operations", "").lower()
    others = tuple(feature for feature in features if feature.name != "hires fix")
    if "hires fix" in found and (unused := read_hires(values, lowered)) is not None:
        return (*others, *unused)
    if "hires fix" in found or "hires" in operations:
        strength = values.pop("strength", None)
        details = f", denoising strength: {strength}" if strength else ""
        return tuple(
            make_feature("hires fix", feature.value + details) if feature.name == "hires fix" else feature
            for feature in features
        )
    if "mask" in found or "inpaint" in operations:
        values["task"] = "inpaint"
    elif "input image" in found or values.get("strength") is not None or "img2img" in operations:
        values["task"] = "img2img"
    return tuple(feature for feature in features if feature.name not in ("mask", "input image"))


def _tool_and_rule(lowered: Mapping[str, str]) -> tuple[str, str]:
    """Return the tool that wrote the text, and its rule of prompt weights."""
    version, app = lowered.get("version", "").lower(), lowered.get("app", "").lower()
    tool = "a1111"
    if "sd.next" in app or "sd.next" in version:
        tool = "sdnext"
    elif version.startswith("fooocus"):
        tool = "fooocus"
    elif "comfyui" in version:
        return "comfyui", "comfy"
    elif re.match(r"f[0-9]|neo|classic|forge", version):
        tool = "forge"
    if lowered.get("prompt weights", "").lower() == "comfy":  # as artgen writes it
        return tool, "comfy"
    return tool, "none" if lowered.get("emphasis", "").lower() == "none" else "a1111"
