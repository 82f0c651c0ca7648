"""Replay the requests of programs that use the APIs of OpenAI and A1111."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
import requests
from artgen_server import running_server
from PIL import Image

TOKEN = "the-token-of-the-tests"
FOLDER = Path(__file__).parent / "recorded_requests"


def png_bytes(color: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (128, 128), color).save(buffer, "PNG")
    return buffer.getvalue()


def send(url: str, recorded: dict[str, Any]) -> requests.Response:
    files = [(name, ("photo.png", png_bytes(), "image/png")) for name in recorded.get("files", [])]
    body: dict[str, Any] = {"data": recorded["form"], "files": files} if files else {"json": recorded.get("json")}
    if recorded["method"] == "GET":
        body = {}
    return requests.request(recorded["method"], url + recorded["path"], headers=recorded["headers"], timeout=60, **body)


def check(recorded: dict[str, Any], response: requests.Response) -> None:
    assert response.status_code == recorded.get("status", 200), response.text
    value = response.json()
    names = set(value) if isinstance(value, dict) else set()
    assert set(recorded.get("keys", [])) <= names
    assert not set(recorded.get("missing_keys", [])) & names
    if "item_keys" in recorded:
        assert isinstance(value, list)
        assert all(set(recorded["item_keys"]) <= item.keys() for item in value)
        assert value or not recorded["item_keys"]
    if "num_images" in recorded:
        texts = value["images"] if "images" in value else [item["b64_json"] for item in value["data"]]
        sizes = [Image.open(io.BytesIO(base64.b64decode(text))).size for text in texts]
        assert sizes == [(128, 128)] * recorded["num_images"]
    if "unsupported" in recorded:
        assert sorted(json.loads(value["info"])["artgen_unsupported"]) == recorded["unsupported"]


@pytest.mark.parametrize(("program", "token"), [("open_webui", TOKEN), ("sillytavern", None)])
def test_requests_of_other_programs_are_answered(program: str, token: str | None) -> None:
    with running_server(token=token) as url:
        for recorded in json.loads((FOLDER / f"{program}.json").read_text("utf-8")):
            check(recorded, send(url, recorded))
