"""Convert the fields of A1111's API to settings of artgen."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageColor

from artgen.server.a1111.errors import FieldError
from artgen.server.a1111.read_request import GenerationRequest, model_name, read_img2img, read_txt2img
from artgen.server.a1111.state import A1111State

MAX_PIXELS = 1_000_000


def image_text(size: tuple[int, int] = (64, 64), color: str = "red") -> str:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def settings(request: GenerationRequest) -> dict[str, Any]:
    ignored = ("image", "mask", "negative_prompt", "prompt", "prompt_weights", "seed", "count", "task", "strength")
    return {name: value for name, value in request.line.items() if name not in ignored}


TXT2IMG: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({}, {}, []),
    (
        {"steps": 20, "cfg_scale": 7, "width": 512, "height": 768},
        {"steps": 20, "guidance_scale": 7.0, "width": 512, "height": 768},
        [],
    ),
    ({"width": 640}, {"width": 640}, []),
    ({"sampler_name": "DPM++ 2M"}, {"scheduler": "DPM++ 2M", "sigmas": "karras"}, []),  # Automatic
    ({"sampler_name": "DPM++ 2M", "scheduler": "Normal"}, {"scheduler": "DPM++ 2M", "sigmas": "normal"}, []),
    ({"sampler_index": "Euler a", "scheduler": "automatic"}, {"scheduler": "Euler a"}, []),
    ({"sampler_name": "DPM++ 2M Karras"}, {"scheduler": "DPM++ 2M", "sigmas": "karras"}, []),
    ({"sampler_name": "Euler", "scheduler": "SGM Uniform"}, {"scheduler": "Euler"}, ["scheduler"]),
    ({"sampler_name": "DPM++ 2S a"}, {}, ["sampler_name"]),
    ({"sampler_name": "N/A", "scheduler": None}, {}, []),
    ({"tiling": True}, {"seamless": "both"}, []),
    ({"subseed": 3, "subseed_strength": 0.2}, {"variation_seed": 3, "variation_strength": 0.2}, []),
    ({"subseed": 3, "subseed_strength": 0}, {}, []),
    (
        {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6},
        {"hires": "1.5:0.6", "hires_in": "latent"},
        [],
    ),
    (
        {
            "enable_hr": True,
            "steps": 20,
            "hr_second_pass_steps": 10,
            "denoising_strength": 0.5,
            "hr_upscaler": "Lanczos",
        },
        {"hires": "2:0.5", "hires_in": "pixel", "hires_steps": 20, "steps": 20},
        [],
    ),
    (
        {
            "enable_hr": True,
            "width": 64,
            "height": 64,
            "hr_resize_x": 192,
            "hr_upscaler": "tiny-x2",
            "denoising_strength": 0.5,
        },
        {"hires": "3:0.5", "hires_model": "tiny-x2", "width": 64, "height": 64},
        [],
    ),
    (
        {"enable_hr": True, "hr_upscaler": "R-ESRGAN 4x+", "hr_prompt": "x"},
        {"hires": "2:0.7", "hires_in": "pixel"},
        ["hr_prompt", "hr_upscaler"],
    ),
    ({"enable_hr": False, "hr_upscaler": "R-ESRGAN 4x+", "hr_prompt": "x", "hr_scale": 3}, {}, []),
    (
        {"override_settings": {"sd_model_checkpoint": "tiny [abcdef0123]", "CLIP_stop_at_last_layers": 2}},
        {"model": "tiny", "clip_skip": 2},
        [],
    ),
    (
        {"override_settings": {"sd_vae": "x.pt", "outdir_samples": "/tmp"}},
        {},
        ["override_settings.outdir_samples", "override_settings.sd_vae"],
    ),
    (
        {"restore_faces": True, "eta": 0.5, "s_noise": 1.1, "script_name": "x/y plot"},
        {},
        ["eta", "restore_faces", "s_noise", "script_name"],
    ),
    ({"eta": 1.0, "s_noise": 1, "s_tmax": 0, "script_name": None, "restore_faces": False}, {}, []),
    (
        {"alwayson_scripts": {"ADetailer": {"args": [True, {}]}, "refiner": {"args": [False]}}},
        {},
        ["alwayson_scripts.ADetailer"],
    ),
    ({"unknown_field": 1, "hr_additional_modules": [], "force_task_id": "x"}, {}, []),
]


@pytest.mark.parametrize(("fields", "expected", "unsupported"), TXT2IMG)
def test_fields_of_txt2img_become_settings(
    fields: dict[str, Any], expected: dict[str, Any], unsupported: list[str]
) -> None:
    request = read_txt2img({"prompt": "a <lora:x:1> (fox:1.2)", "negative_prompt": "blurry", **fields}, None)
    assert settings(request) == expected
    assert sorted(request.unsupported) == unsupported
    assert request.line["prompt"] == "a <lora:x:1> (fox:1.2)"  # artgen reads the tags and weights
    assert request.line["negative_prompt"] == "blurry"


def test_seeds_and_number_of_images() -> None:
    request = read_txt2img({"prompt": "x", "seed": 7, "batch_size": 2, "n_iter": 3}, "tiny")
    assert (request.line["seed"], request.line["count"], request.line["model"]) == ("7", 6, "tiny")
    random = {read_txt2img({"prompt": "x", "seed": -1, "n_iter": 2}, None).line["seed"] for _ in range(4)}
    assert len(random) == 4
    assert all(text.isdigit() for text in random)  # one seed: the images have consecutive seeds


IMG2IMG: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"width": 128, "height": 64}, {"width": 128, "height": 64}),
    (
        {"mask": "image", "width": 128, "height": 64, "inpaint_full_res": False, "inpainting_fill": 1, "mask_blur": 0},
        {"width": 128, "height": 64, "fill": "original", "resize_mask": True},
    ),
    (
        {"mask": "image", "width": 128, "height": 64, "inpaint_full_res_padding": 8, "inpainting_mask_invert": 1},
        {"only_masked": 8, "fill": "blur", "feather": 4, "invert_mask": True, "resize_mask": True},
    ),
    (
        {
            "alwayson_scripts": {
                "controlnet": {
                    "args": [{"module": "canny", "model": "control_v11p_sd15_canny [d14c016b]", "weight": 0.5}]
                }
            }
        },
        {"control": ("canny=upload:image,scale=0.5,model=canny-sd15",)},
    ),
]


@pytest.mark.parametrize(("fields", "expected"), IMG2IMG)
def test_fields_of_img2img_become_settings(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    fields = {**fields, "mask": f"data:image/png;base64,{image_text()}"} if "mask" in fields else fields
    request = read_img2img({"prompt": "x", "init_images": [image_text()], **fields}, None, MAX_PIXELS)
    assert settings(request) == expected
    assert request.line["strength"] == 0.75
    assert request.line["task"] == ("inpaint" if "mask" in fields else "img2img")
    assert set(request.uploads) == ({"image", "mask"} if "mask" in fields else {"image"})


@pytest.mark.parametrize(
    ("mode", "size", "corner"),
    [(0, (100, 50), "green"), (1, (64, 64), "red"), (2, (64, 64), "green"), (3, (100, 50), "green")],
)
def test_resize_mode_crops_or_extends_the_image(mode: int, size: tuple[int, int], corner: str) -> None:
    photo = Image.new("RGB", (100, 50), "red")
    photo.paste("blue", (0, 25, 100, 50))
    photo.paste("green", (0, 0, 20, 25))
    buffer = io.BytesIO()
    photo.save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    fields = {"init_images": [text], "mask": text, "width": 64, "height": 64, "resize_mode": mode}
    request = read_img2img({"prompt": "x", "inpaint_full_res": False, **fields}, None, MAX_PIXELS)
    image = Image.open(io.BytesIO(request.uploads["image"]))
    assert image.size == Image.open(io.BytesIO(request.uploads["mask"])).size == size
    expected = [ImageColor.getrgb(color) for color in (corner, "blue")]
    found = [image.getpixel((0, 0)), image.getpixel((size[0] - 1, size[1] - 1))]
    np.testing.assert_allclose(found, expected, atol=2)


CONTROL_UNITS: list[tuple[dict[str, Any], str]] = [
    ({"module": "canny", "model": "None"}, "canny=upload:control0"),
    (
        {"module": "canny", "model": "canny-tiny", "guidance_end": 0.5},
        "canny=upload:control0,until=0.5,model=canny-tiny",
    ),
    ({"module": "none", "model": "canny-sd15", "weight": 0.5}, "raw=upload:control0,scale=0.5,model=canny-sd15"),
    ({"module": "depth_midas", "model": "control_v11f1p_sd15_depth"}, "depth=upload:control0,model=depth-sd15"),
    ({"module": "canny", "model": "None", "enabled": False}, ""),
]


@pytest.mark.parametrize(("unit", "expected"), CONTROL_UNITS)
def test_units_of_controlnet_become_control(unit: dict[str, Any], expected: str) -> None:
    scripts = {"ControlNet": {"args": [{"image": image_text(), **unit}]}}
    request = read_txt2img({"prompt": "x", "alwayson_scripts": scripts}, None)
    assert request.line.get("control", ()) == ((expected,) if expected else ())
    assert set(request.uploads) == ({"control0"} if expected else set())
    assert request.unsupported == {}


INVALID: list[dict[str, Any]] = [
    {"init_images": []},
    {"init_images": ["http://127.0.0.1/photo.png"]},
    {"init_images": ["/etc/passwd"]},
    {"init_images": ["***"]},
    {"init_images": [5]},
    {"mask": 5},
    {"denoising_strength": 1.5},
    {"denoising_strength": "NaN"},
    {"seed": -2},
    {"subseed_strength": 2},
    {"inpainting_fill": 4, "mask": image_text()},
    {"resize_mode": 4, "width": 64, "height": 64},
    {"override_settings": []},
    {"alwayson_scripts": {"controlnet": {"args": [{"image": "http://127.0.0.1/x.png", "module": "canny"}]}}},
    {"alwayson_scripts": {"controlnet": {"args": [{"module": "canny", "model": "unknown [0123abcd]"}]}}},
    {"alwayson_scripts": {"controlnet": "canny"}},
    {"alwayson_scripts": {"controlnet": {"args": "canny"}}},
    {"alwayson_scripts": {"controlnet": {"args": [True]}}},
    {"alwayson_scripts": {"controlnet": {"args": [{"module": "unknown", "model": "None"}]}}},
    {"alwayson_scripts": {"controlnet": {"args": [{"module": "canny", "model": "None", "weight": -1}]}}},
]


@pytest.mark.parametrize("fields", INVALID)
def test_invalid_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(FieldError):
        read_img2img({"prompt": "x", "init_images": [image_text()], **fields}, None, MAX_PIXELS)


def test_titles_of_models_have_a_hash_or_a_suffix() -> None:
    titles = ("sd_xl.safetensors [31e35c80fc]", "sd_xl.safetensors", "sd_xl [31e35c80fc]", "sd_xl")
    assert {model_name(title) for title in titles} == {"sd_xl"}


def test_clients_have_their_own_models() -> None:
    state = A1111State()
    state.select_model("10.0.0.1", "sdxl")
    assert (state.model("10.0.0.1"), state.model("10.0.0.2")) == ("sdxl", None)
