"""Use the APIs of OpenAI and A1111 with models that do not support all settings of the clients."""

import io
from pathlib import Path
from typing import Any

import openai
import pytest
import requests
import webuiapi
from artgen_server import running_server
from PIL import Image
from tiny_zoo import BUILDERS


def photo_file() -> tuple[str, bytes, str]:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    return "photo.png", buffer.getvalue(), "image/png"


def saved_model(name: str, folder: Path) -> str:
    path = folder / "models of the server" / name
    BUILDERS[name]().save_pretrained(path)
    return str(path)


@pytest.mark.slow
def test_settings_that_the_model_does_not_support_are_listed(tmp_path: Path) -> None:
    model = saved_model("flux-schnell", tmp_path)
    with running_server(defaults={"model": model}) as url:
        api = webuiapi.WebUIApi(baseurl=f"{url}/sdapi/v1", steps=2)
        assert api.util_get_current_model() == "flux-schnell"
        assert api.util_get_model_names() == ["flux-schnell", "tiny"]
        api.util_set_model("flux-schnell")
        result = api.txt2img(prompt="a red fox", negative_prompt="blurry", width=64, height=64)
        assert result.image.size == (64, 64)
        assert sorted(result.info["artgen_unsupported"]) == ["cfg_scale", "negative_prompt", "sampler_name"]
        assert result.info["sd_model_name"] == "flux-schnell"
        other = api.txt2img(prompt="a fox", width=64, height=64, override_settings={"sd_model_checkpoint": "tiny"})
        assert other.info["sd_model_name"] == "tiny"
        texts = [requests.get(f"{url}{path}", timeout=60).text for path in ("/v1/models", "/sdapi/v1/sd-models")]
        error = requests.post(f"{url}/sdapi/v1/txt2img", json={"prompt": "x", "width": 63, "height": 63}, timeout=60)
        assert error.status_code == 400
        for text in (*texts, error.text, str(result.json["info"])):
            assert str(tmp_path) not in text


@pytest.mark.slow
def test_editing_models_follow_instructions_and_take_several_images(tmp_path: Path) -> None:
    numbers: list[tuple[str, int, type[Any] | None]] = [
        ("pix2pix", 1, None),
        ("pix2pix", 2, openai.BadRequestError),
        ("qwen-image-edit-plus", 2, None),
    ]
    for name, number, error in numbers:
        folder = tmp_path / f"{name}-{number}"
        with running_server(defaults={"model": saved_model(name, folder)}) as url:
            client = openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
            images = [photo_file() for _ in range(number)]
            if error is not None:
                with pytest.raises(error):
                    client.images.edit(image=images, prompt="make it winter", extra_body={"steps": 2})
                continue
            response = client.images.edit(image=images, prompt="make it winter", extra_body={"steps": 2})
            assert response.size == "64x64"
