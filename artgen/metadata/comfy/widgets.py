"""Name the widget values of a node in the editor format, which stores them as a list without names.

Newer editors list each widget in the inputs of the node. For older files, `_WIDGETS` has the order of the widgets of
ComfyUI's nodes and of common extensions; the order is the order of the inputs in their source.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

_SAMPLING = "steps cfg sampler_name scheduler"
_EASY_LORA = "lora_name lora_model_strength lora_clip_strength"
_EASY_SIZE = "resolution empty_latent_width empty_latent_height"
_EASY_LOADER = f"ckpt_name vae_name clip_skip {_EASY_LORA} {_EASY_SIZE} positive negative batch_size"

_WIDGETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        kind: tuple(names.split())
        for kind, names in {
            "KSampler": f"seed {_SAMPLING} denoise",
            "KSamplerAdvanced": f"add_noise noise_seed {_SAMPLING} start_at_step end_at_step",
            "KSampler (Efficient)": f"seed {_SAMPLING} denoise preview_method vae_decode",
            "KSampler Adv. (Efficient)": f"add_noise noise_seed {_SAMPLING} start_at_step end_at_step",
            "KSampler Config (rgthree)": "steps_total refiner_step cfg sampler_name scheduler",
            "SamplerCustom": "add_noise noise_seed cfg",
            "RandomNoise": "noise_seed",
            "KSamplerSelect": "sampler_name",
            "BasicScheduler": "scheduler steps denoise",
            "KarrasScheduler": "steps sigma_max sigma_min rho",
            "ExponentialScheduler": "steps sigma_max sigma_min",
            "PolyexponentialScheduler": "steps sigma_max sigma_min rho",
            "BetaSamplingScheduler": "steps alpha beta",
            "SDTurboScheduler": "steps denoise",
            "AlignYourStepsScheduler": "model_type steps denoise",
            "GITSScheduler": "coeff steps denoise",
            "LaplaceScheduler": "steps sigma_max sigma_min mu beta",
            "VPScheduler": "steps beta_d beta_min eps_s",
            "OptimalStepsScheduler": "model_type steps denoise",
            "Flux2Scheduler": "steps width height",
            "LTXVScheduler": "steps max_shift base_shift stretch terminal",
            "SplitSigmas": "step",
            "SplitSigmasDenoise": "denoise",
            "CFGGuider": "cfg",
            "DualCFGGuider": "cfg_conds cfg_cond2_negative style",
            "CLIPTextEncode": "text",
            "CLIPTextEncodeSDXL": "width height crop_w crop_h target_width target_height text_g text_l",
            "CLIPTextEncodeSDXLRefiner": "ascore width height text",
            "CLIPTextEncodeFlux": "clip_l t5xxl guidance",
            "CLIPTextEncodeSD3": "clip_l clip_g t5xxl empty_padding",
            "CLIPTextEncodeHunyuanDiT": "bert mt5xl",
            "CLIPTextEncodeHiDream": "clip_l clip_g t5xxl llama",
            "CLIPTextEncodeLumina2": "system_prompt user_prompt",
            "CLIPTextEncodePixArtAlpha": "width height text",
            "CLIPTextEncodeControlnet": "text",
            "TextEncodeQwenImageEdit": "prompt",
            "BNK_CLIPTextEncodeAdvanced": "text token_normalization weight_interpretation",
            "smZ CLIPTextEncode": "text parser",
            "FluxGuidance": "guidance",
            "EmptyLatentImage": "width height batch_size",
            "EmptySD3LatentImage": "width height batch_size",
            "EmptyFlux2LatentImage": "width height batch_size",
            "EmptyHunyuanLatentVideo": "width height length batch_size",
            "SDXL Empty Latent Image (rgthree)": "dimensions clip_scale batch_size",
            "CheckpointLoaderSimple": "ckpt_name",
            "CheckpointLoader": "config_name ckpt_name",
            "unCLIPCheckpointLoader": "ckpt_name",
            "UNETLoader": "unet_name weight_dtype",
            "UnetLoaderGGUF": "unet_name",
            "CLIPLoader": "clip_name type",
            "DualCLIPLoader": "clip_name1 clip_name2 type",
            "TripleCLIPLoader": "clip_name1 clip_name2 clip_name3",
            "VAELoader": "vae_name",
            "LoraLoader": "lora_name strength_model strength_clip",
            "LoraLoaderModelOnly": "lora_name strength_model",
            "Lora Loader Stack (rgthree)": " ".join(f"lora_0{i} strength_0{i}" for i in range(1, 5)),
            "LoRA Stacker": "input_mode lora_count "
            + " ".join(f"lora_name_{i} lora_wt_{i} model_str_{i} clip_str_{i}" for i in range(1, 50)),
            "CR LoRA Stack": " ".join(
                f"switch_{i} lora_name_{i} model_weight_{i} clip_weight_{i}" for i in range(1, 4)
            ),
            "CLIPSetLastLayer": "stop_at_clip_layer",
            "HypernetworkLoader": "hypernetwork_name strength",
            "ModelMergeSimple": "ratio",
            "ModelSamplingDiscrete": "sampling zsnr",
            "ModelSamplingSD3": "shift",
            "ModelSamplingFlux": "max_shift base_shift width height",
            "RescaleCFG": "multiplier",
            "PerturbedAttentionGuidance": "scale",
            "ControlNetLoader": "control_net_name",
            "DiffControlNetLoader": "control_net_name",
            "SetUnionControlNetType": "type",
            "ControlNetApply": "strength",
            "ControlNetApplyAdvanced": "strength start_percent end_percent",
            "ControlNetApplySD3": "strength start_percent end_percent",
            "StyleModelLoader": "style_model_name",
            "StyleModelApply": "strength strength_type",
            "unCLIPConditioning": "strength noise_augmentation",
            "GLIGENTextBoxApply": "text width height x y",
            "ConditioningAverage": "conditioning_to_strength",
            "ConditioningSetTimestepRange": "start end",
            "ConditioningSetArea": "width height x y strength",
            "ConditioningSetAreaPercentage": "width height x y strength",
            "ConditioningSetMask": "strength set_cond_area",
            "LoadImage": "image upload",
            "LoadImageMask": "image channel upload",
            "RepeatLatentBatch": "amount",
            "LatentUpscale": "upscale_method width height crop",
            "LatentUpscaleBy": "upscale_method scale_by",
            "ImageScale": "upscale_method width height crop",
            "ImageScaleBy": "upscale_method scale_by",
            "UpscaleModelLoader": "model_name",
            "VAEEncodeForInpaint": "grow_mask_by",
            "InpaintModelConditioning": "noise_mask",
            "SaveImage": "filename_prefix",
            "ImpactSwitch": "select sel_mode",
            "ImpactConditionalBranch": "cond",
            "ComfySwitchNode": "switch",
            "easy ifElse": "boolean",
            "PrimitiveBoolean": "value",
            "PrimitiveInt": "value",
            "PrimitiveFloat": "value",
            "PrimitiveString": "value",
            "PrimitiveStringMultiline": "value",
            "StringConcatenate": "string_a string_b delimiter",
            "StringReplace": "string find replace",
            "StringTrim": "string mode",
            "RegexReplace": "string regex_pattern replace",
            "CaseConverter": "string mode",
            "JoinStrings": "string1 string2 delimiter",
            "CR Text Concatenate": "text1 text2 separator",
            "Text Multiline": "text",
            "Text Concatenate": "delimiter clean_whitespace",
            "StringFunction|pysssss": "action tidy_tags text_a text_b text_c",
            "ShowText|pysssss": "text_0",
            "Seed (rgthree)": "seed",
            "Power Prompt (rgthree)": "prompt",
            "easy seed": "seed",
            "easy positive": "positive",
            "easy negative": "negative",
            "easy string": "value",
            "Efficient Loader": f"ckpt_name vae_name clip_skip {_EASY_LORA} positive negative token_normalization "
            "weight_interpretation empty_latent_width empty_latent_height batch_size",
            "Eff. Loader SDXL": "base_ckpt_name base_clip_skip refiner_ckpt_name refiner_clip_skip positive_ascore "
            "negative_ascore vae_name positive negative token_normalization weight_interpretation empty_latent_width "
            "empty_latent_height batch_size",
            "easy a1111Loader": f"{_EASY_LOADER} a1111_prompt_style",
            "easy comfyLoader": _EASY_LOADER,
            "easy fluxLoader": f"ckpt_name vae_name {_EASY_LORA} {_EASY_SIZE} positive batch_size",
            "easy fullLoader": f"ckpt_name config_name vae_name clip_skip {_EASY_LORA} {_EASY_SIZE} positive "
            "positive_token_normalization positive_weight_interpretation negative negative_token_normalization "
            "negative_weight_interpretation batch_size",
            "easy preSampling": f"{_SAMPLING} denoise seed",
            "easy preSamplingAdvanced": f"{_SAMPLING} start_at_step end_at_step add_noise seed",
            "easy fullkSampler": f"{_SAMPLING} denoise image_output link_id save_prefix seed",
            "easy controlnetLoader": "control_net_name strength scale_soft_weights",
        }.items()
    }
)

_SEED_CONTROLS = ("fixed", "increment", "decrement", "randomize", "increment-wrap", None)
"""Values of the widget that the editor adds after a seed."""
_MAX_WIDGETS = 1000


def widget_inputs(kind: str, slots: Iterable[Mapping[str, object]], values: object) -> dict[str, object]:
    """Return the values of the widgets by name. Values without a known name are named `widget_0`, `widget_1`, ...

    Args:
        kind: class name of the node.
        slots: inputs of the node; newer editors list the widgets there.
        values: `widgets_values`: a list, or an object with names.
    """
    if isinstance(values, dict):
        return {str(name): value for name, value in list(values.items())[:_MAX_WIDGETS]}
    if not isinstance(values, list):
        return {}
    values = values[:_MAX_WIDGETS]
    listed = [str(slot.get("name")) for slot in slots if slot.get("widget")]
    named, rest = _assign(listed, values)
    if not listed or rest or len(named) < len(listed):
        named, rest = _assign(_WIDGETS.get(kind, ()), values)
    return named | {f"widget_{len(named) + index}": value for index, value in enumerate(rest)}


def _assign(names: Iterable[str], values: list[object]) -> tuple[dict[str, object], list[object]]:
    """Return the named values and the remaining values."""
    named: dict[str, object] = {}
    position = 0
    for name in names:
        if position >= len(values):
            break
        named[name] = values[position]
        position += 1
        has_control = position < len(values) and (name.endswith("seed") or name == "value")
        if has_control and (values[position] is None or values[position] in _SEED_CONTROLS):
            position += 1
    return named, values[position:]
