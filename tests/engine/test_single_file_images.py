"""Compare images of single files with images of plain diffusers that has the same scheduler and weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import command_line
import diffusers
import plain_scripts as plain
import pytest
import single_files
import torch
from PIL import Image, ImageChops
from PIL.ImageChops import difference
from safetensors.torch import save_file

from artgen import Txt2Img, generate, registry
from artgen.errors import ModelUnavailableError, UsageError

CALL: dict[str, Any] = {"prompt": "a red fox", "guidance_scale": 4.0, "width": 64, "height": 64}
MARKER = torch.zeros(1)


def image(model: str | Path, **settings: Any) -> Image.Image:
    result: Image.Image = generate(Txt2Img(model=str(model), seed=7, steps=2, **CALL, **settings)).image
    return result


def plain_image(cls: str, folder: Path, scheduler: tuple[str, dict[str, Any]] | None = None) -> Image.Image:
    config = {"class_name": scheduler[0], "config": scheduler[1]} if scheduler else None
    result: Image.Image = plain.generate(cls, folder, seed=7, scheduler=config, num_inference_steps=2, **CALL)
    return result


V_PREDICTION = {
    "key": ({"v_pred": MARKER}, None, {}),
    "my_vpred": ({}, None, {}),
    "metadata": ({}, {"modelspec.prediction_type": "v"}, {}),
    "kohya": ({}, {"ss_v_parameterization": "True"}, {}),
    "stated": ({}, None, {"prediction": "v_prediction"}),
}


@pytest.mark.parametrize("name", V_PREDICTION)
def test_v_prediction_is_used_however_it_is_stated(models: dict[str, Path], name: str) -> None:
    extra, metadata, fields = V_PREDICTION[name]
    state = single_files.original_state(models["sd1"])
    file = single_files.write_single_file(name, {**state, **extra}, models["sd1"], metadata, **fields)
    config = registry.read_scheduler_config(models["sd1"])
    expected = plain_image(
        "StableDiffusionPipeline", models["sd1"], (config["_class_name"], {"prediction_type": "v_prediction"})
    )
    assert image(file) == expected != plain_image("StableDiffusionPipeline", models["sd1"])


def test_replay_notes_another_sampling_of_the_file(models: dict[str, Path]) -> None:
    state = single_files.original_state(models["sd1"])
    file = single_files.write_single_file("my", state, models["sd1"], prediction="v_prediction")
    command_line.run("txt2img", "a red fox", "-m", file, *command_line.FAST, "-o", "image.png")
    assert "sampling" not in command_line.run("replay", "image.png", "-o", "same.png").stderr
    Path("my.artgen.json").write_text(json.dumps({"base": str(models["sd1"])}))
    noted = command_line.run("replay", "image.png", "-o", "other.png").stderr
    assert "The detected sampling was" in noted


@pytest.mark.parametrize("has_zero_snr", [False, True])
def test_sdxl_has_a_zero_snr_schedule_only_if_the_file_says_so(models: dict[str, Path], has_zero_snr: bool) -> None:
    markers = {"v_pred": MARKER, **({"ztsnr": MARKER} if has_zero_snr else {})}
    state = single_files.original_state(models["sdxl"]) | markers
    file = single_files.write_single_file("xl", state, models["sdxl"])
    zero_snr = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if has_zero_snr else {}
    scheduler = registry.read_scheduler_config(models["sdxl"])["_class_name"]
    expected = plain_image(
        "StableDiffusionXLPipeline", models["sdxl"], (scheduler, {"prediction_type": "v_prediction", **zero_snr})
    )
    assert image(file) == expected


@pytest.mark.parametrize("kind", ["ema", "unet", "bare", "diffusers"])
def test_the_layout_of_the_file_does_not_change_the_image(models: dict[str, Path], kind: str) -> None:
    state = single_files.original_state(models["sd1"])
    unet = {key: value for key, value in state.items() if key.startswith(single_files.DENOISER)}
    states = {
        "ema": single_files.ema_only(state),
        "unet": unet,
        "bare": {key.removeprefix(single_files.DENOISER): value for key, value in unet.items()},
        "diffusers": single_files.component_state(models["sd1"], "unet"),
    }
    file = single_files.write_single_file(kind, states[kind], models["sd1"])
    assert image(file) == image(models["sd1"])


@pytest.mark.parametrize("kind", ["ema", "bare", "diffusers"])
def test_a_lora_fits_every_layout_of_the_file(models: dict[str, Path], kind: str) -> None:
    state = single_files.original_state(models["sd1"])
    unet = {key: value for key, value in state.items() if key.startswith(single_files.DENOISER)}
    states = {
        "ema": single_files.ema_only(state),
        "bare": {key.removeprefix(single_files.DENOISER): value for key, value in unet.items()},
        "diffusers": single_files.component_state(models["sd1"], "unet"),
    }
    layers: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    for key, value in states["diffusers"].items():
        if key.endswith("attn2.to_v.weight"):
            layer = f"lora_unet_{key.removesuffix('.weight').replace('.', '_')}"
            layers[f"{layer}.lora_down.weight"] = torch.randn(2, value.shape[1], generator=generator)
            layers[f"{layer}.lora_up.weight"] = torch.randn(value.shape[0], 2, generator=generator)
    save_file(layers, "lora.safetensors")
    file = single_files.write_single_file(kind, states[kind], models["sd1"])
    assert image(file, lora=("lora.safetensors",)) == image(models["sd1"], lora=("lora.safetensors",)) != image(file)


def test_cosxl_equals_plain_diffusers_and_keeps_its_scheduler(models: dict[str, Path]) -> None:
    sigmas = {"edm_vpred.sigma_min": torch.tensor(0.004), "edm_vpred.sigma_max": torch.tensor(90.0)}
    state = single_files.original_state(models["sdxl"]) | sigmas
    file = single_files.write_single_file("cosxl", state, models["sdxl"])
    config = {"sigma_min": 0.004, "sigma_max": 90.0, "sigma_data": 1.0, "prediction_type": "v_prediction"}
    scheduler = ("EDMEulerScheduler", {**config, "sigma_schedule": "exponential"})
    assert image(file) == plain_image("StableDiffusionXLPipeline", models["sdxl"], scheduler)
    for setting in ({"scheduler": "euler"}, {"sigmas": "karras"}):
        with pytest.raises(UsageError, match="CosXL models"):
            image(file, **setting)


def test_playground_equals_plain_diffusers_with_its_latent_statistics(models: dict[str, Path]) -> None:
    mean, std = [-1.6574, 1.886, -1.383, 2.5155], [8.4927, 5.9022, 6.5498, 5.2299]
    statistics = {"edm_mean": torch.tensor(mean), "edm_std": torch.tensor(std)}
    state = single_files.original_state(models["sdxl"]) | statistics
    file = single_files.write_single_file("playground", state, models["sdxl"])
    pipe = plain.load("StableDiffusionXLPipeline", models["sdxl"])
    pipe.scheduler = diffusers.EDMDPMSolverMultistepScheduler(
        sigma_min=0.002, sigma_max=80.0, sigma_data=0.5, solver_order=2, prediction_type="epsilon"
    )
    values = {key: torch.tensor(value).tolist() for key, value in (("latents_mean", mean), ("latents_std", std))}
    pipe.vae.register_to_config(**values, scaling_factor=0.5)
    assert image(file) == plain.run(pipe, seed=7, num_inference_steps=2, **CALL)


def test_a_guidance_embedding_is_loaded_from_the_file(zoo: Mapping[str, Path]) -> None:
    file = single_files.write_single_file("lcm", single_files.original_state(zoo["lcm"]), zoo["lcm"])
    model = registry.resolve_model(file)
    assert (model.steps, model.guidance_scale) == (4, 8.0)
    # the memory alignment of the weights can change the rounding of a pixel
    difference = ImageChops.difference(image(file), image(zoo["lcm"]))
    assert max(high for _, high in difference.getextrema()) <= 1


@pytest.mark.parametrize("name", ["flux-dev", "flux-schnell", "flux2-klein", "chroma", "z-image", "qwen-image", "sana"])
def test_a_transformer_is_loaded_with_the_other_components_of_its_base(zoo: Mapping[str, Path], name: str) -> None:
    state = single_files.component_state(zoo[name], "transformer")
    file = single_files.write_single_file(name, state, zoo[name])
    request = Txt2Img(prompt="a red fox", model=file, seed=7, steps=2, width=64, height=64)
    result = generate(request)
    model = registry.resolve_model(str(zoo[name]))
    settings = {"model": str(zoo[name]), "guidance_scale": result.record["guidance_scale"]}
    assert result.image == generate(request.replace(**settings)).image
    assert result.record["model_base"] == zoo[name].name
    assert result.record["architecture"] == model.architecture


FLUX_ENCODERS = {
    "text_encoder": "text_encoders.clip_l.transformer.text_model.",
    "text_encoder_2": "text_encoders.t5xxl.transformer.",
}


def test_a_flux_file_uses_its_own_text_encoders(zoo: Mapping[str, Path]) -> None:
    state = single_files.transformer_state(zoo["flux-dev"], FLUX_ENCODERS, "vae.")
    file = single_files.write_single_file("flux", state, zoo["flux-dev"])
    assert image(file) == image(zoo["flux-dev"])
    changed = {key: value * 2 if "t5xxl" in key else value for key, value in state.items()}
    other = single_files.write_single_file("changed", changed, zoo["flux-dev"])
    assert image(other) != image(file)


def test_a_stable_diffusion_3_file_uses_its_t5(zoo: Mapping[str, Path]) -> None:
    encoders = {
        "text_encoder": "text_encoders.clip_l.transformer.",
        "text_encoder_2": "text_encoders.clip_g.transformer.",
        "text_encoder_3": "text_encoders.t5xxl.transformer.",
    }
    state = single_files.transformer_state(zoo["sd3"], encoders, "first_stage_model.")
    file = single_files.write_single_file("sd3", state, zoo["sd3"])
    changed = {key: value * 2 if "t5xxl" in key else value for key, value in state.items()}
    other = single_files.write_single_file("changed", changed, zoo["sd3"])
    assert image(file) != image(other)
    assert image(file, text_encoder_3="none") == image(other, text_encoder_3="none")


def test_a_transformer_of_another_size_than_its_base_is_refused(zoo: Mapping[str, Path]) -> None:
    state = single_files.component_state(zoo["flux-dev"], "transformer")
    layer = {key.replace("blocks.0.", "blocks.1."): value for key, value in state.items() if "blocks.0." in key}
    file = single_files.write_single_file("large", state | layer, zoo["flux-dev"])
    with pytest.raises(ModelUnavailableError, match="tensors that its configuration does not have"):
        image(file)


@pytest.mark.parametrize("quantization", ["Q8_0", "Q4_0"])
def test_a_gguf_file_equals_plain_diffusers(zoo: Mapping[str, Path], quantization: str) -> None:
    gguf = pytest.importorskip("gguf")
    folder = zoo["flux-dev"]
    kind = gguf.GGMLQuantizationType[quantization]
    writer, dequantized = gguf.GGUFWriter("flux.gguf", "flux"), {}
    for key, value in single_files.component_state(folder, "transformer").items():
        data = value.float().numpy()
        if data.ndim == 2 and data.shape[1] % 32 == 0:
            quantized = gguf.quants.quantize(data, kind)
            writer.add_tensor(key, quantized, raw_dtype=kind)
            dequantized[key] = torch.from_numpy(gguf.quants.dequantize(quantized, kind).copy())
        else:
            writer.add_tensor(key, data)
            dequantized[key] = value
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    Path("flux.artgen.json").write_text(json.dumps({"base": str(folder)}))
    ours = image("flux.gguf")
    with plain.quiet():
        transformer = diffusers.FluxTransformer2DModel.from_single_file(
            "flux.gguf",
            config=str(folder),
            subfolder="transformer",
            quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=torch.float32),
            torch_dtype=torch.float32,
        )
        pipe = diffusers.FluxPipeline.from_pretrained(folder, transformer=transformer)
    pipe.set_progress_bar_config(disable=True)
    assert ours == plain.run(pipe, seed=7, num_inference_steps=2, **CALL)
    plain_weights = image(single_files.write_single_file("dequantized", dequantized, folder))
    assert max(high for _, high in difference(ours, plain_weights).getextrema()) <= 1
    with pytest.raises(UsageError, match="quantized already"):
        image("flux.gguf", quantize="fp8")


def test_what_was_detected_is_printed_once(models: dict[str, Path]) -> None:
    state = single_files.original_state(models["sdxl"])
    file = single_files.write_single_file("sdxl_lightning_2step", state, models["sdxl"])
    result = command_line.run("txt2img", "x", "-m", file, "--size", "64x64", "--count", "2", "-o", "out/")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("Detected Lightning (from the name): 2 steps, guidance 0.") == 1
    config = registry.read_scheduler_config(registry.resolve_model(file).config_folder)
    assert config["timestep_spacing"] == "trailing"
