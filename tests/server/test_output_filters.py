"""Check that no API of a server with output filters returns a refused image, and that no client can remove a filter."""

import base64
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from artgen_server import running_server
from helpers import command_line
from helpers.tiny_classifier import classifier
from PIL import Image

FAST = {"steps": 2, "seed": 7, "width": 64, "height": 64}


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run a server whose filters refuse one word and every image."""
    monkeypatch.chdir(tmp_path)
    folder = classifier(tmp_path / "classifier")
    (tmp_path / "artgen.toml").write_text(
        "[filters.words]\nwords = ['w.txt']\n"
        f"[filters.all]\nfilter_model = '{folder}'\nlabels = ['normal', 'dark']\n"
        "[filters.other]\nwords = ['example']\naction = 'note'\n"
    )
    (tmp_path / "w.txt").write_text("secret\n")
    with running_server(filter=("words", "all")) as address:
        yield address


def png(color: str = "white") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(buffer, "PNG")
    return buffer.getvalue()


def run_job(url: str, values: dict[str, Any], **files: bytes) -> tuple[int, str]:
    """Send a job to artgen's own API. Return the status and the text of the refusal, or of the finished job."""
    data = {"data": {"job": json.dumps(values)}, "files": files} if files else {"json": values}
    answer = requests.post(f"{url}/api/jobs", timeout=60, **data)
    if answer.status_code >= 400:
        return answer.status_code, answer.text
    job, deadline = answer.json()["id"], time.monotonic() + 60
    while time.monotonic() < deadline:
        state = requests.get(f"{url}/api/jobs/{job}", timeout=60).json()
        assert requests.get(f"{url}/api/jobs/{job}/preview", timeout=60).status_code == 404
        if state["error"] or state["images"]:
            return 200 if state["images"] else 400, json.dumps(state)
        time.sleep(0.05)
    raise AssertionError("the job does not end")


def post(url: str, path: str, body: dict[str, Any]) -> tuple[int, str]:
    answer = requests.post(f"{url}{path}", json=body, timeout=60)
    return answer.status_code, answer.text


def edit(url: str, body: dict[str, Any]) -> tuple[int, str]:
    answer = requests.post(
        f"{url}/v1/images/edits", data=body, files={"image": ("a.png", png(), "image/png")}, timeout=60
    )
    return answer.status_code, answer.text


def test_no_entry_point_returns_a_refused_image(url: str) -> None:
    image = base64.b64encode(png()).decode()
    removed = {"filter": "none", "safety_checker": False, "moderation": "low"}
    own, sized = {**FAST, "model": "tiny"}, {**FAST, "size": "64x64", "model": "tiny"}
    del sized["width"], sized["height"]
    for prompt, reason in (("a secret fox", "it contains 'secret'"), ("a fox", "the classifier found normal")):
        text = {"prompt": prompt}
        answers = {
            "job": run_job(url, {**text, **own}),
            "job without filter": run_job(url, {**text, **own, "filter": ["none"]}),
            "job with another filter": run_job(url, {**text, **own, "filter": "other"}),
            "record": run_job(url, {**text, **own, "artgen": "1", "task": "txt2img", "filter": "none"}),
            "img2img": run_job(url, {**text, "task": "img2img", "image": "upload:i", "filter": "none"}, i=png()),
            "OpenAI": post(url, "/v1/images/generations", {**text, **sized}),
            "OpenAI edit": edit(url, {**text, "model": "tiny", "seed": "7", "steps": "2"}),
            "A1111": post(url, "/sdapi/v1/txt2img", {**text, **FAST, **removed}),
            "A1111 img2img": post(url, "/sdapi/v1/img2img", {**text, **FAST, **removed, "init_images": [image]}),
        }
        for name, (status, answer) in answers.items():
            assert status == 400, (name, status, answer[:300])
            assert reason in answer, (name, answer[:300])
        for name in ("OpenAI", "OpenAI edit"):
            assert json.loads(answers[name][1])["error"]["code"] == "content_policy_violation"
    status, answer = post(url, "/sdapi/v1/extra-single-image", {"image": image, "upscaling_resize": 2, **removed})
    assert (status, "the classifier found" in answer) == (400, True), answer[:300]
    status, answer = run_job(url, {"task": "upscale", "image": "upload:i", "filter": "none"}, i=png())
    assert (status, "the classifier found" in answer) == (400, True), answer[:300]
    status, answer = post(url, "/v1/images/generations", {"prompt": "a fox", **sized, "filter": "none"})
    assert (status, "Unknown parameter: 'filter'" in answer) == (400, True), answer[:300]
    status, answer = run_job(url, {"prompt": "a fox", **own, "filter": "unknown"})
    assert (status, "Unknown filter: 'unknown'" in answer) == (400, True), answer[:300]
    result = command_line.run("txt2img", "a secret fox", "--server", url.removeprefix("http://"), code=8)
    assert "it contains 'secret'" in result.stderr
