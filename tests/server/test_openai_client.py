"""Use the API of OpenAI with its unmodified client."""

import base64
import io
import threading
from typing import Any

import numpy as np
import openai
import pytest
import requests
from artgen_server import running_server
from PIL import Image

import artgen
from artgen.server.job_queue import JobQueue
from artgen.server.settings import ServerSettings

TOKEN = "the-token-of-the-tests"
SETTINGS = {"steps": 3, "seed": 7}


def client(url: str, token: str = TOKEN) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0, timeout=120)


def decoded(item: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(item.b64_json)))


def png_file(image: Image.Image) -> tuple[str, bytes, str]:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "photo.png", buffer.getvalue(), "image/png"


def pixels(image: Image.Image) -> "np.ndarray[Any, Any]":
    return np.asarray(image.convert("RGB"))


def test_client_generates_edits_and_lists_models() -> None:
    expected = artgen.txt2img("a red fox", model="tiny", size="128x128", **SETTINGS)
    with running_server(token=TOKEN) as url:
        api = client(url)
        assert "tiny" in [model.id for model in api.models.list()]
        assert api.models.retrieve("tiny").owned_by == "artgen"
        response = api.images.generate(model="tiny", prompt="a red fox", n=2, size="128x128", extra_body=SETTINGS)
        photo, other = map(decoded, response.data or [])
        np.testing.assert_array_equal(pixels(photo), pixels(expected.image))
        assert not np.array_equal(pixels(photo), pixels(other))
        assert response.size == "128x128"
        assert "a red fox" in photo.info["parameters"]

        hole = photo.convert("RGBA")
        hole.paste((0, 0, 0, 0), (32, 32, 96, 96))
        box = np.zeros((128, 128), bool)
        box[32:96, 32:96] = True
        edited = api.images.edit(prompt="an owl", image=png_file(photo), mask=png_file(hole), extra_body=SETTINGS)
        changed = (pixels(decoded((edited.data or [])[0])) != pixels(photo)).any(axis=2)
        assert changed[box].mean() > 0.5
        assert not changed[~box].any()
        whole = decoded(
            (api.images.edit(prompt="a blue owl", image=png_file(photo), extra_body=SETTINGS).data or [])[0]
        )
        assert (pixels(whole) != pixels(photo)).any(axis=2).mean() > 0.5


def test_links_need_no_token_and_have_the_address_of_the_client() -> None:
    with running_server(token=TOKEN) as url:
        address = url.replace("127.0.0.1", "localhost")
        response = client(address).images.generate(
            prompt="a red fox", size="128x128", response_format="url", output_format="jpeg", output_compression=70,
            extra_body=SETTINGS,
        )  # fmt: skip
        link = str((response.data or [])[0].url)
        assert link.startswith(f"{address}/v1/images/files/")
        image = requests.get(link, timeout=60)
        assert image.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(image.content)).size == (128, 128)
        assert requests.get(link.replace("files/", "files/0"), timeout=60).status_code == 404
        assert requests.get(f"{url}/v1/models", timeout=60).status_code == 401


ERRORS: list[tuple[dict[str, Any], type[openai.APIStatusError], str | None, str | None]] = [
    ({"model": "nope"}, openai.NotFoundError, "model_not_found", "model"),
    ({"model": "sdxl"}, openai.NotFoundError, "model_not_found", "model"),  # not on the disk
    ({"model": "/etc/passwd"}, openai.BadRequestError, None, None),
    ({"model": "https://127.0.0.1/model"}, openai.BadRequestError, None, None),
    ({"prompt": " "}, openai.BadRequestError, "empty_string", "prompt"),
    ({"prompt": "x" * 32_001}, openai.BadRequestError, "string_above_max_length", "prompt"),
    ({"prompt": "<lora:/etc/passwd:1>"}, openai.BadRequestError, None, None),
    ({"n": 11}, openai.BadRequestError, "integer_above_max_value", "n"),
    ({"n": 0}, openai.BadRequestError, "integer_below_min_value", "n"),
    ({"size": "large"}, openai.BadRequestError, "invalid_value", "size"),
    ({"size": "100x100"}, openai.BadRequestError, None, None),
    ({"size": "16000x16000"}, openai.BadRequestError, None, None),
    ({"background": "transparent"}, openai.BadRequestError, "invalid_value", "background"),
    ({"output_format": "gif"}, openai.BadRequestError, "invalid_value", "output_format"),
    ({"output_compression": 50}, openai.BadRequestError, "invalid_value", "output_compression"),
    ({"stream": True}, openai.BadRequestError, "invalid_value", "stream"),
    ({"extra_body": {"image": "/etc/passwd"}}, openai.BadRequestError, "unknown_parameter", "image"),
    ({"extra_body": {"steps": 0}}, openai.BadRequestError, None, "steps"),
    ({"extra_body": {"seed": "seven"}}, openai.BadRequestError, None, "seed"),
]


def test_invalid_requests_raise_the_errors_of_the_client() -> None:
    photo = png_file(Image.new("RGB", (128, 128)))
    small = png_file(Image.new("RGBA", (64, 64)))
    edits: list[tuple[dict[str, Any], str | None]] = [
        ({"image": b"text"}, None),
        ({"image": [photo, photo]}, "invalid_value"),
        ({"image": photo, "mask": photo}, "invalid_value"),
        ({"image": photo, "mask": small}, "invalid_value"),
    ]
    with running_server() as url:
        api = client(url)
        for changes, kind, code, param in ERRORS:
            with pytest.raises(openai.APIStatusError) as found:
                api.images.generate(**{"prompt": "a red fox", "model": "tiny", **changes})
            assert (type(found.value), found.value.code, found.value.param) == (kind, code, param), changes
        for changes, code in edits:
            with pytest.raises(openai.BadRequestError) as edit_error:
                api.images.edit(prompt="a red fox", **changes)
            assert (edit_error.value.code, edit_error.value.type) == (code, "invalid_request_error"), changes
        with pytest.raises(openai.NotFoundError):
            api.models.retrieve("nope")
        with pytest.raises(openai.NotFoundError):
            api.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hello"}])
        forms: list[dict[str, Any]] = [
            {"data": b"x", "headers": {"Content-Type": "multipart/form-data"}},
            {"data": {"prompt": "x", "image": "text"}, "files": {"file": b"x"}},
            {"json": {"prompt": "x", "image": "http://127.0.0.1/photo.png"}},
            {"data": {"prompt": ["x", "y"]}, "files": {"image": photo}},
            {"data": {"prompt": "x"}, "files": [("image", photo), ("mask", photo), ("mask", photo)]},
        ]
        for form in forms:
            response = requests.post(f"{url}/v1/images/edits", timeout=60, **form)
            assert response.status_code == 400
            assert not response.json()["error"]["message"].endswith("..")
        for body in (
            b"{",
            b"[]",
            b"\xff",
            b'{"prompt": "\\ud800"}',
            b'{"prompt": "x", "\\ud800": 1}',
            b'{"prompt": NaN}',
        ):
            response = requests.post(f"{url}/v1/images/generations", data=body, timeout=60)
            assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error"), body


def test_wrong_token_full_queue_and_foreign_host_raise_the_errors_of_the_client() -> None:
    settings = ServerSettings(max_per_client=1, defaults={"model": "tiny"})
    is_running, may_end = threading.Event(), threading.Event()

    def run_job(job: object, listener: object) -> None:
        is_running.set()
        assert may_end.wait(60)

    with running_server(JobQueue(settings, run_job), token=TOKEN, max_per_client=1) as url:
        with pytest.raises(openai.AuthenticationError) as no_token:
            client(url, "another-token-of-the-tests").models.list()
        assert no_token.value.code == "invalid_api_key"
        first = threading.Thread(target=lambda: client(url).images.generate(prompt="a red fox"))
        first.start()
        assert is_running.wait(60)
        with pytest.raises(openai.RateLimitError) as full:
            client(url).images.generate(prompt="a red fox")
        assert full.value.code == "rate_limit_exceeded"
        may_end.set()
        first.join()
        response = requests.get(f"{url}/v1/models", headers={"Host": "attacker.example"}, timeout=60)
        assert (response.status_code, response.json()["error"]["type"]) == (403, "permission_error")


def test_job_is_canceled_when_the_client_disconnects() -> None:
    is_running, is_canceled = threading.Event(), threading.Event()

    def run_job(job: Any, listener: object) -> None:
        is_running.set()
        for _ in range(600):
            if job.is_cancel_requested:
                is_canceled.set()
                return
            threading.Event().wait(0.1)

    settings = ServerSettings(defaults={"model": "tiny"})
    with running_server(JobQueue(settings, run_job)) as url:
        with pytest.raises(openai.APITimeoutError):
            client(url).with_options(timeout=1).images.generate(prompt="a red fox")
        assert is_running.is_set()
        assert is_canceled.wait(60)
