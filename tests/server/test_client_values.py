"""Test that no value of a client makes the server read a file, list a folder or open a connection."""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from artgen.errors import ArtgenError
from artgen.queue.entries import LINE_SETTINGS
from artgen.server import client_values
from artgen.server.parse_job import parse_job
from artgen.server.settings import ServerSettings
from artgen.server.uploads import Upload
from artgen.spec.requests import TASKS
from artgen.spec.settings import options_of, settings_of, type_of

CANARY = "canary"
"""Part of the name of each file and folder that a client must not reach."""

TOUCHING_EVENTS = {"open", "os.listdir", "os.scandir", "socket.connect", "socket.getaddrinfo", "os.mkdir", "os.rename"}

FORMS: dict[str, tuple[str, ...]] = {
    "control": ("{}", "canny={}", "canny=upload:photo,model={}", "raw=upload:photo,model={}"),
    "embedding": ("{}", "{}:token"),
    "image_prompt": ("{}", "{}:0.5", "upload:photo,mask={}", "upload:photo,model={}"),
    "lora": ("{}", "{}:0.8", "{}:0.8:0.5"),
    "mask_model": ("{}", "owlv2+{}", "{}+sam"),
    "refiner": ("{}", "{}:0.5"),
    **dict.fromkeys(
        ("prompt", "negative_prompt"),
        (
            "{}",
            "a fox <lora:{}:0.8>",
            "a fox <lyco:{}:te=1:unet=1>",
            "a fox {{<lora:{}:1>|<lora:{}:2>}}",
            "a fox <lora:{{{}|{}}}:1>",
            "a fox __{}__",
            "a fox embedding:{}",
            "a fox {{@{}}}",
        ),
    ),
}
"""Forms of a value that contains a path, for settings with a grammar."""

CONTEXT: dict[str, dict[str, Any]] = {
    "hires_model": {"hires": "2"},
    "mask_model": {"mask_text": "fox"},
    "score_model": {"best_of": 2, "score": "clip"},
    "upscale_model": {"method": "model", "by": 2},
}
"""Other settings of a job that make a setting effective."""

_is_recording = False
_touched: list[str] = []


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    if _is_recording and event in TOUCHING_EVENTS and any(CANARY in str(argument) for argument in arguments):
        _touched.append(f"{event} {arguments[0]!r}")


sys.addaudithook(_record)


@pytest.fixture
def touched() -> Iterator[list[str]]:
    """Return the list of the events that touch a canary."""
    global _is_recording
    _touched.clear()
    _is_recording = True
    yield _touched
    _is_recording = False


def png(size: tuple[int, int] = (64, 64)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return paths and URLs of existing files and folders: absolute, relative, and in other forms."""
    work = tmp_path / "work"
    for folder in (tmp_path, work, work / "sub"):
        folder.mkdir(exist_ok=True)
        for suffix in (".png", ".safetensors", ".txt", ".json", ".yaml"):
            (folder / f"{CANARY}{suffix}").write_bytes(png() if suffix == ".png" else b"{}")
        (folder / f"{CANARY}-folder").mkdir()
        (folder / f"{CANARY}-folder" / "config.json").write_text("{}")
        (folder / f"{CANARY}-folder" / "model_index.json").write_text("{}")
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(work))
    return [
        CANARY,
        str(work / f"{CANARY}.safetensors"),
        f"{CANARY}-folder",
        f"../{CANARY}.png",
        f"https://127.0.0.1:9/{CANARY}.safetensors",
        f"sub/{CANARY}.safetensors",
        f"file://{work}/{CANARY}.png",
        f"~/{CANARY}.png",
        f"sub\\{CANARY}.png",
        f"civitai:{CANARY}",
    ]


def text_settings() -> list[str]:
    """Return all settings of a job whose value is a text, a list of texts or a path without fixed choices."""
    found = []
    for name, group in LINE_SETTINGS.items():
        kind, _ = type_of(group, name)
        if kind in (str, tuple, Path) and not settings_of(group)[name].choices:
            found.append(name)
    return sorted(found)


def job_with(name: str, value: str) -> dict[str, Any]:
    """Return a job of a task that takes the setting, with uploaded files for its required inputs."""
    task = next((each for each in TASKS if name in options_of(TASKS[each].request_class)), "txt2img")
    inputs = {each: "upload:photo" for each in TASKS[task].inputs if each in ("image", "mask")}
    if name in ("mask_text", "mask_model"):
        inputs.pop("mask", None)
    prompt = {"prompt": "a fox"} if "prompt" in options_of(TASKS[task].request_class) else {}
    model = {"model": "tiny"} if task not in ("denoise", "sample", "upscale") else {}
    return {"task": task, **model, **prompt, **inputs, **CONTEXT.get(name, {}), name: value}


def parse(job: dict[str, Any]) -> None:
    """Parse a job with the file that it names, and ignore that it is refused."""
    uploads = {"photo": Upload("photo.png", png())} if "upload:photo" in str(job) else {}
    with contextlib.suppress(ArtgenError):
        parse_job(job, uploads)


@pytest.mark.parametrize("name", text_settings())
def test_no_setting_reaches_a_file_or_a_url(name: str, paths: list[str], touched: list[str]) -> None:
    is_path = settings_of(LINE_SETTINGS[name])[name].is_path
    forms = FORMS.get(name, ("{}",))
    for path in paths if is_path else paths[:5] if name in FORMS else paths[:3]:
        jobs = [job_with(name, form.format(path, path)) for form in forms]
        if is_path:  # a record is read in another way
            jobs.append({**jobs[0], "artgen": "0.1.0", f"{name}_sha256": ["0" * 64], "schema": 1})
        for job in jobs:
            parse(job)
            assert not touched, job


@pytest.mark.parametrize(
    "name", ["control", "embedding", "hires_model", "lora", "mask_model", "model", "prompt", "score_model", "vae"]
)
def test_the_events_show_a_missing_check(
    name: str, paths: list[str], touched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_values, "check_name", lambda *_: None)
    for path in paths[1:3]:
        for form in FORMS.get(name, ("{}",)):
            parse(job_with(name, form.format(path, path)))
    assert touched


def test_every_setting_that_names_files_is_checked() -> None:
    declared = {name for name, group in LINE_SETTINGS.items() if settings_of(group)[name].is_path}
    checked = {
        *client_values.FILE_SETTINGS,
        *client_values.FILE_LIST_SETTINGS,
        *client_values.REFUSED_SETTINGS,
        *client_values.CONVERTERS,
    }
    assert declared <= checked


def test_control_images_and_file_names_come_from_the_client() -> None:
    uploads = {"c": Upload("../../my edges.png", png()), "i": Upload("in\x1b[31mput.png", png())}
    values = {
        "task": "img2img",
        "model": "tiny",
        "prompt": "x",
        "strength": 0.5,
        "image": "upload:i",
        "control": ["canny=upload:c,scale=0.5"],
    }
    parsed = parse_job(values, uploads)
    request = parsed.requests[0]
    assert request.input_paths["image"].name == "in\\x1b[31mput.png".replace("\\", "_")
    assert parsed.files.with_names(request.controls[0].image.name) == "my edges.png"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt": "x", "output": "x.png"}, "takes no output"),
        ({"prompt": "x", "format": "webp"}, "takes no format"),
        ({"prompt": "x", "history": False}, "takes no history"),
        ({"prompt": "x", "png_level": 0}, "takes no png_level"),
        ({"prompt": "x", "steps": 5000}, "steps must be"),
        ({"prompt": "x", "count": 33}, "The limit of this server is 32".lower()),
        ({"prompt": "x", "seed": "1-40"}, "the limit of this server is 32"),
        ({"prompt": "x", "width": 4096, "height": 4096}, "the limit of this server is 5,000,000"),
        ({"prompt": "x", "width": 1600, "height": 1600, "hires": "2"}, "the limit of this server is 5,000,000"),
        ({"prompt": "x", "model": "no-such-model"}, "Cannot find the model"),
        ({"prompt": "x", "stepz": 3}, "stepz"),
        ({"task": "img2img", "image": "upload:none"}, "contains no file of this name"),
        ({"task": "img2img", "image": "photo.png"}, "accepts only uploaded files"),
        ({"task": "img2img", "image": "upload:photo", "model": "tiny", "mask": "upload:photo"}, "takes no mask"),
        ({"prompt": "x"}, "is not used by the job"),
        ([1], "it is not a mapping"),
    ],
)
def test_invalid_jobs_are_refused_before_a_model_is_loaded(values: Any, message: str) -> None:
    uses_upload = "is not used" in message or "upload:photo" in str(values)
    with pytest.raises(ArtgenError, match=message) as found:
        parse_job(values, {"photo": Upload("photo.png", png())} if uses_upload else {})
    assert "--ignore-columns" not in found.value.hint  # an option of `artgen batch`


def test_large_and_damaged_uploads_are_refused() -> None:
    job = {"task": "denoise", "image": "upload:photo", "method": "tv"}
    with pytest.raises(ArtgenError, match="the limit is 40000000 pixels"):
        parse_job(job, {"photo": Upload("big.png", png((8000, 6000)))})
    with pytest.raises(ArtgenError, match=r"'note\.txt' as an image: the content is text"):
        parse_job(job, {"photo": Upload("note.txt", b"hello")})


def test_messages_to_clients_contain_no_folders_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my models"
    folder.mkdir()
    (folder / "damaged.safetensors").write_bytes(b"x")
    monkeypatch.setenv("ARTGEN_LORA_FOLDER", str(folder))
    with pytest.raises(ArtgenError) as raised:
        parse_job({"prompt": "a fox", "model": "tiny", "lora": "damaged"})
    assert "'damaged.safetensors'" in raised.value.message
    assert str(tmp_path) not in str(raised.value)


def test_defaults_of_the_server_that_do_not_fit_are_ignored_with_a_note() -> None:
    settings = ServerSettings(defaults={"model": "tiny", "refiner": "sdxl-refiner", "device": "cpu"})
    parsed = parse_job({"prompt": "a fox", "count": 2}, settings=settings)
    assert [each.model for each in parsed.requests] == ["tiny", "tiny"]
    assert parsed.notes[0].startswith("The default of refiner of the server is ignored: ")
    photo = {"photo": Upload("photo.png", png())}
    upscaled = parse_job({"task": "upscale", "image": "upload:photo", "by": 2}, photo, settings)
    assert (upscaled.requests[0].model, upscaled.requests[0].seed) == (None, None)
    with pytest.raises(ArtgenError, match="it needs a Stable Diffusion XL base model"):
        parse_job({"prompt": "a fox", "refiner": "sdxl-refiner"}, settings=settings)
