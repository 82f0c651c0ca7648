"""From a request to a job that lacks nothing; everything that can be refused is refused without torch."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sample_images
from PIL import Image

from artgen import Img2Img, Inpaint, Outpaint, Txt2Img
from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.jobs.job import Job
from artgen.jobs.prepare import prepare_jobs, source_seed_warning
from artgen.spec.requests import ImageRequest, Request
from artgen.spec.settings import options_of


def ready(request: Request) -> Job:
    return prepare_jobs([request])[0]


@pytest.fixture
def described(models: dict[str, Path], tmp_path: Path) -> Path:
    """A model folder that says how it wants to be used."""
    folder = Path(shutil.copytree(models["sd1"], tmp_path / "described"))
    own = {"steps": 6, "guidance_scale": 1.5, "scheduler": "Euler", "sigmas": "karras", "width": 48, "height": 40}
    (folder / "artgen.json").write_text(json.dumps(own))
    return folder


def test_what_is_open_comes_from_the_model(described: Path) -> None:
    request = ready(Txt2Img(model=str(described))).request
    assert (request.steps, request.guidance_scale) == (6, 1.5)
    assert (request.scheduler, request.sigmas) == ("euler", "karras")
    assert (request.width, request.height) == (48, 40)  # type: ignore[attr-defined]
    assert request.seed is not None


def test_what_is_given_wins(described: Path) -> None:
    request = ready(
        Txt2Img(model=str(described), steps=2, guidance_scale=0.0, scheduler="ddim", seed=0, width=64)
    ).request
    assert (request.steps, request.guidance_scale, request.seed) == (2, 0.0, 0)
    assert (request.scheduler, request.sigmas) == ("ddim", None)
    assert (request.width, request.height) == (64, 40)  # type: ignore[attr-defined]
    assert ready(Txt2Img(model=str(described), sigmas="beta")).request.sigmas == "beta"


def test_a_folder_without_a_description_uses_its_own_scheduler(models: dict[str, Path]) -> None:
    assert ready(Txt2Img(model=str(models["sd1"]))).request.scheduler == "ddim"
    assert ready(Txt2Img(model=str(models["sdxl"]))).request.scheduler == "euler"
    assert ready(Txt2Img(model=str(models["sd3"]))).request.scheduler == "flow-euler"


@pytest.mark.parametrize("task", ["txt2img", "img2img", "inpaint", "outpaint"])
def test_a_prepared_request_is_complete(models: dict[str, Path], task: str) -> None:
    image, mask = sample_images.photo(Path("photo.png"), 20, 30), sample_images.mask(Path("mask.png"), 20, 30)
    model = str(models["sd1"])
    job = ready(
        {
            "txt2img": lambda: Txt2Img(model=model),
            "img2img": lambda: Img2Img(model=model, image=image),
            "inpaint": lambda: Inpaint(model=model, image=image, mask=mask),
            "outpaint": lambda: Outpaint(model=model, image=image, expand="8"),
        }[task]()
    )
    may_be_open = {"sigmas", "fast", "acceleration", "offload", "memory_budget", "quantize", "expand", "target_size"}
    open_still = {name for name in options_of(type(job.request)) if getattr(job.request, name) is None}
    assert open_still <= may_be_open
    assert job.provenance["architecture"] == "sd1"
    assert (job.provenance["width"], job.provenance["height"]) == job.size
    if isinstance(job.request, ImageRequest):
        assert job.strength == {"img2img": 0.6, "inpaint": 1.0, "outpaint": 1.0}[task]
        assert job.provenance["image_sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
    weights = models["sd1"] / "unet" / "diffusion_pytorch_model.safetensors"
    assert job.provenance["model_hash"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (job.provenance["model"], job.provenance["model_source"]) == ("sd1", "local")


def test_padding_reflects_and_mask_padding_is_binary(models: dict[str, Path]) -> None:
    image, mask = sample_images.photo(Path("photo.png"), 21, 30), Path("mask.png")
    Image.linear_gradient("L").resize((21, 30)).save(mask)
    job = ready(Inpaint(model=str(models["sd1"]), image=image, mask=mask))
    assert job.padded_image.size == job.padded_mask.size == (24, 32)
    assert sample_images.same(job.padded_image.crop((0, 0, 21, 30)), Image.open(image))
    assert set(job.padded_mask.tobytes()) <= {0, 255}


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 30, 33, 300, 999, 1000])
def test_a_strength_that_runs_no_step_is_refused_and_the_one_named_works(models: dict[str, Path], steps: int) -> None:
    image = sample_images.photo(Path("photo.png"))
    request = Img2Img(model=str(models["sd1"]), image=image, steps=steps, strength=0.99 / steps)
    with pytest.raises(UsageError, match="runs no step") as refused:
        ready(request)
    named = float(refused.value.hint.split("--strength ")[1].split(" ")[0])
    assert ready(request.replace(strength=named)).strength == named
    assert named <= 1 / steps + 0.001
    with pytest.raises(UsageError, match="runs no step"):
        ready(request.replace(strength=0.0))


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3", "sd1-inpaint", "sd3-inpaint"])
def test_each_architecture_is_recognised(models: dict[str, Path], kind: str) -> None:
    image, mask = sample_images.photo(Path("photo.png")), sample_images.mask(Path("mask.png"))
    job = ready(Inpaint(model=str(models[kind]), image=image, mask=mask))
    assert job.model.architecture == kind.removesuffix("-inpaint")
    assert job.model.is_inpainting == kind.endswith("-inpaint")


def test_a_picture_is_read_once_for_many_requests(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from artgen import images

    image = sample_images.photo(Path("photo.png"))
    calls = []
    original = images.load_image
    monkeypatch.setattr(images, "load_image", lambda *a, **k: calls.append(a) or original(*a, **k))
    jobs = prepare_jobs([Img2Img(model=str(models["sd1"]), image=image, seed=seed) for seed in range(5)])
    assert len(calls) == 1
    assert all(job.image is jobs[0].image for job in jobs)


def test_a_model_is_asked_once_for_many_requests(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from artgen.registry import hashes

    asked = []
    original = hashes.model_hash
    monkeypatch.setattr(hashes, "model_hash", lambda files: asked.append(files) or original(files))
    jobs = prepare_jobs([Txt2Img(model=str(models["sd1"]), prompt=str(i), width=32 + 32 * (i % 2)) for i in range(50)])
    assert len(asked) == 1
    assert [job.request.prompt for job in jobs] == [str(i) for i in range(50)]
    assert [job.width for job in jobs[:2]] == [job.provenance["width"] for job in jobs[:2]] == [32, 64]
    assert all(job.provenance is jobs[i % 2].provenance and job.model is jobs[0].model for i, job in enumerate(jobs))


def test_the_background_of_a_transparent_picture(models: dict[str, Path]) -> None:
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save("clear.png")
    for colour, pixel in (("white", (255, 255, 255)), ("#ff8000", (255, 128, 0))):
        job = ready(Img2Img(model=str(models["sd1"]), image=Path("clear.png"), background=colour))
        assert job.image is not None
        assert job.image.mode == "RGB"
        assert job.image.getpixel((5, 5)) == pixel
        assert job.notes


def test_what_the_user_should_know_is_noted(models: dict[str, Path]) -> None:
    image, mask = (
        sample_images.photo(Path("photo.png"), 96, 32),
        sample_images.mask(Path("mask.png"), 96, 32, box=(0, 0, 24, 32)),
    )
    notes = " | ".join(ready(Inpaint(model=str(models["sd1"]), image=image, mask=mask)).notes)
    assert "25.0% of the image will be repainted." in notes
    assert "trained at 32x32; at 96x32 shapes may repeat." in notes


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((64, 16), []),
        ((72, 32), ["shapes may repeat."]),
        ((8, 24), ["objects may be unrecognizable."]),
        ((96, 8), ["shapes may repeat.", "objects may be unrecognizable."]),
    ],
)
def test_a_size_far_from_the_models_own_is_noted(
    models: dict[str, Path], size: tuple[int, int], said: list[str]
) -> None:
    image = sample_images.photo(Path("photo.png"), *size)
    expected = tuple(f"was trained at 32x32; at {size[0]}x{size[1]} {what}" for what in said)
    for request in (
        Txt2Img(model=str(models["sd1"]), width=size[0], height=size[1]),
        Img2Img(model=str(models["sd1"]), image=image),
    ):
        notes = ready(request).notes
        assert tuple(note.removeprefix(f"{models['sd1']} ") for note in notes) == expected


def test_redrawing_with_the_seed_that_made_the_picture_is_noted() -> None:
    request = Img2Img(image=Path("a.png"), seed=7)
    assert "Seed 7 generated the input image" in (source_seed_warning(request, {"seed": 7}) or "")
    for found in ({"seed": 8}, {}, None):
        assert source_seed_warning(request, found) is None
    assert source_seed_warning(Txt2Img(seed=7), {"seed": 7}) is None


def bad_requests(models: dict[str, Path]) -> list[tuple[Any, type[ArtgenError]]]:
    """Mistakes of every kind, each with its error; needs photo.png, mask.png, small.png, black.png, notes.png."""
    sd1 = str(models["sd1"])
    photo, mask = Path("photo.png"), Path("mask.png")
    return [
        (Txt2Img(model="no-such-model"), ModelUnavailableError),
        (Txt2Img(model="./nowhere"), ModelUnavailableError),
        (Txt2Img(model="evil.ckpt"), RefusedError),
        (Txt2Img(model="ada/never-downloaded", offline=True), ModelUnavailableError),
        (Txt2Img(model=sd1, width=33), UsageError),
        (Txt2Img(model=sd1, scheduler="flow-euler"), UsageError),
        (Txt2Img(model=str(models["sd3"]), scheduler="euler"), UsageError),
        (Txt2Img(model=str(models["sd1-inpaint"])), ModelUnavailableError),
        (Img2Img(model=sd1, image=Path("missing.png")), InputFileError),
        (Img2Img(model=sd1, image=Path()), InputFileError),
        (Img2Img(model=sd1, image=Path("notes.png")), InputFileError),
        (Img2Img(model=sd1, image=photo, background="no-colour"), UsageError),
        (Inpaint(model=sd1, image=photo, mask=Path("small.png")), InputFileError),
        (Inpaint(model=sd1, image=photo, mask=Path("black.png")), InputFileError),
        (Inpaint(model=sd1, image=photo, mask=mask, strength=0.0), UsageError),
        (Outpaint(model=sd1, image=photo, expand="sideways=3"), UsageError),
        (Outpaint(model=sd1, image=photo, target_size="8x8"), UsageError),
        (Outpaint(model=sd1, image=photo, target_size="wide"), UsageError),
    ]


@pytest.fixture
def _files() -> None:
    sample_images.photo(Path("photo.png"))
    sample_images.mask(Path("mask.png"))
    sample_images.mask(Path("small.png"), 16, 16)
    Image.new("L", (32, 32), 0).save("black.png")
    Path("notes.png").write_text("not a picture")
    Path("evil.ckpt").write_bytes(b"\x80\x04.")


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("index", range(18))
def test_mistakes_have_their_own_error_and_a_way_out(models: dict[str, Path], index: int) -> None:
    request, error = bad_requests(models)[index]
    with pytest.raises(ArtgenError) as raised:
        ready(request)
    assert type(raised.value) is error
    assert raised.value.message
    assert raised.value.hint


@pytest.mark.usefixtures("_files")
def test_no_mistake_costs_an_import_of_torch(models: dict[str, Path]) -> None:
    script = """
import sys
from pathlib import Path
for name in ("torch", "diffusers", "transformers", "numpy"):
    sys.modules[name] = None  # importing it is an error now
from artgen import ArtgenError, Img2Img, Txt2Img
from artgen.jobs.prepare import prepare_jobs
sd1 = sys.argv[1]
for make in (
    lambda: Txt2Img(model=sd1, steps=0),
    lambda: Txt2Img(model=sd1, scheduler="eulr"),
    lambda: Txt2Img(model=sd1, width=33),
    lambda: Txt2Img(model="./nowhere"),
    lambda: Txt2Img(model=sd1, scheduler="flow-euler"),
    lambda: Img2Img(model=sd1, image=Path("missing.png")),
    lambda: Img2Img(model=sd1, image=Path("photo.png"), strength=0.0),
):
    try:
        prepare_jobs([make()])
    except ArtgenError as error:
        print(error.exit_code)
prepare_jobs([Img2Img(model=sd1, image=Path("photo.png"))])
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, str(models["sd1"])],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["2", "2", "2", "4", "2", "3", "2"]
