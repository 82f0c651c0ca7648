"""Use the API of A1111 with the unmodified client webuiapi."""

import base64
import io
import threading
import time
from typing import Any

import numpy as np
import pytest
import requests
import webuiapi
from artgen_server import running_server
from PIL import Image

import artgen

TOKEN = "the-token-of-the-tests"
SIZE = {"width": 128, "height": 128}


def client(url: str, **arguments: Any) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(baseurl=f"{url}/sdapi/v1", steps=3, **arguments)


def pixels(image: Image.Image) -> "np.ndarray[Any, Any]":
    return np.asarray(image.convert("RGB"))


def test_client_generates_edits_inpaints_and_lists_models() -> None:
    options = {"model": "tiny", "steps": 3, "scheduler": "euler-a", "guidance_scale": 6.0}
    expected = artgen.txt2img("a red fox", negative_prompt="blurry", seed=[7, 8], size="128x128", **options)
    with running_server(token=TOKEN) as url:
        api = client(url, username="artgen", password=TOKEN)
        assert api.util_get_model_names() == ["tiny"]
        assert api.util_get_current_model() == "tiny"
        assert {"Euler a", "DPM++ 2M", "DDIM"} <= set(api.util_get_sampler_names())
        assert {"automatic", "karras"} <= set(api.util_get_scheduler_names())
        result = api.txt2img(prompt="a red fox", negative_prompt="blurry", seed=7, cfg_scale=6, batch_size=2, **SIZE)
        for image, other in zip(result.images, expected, strict=True):
            # the batch size, which affects rounding, can differ
            np.testing.assert_allclose(pixels(image).astype(int), pixels(other.image).astype(int), atol=1)
        assert result.info["all_seeds"] == [7, 8]
        assert result.info["artgen_unsupported"] == {}
        assert result.info["infotexts"][1].startswith("a red fox\nNegative prompt: blurry\nSteps: 3, Sampler: Euler a")
        photo = result.images[0]
        found = api.png_info(photo)
        assert found.info == result.info["infotexts"][0]
        assert found.json["parameters"]["Seed"] == "7"

        changed = api.img2img(images=[photo], prompt="a blue owl", seed=3, denoising_strength=0.6, **SIZE)
        assert changed.info["denoising_strength"] == 0.6
        mask = Image.new("L", (64, 64))
        mask.paste(255, (16, 16, 48, 48))
        arguments = {
            "images": [photo],
            "mask_image": mask,
            "mask_blur": 0,
            "inpainting_fill": 1,
            "prompt": "a blue owl",
        }
        for invert in (0, 1):
            inpainted = api.img2img(
                inpainting_mask_invert=invert, inpaint_full_res=False, denoising_strength=1, **arguments, **SIZE
            )
            differs = (pixels(inpainted.image) != pixels(photo)).any(axis=2)
            inside = np.zeros((128, 128), bool)
            inside[34:94, 34:94] = True  # the edge of the resized mask is soft
            outside = np.ones((128, 128), bool)
            outside[30:98, 30:98] = False
            repainted, kept = (outside, inside) if invert else (inside, outside)
            assert differs[repainted].mean() > 0.5
            assert not differs[kept].any()


def test_client_enlarges_images() -> None:
    photo = Image.new("RGB", (48, 32), "red")
    with running_server() as url:
        api = client(url)
        networks = [each["name"] for each in api.get_upscalers()]
        for name in networks:
            assert api.extra_single_image(photo, upscaling_resize=2, upscaler_1=name).image.size == (96, 64)
        result = api.extra_single_image(
            photo,
            resize_mode=1,
            upscaling_resize_w=96,
            upscaling_resize_h=96,
            upscaler_1="Lanczos",
            gfpgan_visibility=1,
        )
        assert result.image.size == (96, 64)
        assert "gfpgan_visibility is not supported" in result.info
        batch = api.extra_batch_images([photo, photo], upscaling_resize=3, upscaler_1="Lanczos")
        assert [image.size for image in batch.images] == [(144, 96)] * 2
        with pytest.raises(RuntimeError, match="Upscaler not found"):
            api.extra_single_image(photo, upscaler_1="Nope")


def test_progress_has_previews_and_interrupt_stops_the_job() -> None:
    with running_server() as url:
        api = client(url)
        results: list[Any] = []

        def generate() -> None:
            results.append(api.txt2img(prompt="a red fox", steps=1000, n_iter=2, **SIZE))

        thread = threading.Thread(target=generate)
        thread.start()
        preview = None
        for _ in range(600):
            progress = client(url).get_progress()
            if progress["current_image"]:
                preview = Image.open(io.BytesIO(base64.b64decode(progress["current_image"])))
                break
            time.sleep(0.1)
        assert preview is not None
        assert preview.format == "PNG"
        assert 0 < progress["progress"] < 0.5
        assert progress["state"]["job_count"] == 2
        assert 0 < progress["state"]["sampling_step"] < progress["state"]["sampling_steps"] == 1000
        assert client(url).interrupt() == {}
        thread.join(60)
        assert results[0].images == []
        assert api.get_progress()["state"]["job_count"] == 0


ERRORS: list[tuple[dict[str, Any], int, str]] = [
    ({"sampler_name": "Nope"}, 404, "Sampler not found"),
    ({"override_settings": {"sd_model_checkpoint": "nope"}}, 404, "Cannot find the model 'nope'"),
    ({"override_settings": {"sd_model_checkpoint": "/etc/passwd"}}, 400, "names, not paths"),
    ({"steps": 1001}, 422, "steps must be 1 to 1000"),
    ({"steps": "many"}, 422, "steps must be a whole number"),
    ({"cfg_scale": -1}, 422, "cfg_scale must be 0 to 100"),
    ({"width": 100}, 400, "multiples of"),
    ({"batch_size": 8, "n_iter": 8}, 400, "64 images"),
    ({"prompt": 5}, 422, "prompt must be a text"),
]


def test_invalid_requests_raise_errors() -> None:
    with running_server() as url:
        api = client(url)
        for changes, status, text in ERRORS:
            with pytest.raises(RuntimeError) as error:
                api.txt2img(**{"prompt": "a red fox", **SIZE, **changes})
            assert error.value.args[0] == status, changes
            assert text in error.value.args[1], changes
        for arguments in ({"images": []}, {"images": [Image.new("RGB", (8, 8))], "resize_mode": 9}):
            with pytest.raises(RuntimeError, match="422"):
                api.img2img(prompt="a red fox", **arguments)
        assert "not found" in api.set_options({"sd_model_checkpoint": "nope"})["detail"]
        unknown = {"prompt": "a red fox", "steps": 1, "field": "\ud800", "override_settings": {"\ud800": 1}, **SIZE}
        response = requests.post(f"{url}/sdapi/v1/txt2img", json=unknown, timeout=60)
        assert response.json()["parameters"]["field"] == "\ud800"
