"""Test that the JSON of a request cannot use much more memory than its size."""

import base64
import json
import tracemalloc

import pytest
from starlette.testclient import TestClient

from artgen.server.app import create_app
from artgen.server.json_body import parse_json_body
from artgen.server.settings import ServerSettings


@pytest.mark.parametrize(
    "text", ["[[%s]]" % ("[]," * 500_000 + "[]"), "[%s1]" % ("1," * 500_000), "[%s{}]" % ("{}," * 500_000)]
)
def test_bodies_with_too_many_values_are_refused_before_they_are_parsed(text: str) -> None:
    data = text.encode()
    tracemalloc.start()
    with pytest.raises(ValueError, match="200,000 commas and brackets"):
        parse_json_body(data)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_large_images_and_long_prompts_are_parsed() -> None:
    image = base64.b64encode(bytes(range(256)) * 20_000).decode()
    values = {"prompt": "a, b [c], " * 10_000, "init_images": [image] * 3}
    assert parse_json_body(json.dumps(values).encode()) == values


@pytest.mark.parametrize("path", ["/api/jobs", "/v1/images/generations", "/sdapi/v1/txt2img", "/sdapi/v1/options"])
@pytest.mark.parametrize(
    ("body", "reason"),
    [(b'{"x": [%s1]}' % (b"1," * 300_000), "commas and brackets"), (b'{"x": "\xff"}', "byte 8 is not UTF-8")],
)
def test_all_apis_refuse_such_bodies(path: str, body: bytes, reason: str) -> None:
    client = TestClient(create_app(ServerSettings()), base_url="http://127.0.0.1")
    response = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert reason in response.text
