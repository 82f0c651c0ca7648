"""Change the configurations of a family to the values that a single checkpoint requires."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError
from artgen.registry import diffusers_folder
from artgen.registry.checkpoint_content import FileContent
from artgen.registry.denoiser_files import EDIT_CHANNELS
from artgen.registry.hub import cache
from artgen.registry.sampling_facts import Edm, SamplingFacts
from artgen.registry.single_file_configs import ConfigFiles, folder_config
from artgen.registry.single_file_families import Family

Changes = dict[str, dict[str, Any]]
"""Name of a file -> values of its keys."""

_SCHEDULER = "scheduler/scheduler_config.json"
_INPAINT_PIPELINES = {
    "sd1": "StableDiffusionInpaintPipeline",
    "sd2": "StableDiffusionInpaintPipeline",
    "sdxl": "StableDiffusionXLInpaintPipeline",
}
_EDIT_PIPELINES = {
    "sd1": "StableDiffusionInstructPix2PixPipeline",
    "sdxl": "StableDiffusionXLInstructPix2PixPipeline",
}
_SD2_LATENT_SIDE = 64
_SD2_V_SIDES = {"unet/config.json": {"sample_size": 96}, "vae/config.json": {"sample_size": 768}}
"""Sizes of Stable Diffusion 2 models with v-prediction: 768x768 pixels."""
_INPAINT_CHANNELS = 9
_FLUX_LATENT_CHANNELS = 64

T5_XXL = {
    "architectures": ["T5EncoderModel"], "model_type": "t5", "d_model": 4096, "d_ff": 10240, "d_kv": 64,
    "num_heads": 64, "num_layers": 24, "vocab_size": 32128, "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128, "feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu_new",
    "is_gated_act": True, "layer_norm_epsilon": 1e-06, "dropout_rate": 0.1, "initializer_factor": 1.0,
    "is_encoder_decoder": True, "tie_word_embeddings": False, "use_cache": True, "decoder_start_token_id": 0,
    "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
"""Configuration of the encoder of T5 1.1 XXL (Raffel et al. 2020, arXiv 1910.10683), text encoder of SD 3 and Flux."""
_T5_VOCABULARY_FILES = ("tokenizer.json", "spiece.model")


def config_changes(files: ConfigFiles, content: FileContent, family: Family, sampling: SamplingFacts) -> Changes:
    """Return the values that a file requires and that differ from the configurations of its family.

    Args:
        files: configurations of the family, or of the model that provides the missing components.
        content: content of the file.
        family: family of the file.
        sampling: how the file is sampled.
    """
    denoiser = content.denoiser
    index = files["model_index.json"]
    changes: Changes = {}
    if denoiser is None:
        return changes
    config_name = f"{'transformer' if 'transformer' in index else 'unet'}/config.json"
    if denoiser.architecture == "flux":
        config: dict[str, Any] = {"guidance_embeds": denoiser.guidance_embeds}
        if denoiser.channels != files[config_name].get("in_channels", _FLUX_LATENT_CHANNELS):
            config |= {"in_channels": denoiser.channels, "out_channels": _FLUX_LATENT_CHANNELS}
        changes[config_name] = config
    elif denoiser.architecture in _INPAINT_PIPELINES and denoiser.channels != files[config_name].get("in_channels", 4):
        changes[config_name] = {"in_channels": denoiser.channels}
    if denoiser.time_cond_dim:
        changes.setdefault(config_name, {})["time_cond_proj_dim"] = denoiser.time_cond_dim
    if pipeline := _pipeline(index, content, family):
        changes["model_index.json"] = {"_class_name": pipeline}
        if pipeline == _EDIT_PIPELINES["sdxl"] and sampling.edm:
            changes["model_index.json"]["is_cosxl_edit"] = True
    side = files[config_name].get("sample_size")
    if denoiser.architecture == "sd2" and sampling.prediction == "v_prediction" and side == _SD2_LATENT_SIDE:
        for name, values in _SD2_V_SIDES.items():
            changes.setdefault(name, {}).update(values)
    scheduler = _scheduler(files.get(_SCHEDULER, {}), denoiser.architecture, sampling)
    if scheduler:
        changes[_SCHEDULER] = scheduler
        changes.setdefault("model_index.json", {})["scheduler"] = ["diffusers", scheduler["_class_name"]]
    if sampling.edm and sampling.edm.latents_mean:
        vae = {"latents_mean": sampling.edm.latents_mean, "latents_std": sampling.edm.latents_std}
        changes.setdefault("vae/config.json", {}).update(vae, scaling_factor=0.5)
    return changes


def _pipeline(index: Mapping[str, Any], content: FileContent, family: Family) -> str:
    """Return the pipeline class if it differs from the class of the configuration; else an empty string."""
    denoiser, current = content.denoiser, str(index.get("_class_name", ""))
    pipeline = current
    if denoiser and denoiser.architecture in _INPAINT_PIPELINES:
        inpaint = _INPAINT_PIPELINES[denoiser.architecture]
        is_inpainting = denoiser.channels == _INPAINT_CHANNELS
        pipeline = inpaint if is_inpainting else current.replace("InpaintPipeline", "Pipeline")
        if denoiser.channels == EDIT_CHANNELS:
            pipeline = _EDIT_PIPELINES.get(denoiser.architecture, pipeline)
    elif family.pipeline:
        pipeline = family.pipeline
    elif current == "FluxFillPipeline":
        pipeline = "FluxPipeline"
    return pipeline if pipeline != current else ""


def _scheduler(config: Mapping[str, Any], architecture: str, sampling: SamplingFacts) -> dict[str, Any]:
    """Return the values of the scheduler that differ from its configuration; empty if nothing differs."""
    if architecture not in ("sd1", "sd2", "sdxl", "sdxl-refiner"):
        return {}
    if sampling.edm:
        return _edm_scheduler(sampling.edm)
    class_name = str(config.get("_class_name", ""))
    values: dict[str, Any] = {"prediction_type": sampling.prediction}
    if sampling.variant and sampling.variant.scheduler:
        values = {**sampling.variant.scheduler, **values}
        if sampling.zero_snr:
            values["rescale_betas_zero_snr"] = True
    elif sampling.zero_snr:
        values |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        # The scheduler of Stable Diffusion 1, PNDM, does not have a zero-SNR schedule.
        class_name = class_name if architecture == "sdxl" else "DDIMScheduler"
    elif architecture == "sd2" and sampling.prediction == "v_prediction":
        class_name = "DDIMScheduler"
    values.setdefault("_class_name", class_name)
    is_unchanged = all(config.get(key, "epsilon") == value for key, value in values.items())
    return {} if is_unchanged else values


def _edm_scheduler(edm: Edm) -> dict[str, Any]:
    """Return the scheduler of an EDM model: the exponential Euler steps of CosXL, or DPM++ 2M of Playground 2.5."""
    sampler = {"_class_name": "EDMDPMSolverMultistepScheduler", "solver_order": 2, "final_sigmas_type": "zero"}
    if edm.prediction == "v_prediction":
        sampler = {"_class_name": "EDMEulerScheduler", "sigma_schedule": "exponential"}
    return {
        **sampler,
        "prediction_type": edm.prediction,
        "sigma_min": edm.sigma_min,
        "sigma_max": edm.sigma_max,
        "sigma_data": edm.sigma_data,
        "num_train_timesteps": 1000,
    }


def find_t5_tokenizer() -> Path | None:
    """Return the folder of a T5 tokenizer in the cache of the hub: of Stable Diffusion 3, Flux or another model."""
    for repository in cache.cached_repositories():
        snapshot = cache.snapshot_folder(repository, None)
        if snapshot is None:
            continue
        for number in ("_3", "_2", ""):
            folder = snapshot / f"tokenizer{number}"
            if any((folder / name).is_file() for name in _T5_VOCABULARY_FILES) and _is_t5_xxl(snapshot, number):
                return folder
    return None


def _is_t5_xxl(snapshot: Path, number: str) -> bool:
    try:
        encoder = diffusers_folder.read_optional_config(snapshot / f"text_encoder{number}" / "config.json")
        index = diffusers_folder.read_model_index(snapshot)
    except ArtgenError:  # a damaged model that is not used
        return False
    has_tokenizer = str((index.get(f"tokenizer{number}") or ("", ""))[1]).startswith("T5Tokenizer")
    return has_tokenizer and (encoder.get("model_type"), encoder.get("vocab_size")) == ("t5", T5_XXL["vocab_size"])


def t5_files(files: ConfigFiles, tokenizer: Path) -> ConfigFiles:
    """Return the configurations of a Stable Diffusion 3 model with a T5 encoder and its tokenizer.

    Args:
        files: configurations without T5.
        tokenizer: folder of the tokenizer, inside a model folder.
    """
    source = folder_config(tokenizer.parent)
    prefix = f"{tokenizer.name}/"
    found = {
        f"tokenizer_3/{name.removeprefix(prefix)}": value for name, value in source.items() if name.startswith(prefix)
    }
    entries = {
        "text_encoder_3": ["transformers", "T5EncoderModel"],
        "tokenizer_3": source["model_index.json"][tokenizer.name],
    }
    index = {"model_index.json": files["model_index.json"] | entries}
    return files | index | {"text_encoder_3/config.json": T5_XXL} | found
