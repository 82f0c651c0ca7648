"""Test that `prepare_jobs` completes requests and validates them without importing torch."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_images
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from artgen import Img2Img, Inpaint, Outpaint, Txt2Img, registry
from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.jobs.job import Job
from artgen.jobs.notes import source_seed_warning
from artgen.jobs.prepare import prepare_jobs
from artgen.registry.describe import with_defaults
from artgen.registry.hub.select_files import omit_components
from artgen.spec.base_requests import ImageRequest, Request
from artgen.spec.settings import options_of


def prepare(request: Request) -> Job:
    return prepare_jobs([request])[0]


@pytest.fixture
def model_with_defaults(models: dict[str, Path], tmp_path: Path) -> Path:
    """Copy a model, and add `artgen.json` with default settings."""
    folder = Path(shutil.copytree(models["sd1"], tmp_path / "model"))
    defaults = {"steps": 6, "guidance_scale": 1.5, "scheduler": "Euler", "sigmas": "karras", "width": 48, "height": 40}
    (folder / "artgen.json").write_text(json.dumps(defaults))
    return folder


def test_unset_settings_have_the_defaults_of_the_model(model_with_defaults: Path) -> None:
    request = prepare(Txt2Img(model=str(model_with_defaults))).request
    assert (request.steps, request.guidance_scale) == (6, 1.5)
    assert (request.scheduler, request.sigmas) == ("euler", "karras")
    assert (request.width, request.height) == (48, 40)  # type: ignore[attr-defined]
    assert request.seed is not None


def test_set_values_have_priority_over_the_defaults_of_the_model(model_with_defaults: Path) -> None:
    request = prepare(
        Txt2Img(model=str(model_with_defaults), steps=2, guidance_scale=0.0, scheduler="ddim", seed=0, width=64)
    ).request
    assert (request.steps, request.guidance_scale, request.seed) == (2, 0.0, 0)
    assert (request.scheduler, request.sigmas) == ("ddim", None)
    assert (request.width, request.height) == (64, 40)  # type: ignore[attr-defined]
    assert prepare(Txt2Img(model=str(model_with_defaults), sigmas="beta")).request.sigmas == "beta"


def test_values_of_artgen_json_without_an_effect_get_a_note(model_with_defaults: Path) -> None:
    model = registry.resolve_model(str(model_with_defaults))
    without_guidance = with_defaults(replace(model, family="flux-schnell", guidance_scale=0.0), {"guidance_scale": 5.0})
    assert without_guidance.guidance_scale == 0.0
    assert "no guidance" in without_guidance.notes[0]
    (model_with_defaults / "artgen.json").write_text('{"zero_snr": true, "base": "sd15"}')
    notes = registry.resolve_model(str(model_with_defaults)).notes
    assert [note.split()[0] for note in notes] == ["base", "zero_snr"]


def test_a_vae_without_tiling_gets_no_tiles(model_with_defaults: Path) -> None:
    index_file = model_with_defaults / "model_index.json"
    index = json.loads(index_file.read_text()) | {"vae": ["diffusers", "AsymmetricAutoencoderKL"]}
    index_file.write_text(json.dumps(index))
    large = Txt2Img(model=str(model_with_defaults), width=2048, height=2048)
    assert prepare(large).request.vae_tiling is False  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="--vae-tiling"):
        prepare(large.replace(vae_tiling=True))


@pytest.mark.parametrize("class_name", ["HiDreamImagePipeline", "StableDiffusionPipeline"])
def test_text_encoder_3_is_omitted_only_from_stable_diffusion_3(class_name: str) -> None:
    index = {"_class_name": class_name, "text_encoder_3": ["transformers", "T5EncoderModel"]}
    with pytest.raises(UsageError, match="works with Stable Diffusion 3"):
        omit_components(index, ("text_encoder_3",))
    index["_class_name"] = "StableDiffusion3Pipeline"
    assert omit_components(index, ("text_encoder_3",))["text_encoder_3"] == [None, None]


def test_the_default_scheduler_is_read_from_the_model_folder(models: dict[str, Path]) -> None:
    assert prepare(Txt2Img(model=str(models["sd1"]))).request.scheduler == "ddim"
    assert prepare(Txt2Img(model=str(models["sdxl"]))).request.scheduler == "euler"
    assert prepare(Txt2Img(model=str(models["sd3"]))).request.scheduler == "flow-euler"


@pytest.mark.parametrize("task", ["txt2img", "img2img", "inpaint", "outpaint"])
def test_prepared_requests_are_complete(models: dict[str, Path], task: str) -> None:
    image, mask = sample_images.photo(Path("photo.png"), 20, 30), sample_images.mask(Path("mask.png"), 20, 30)
    model = str(models["sd1"])
    job = prepare(
        {
            "txt2img": lambda: Txt2Img(model=model),
            "img2img": lambda: Img2Img(model=model, image=image),
            "inpaint": lambda: Inpaint(model=model, image=image, mask=mask),
            "outpaint": lambda: Outpaint(model=model, image=image, expand="8"),
        }[task]()
    )
    may_be_unset = {
        "guidance_rescale",
        "pag_scale",
        "guide",
        "clip_skip",
        "sigmas",
        "fast",
        "acceleration",
        "offload",
        "memory_budget",
        "quantize",
        "vae",
        "hires",
        "hires_in",
        "hires_model",
        "hires_steps",
        "refiner",
        "seamless",
        "text_encoder_3",
        "max_side",
        "only_masked",
        "mask_text",
        "mask_model",
        "mask_threshold",
        "best_of",
        "score",
        "score_model",
        "grow",
        "save_mask",
        "expand",
        "target_size",
        "variation_seed",
        "variation_strength",
        "morph_prompt",
        "morph_negative_prompt",
        "morph_seed",
        "morph_position",
    }
    unset = {name for name in options_of(type(job.request)) if getattr(job.request, name) is None}
    assert unset <= may_be_unset
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
    job = prepare(Inpaint(model=str(models["sd1"]), image=image, mask=mask))
    assert job.padded_image.size == job.padded_mask.size == (24, 32)
    assert sample_images.same(job.padded_image.crop((0, 0, 21, 30)), Image.open(image))
    assert set(job.padded_mask.tobytes()) <= {0, 255}


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 30, 33, 300, 999, 1000])
def test_a_strength_without_steps_is_refused_and_the_suggested_strength_works(
    models: dict[str, Path], steps: int
) -> None:
    image = sample_images.photo(Path("photo.png"))
    request = Img2Img(model=str(models["sd1"]), image=image, steps=steps, strength=0.99 / steps)
    with pytest.raises(UsageError, match="runs no step") as caught:
        prepare(request)
    suggested = float(caught.value.hint.split("--strength ")[1].split(" ")[0].rstrip(","))
    assert prepare(request.replace(strength=suggested)).strength == suggested
    assert suggested <= 1 / steps + 0.001
    assert prepare(request.replace(strength=0.0)).strength == 0


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3", "sd1-inpaint", "sd3-inpaint"])
def test_architectures_are_detected(models: dict[str, Path], kind: str) -> None:
    image, mask = sample_images.photo(Path("photo.png")), sample_images.mask(Path("mask.png"))
    job = prepare(Inpaint(model=str(models[kind]), image=image, mask=mask))
    assert job.model.architecture == kind.removesuffix("-inpaint")
    assert job.model.is_inpainting == kind.endswith("-inpaint")


def test_an_image_is_read_once_for_several_requests(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from artgen import images

    image = sample_images.photo(Path("photo.png"))
    calls = []
    original = images.load_image
    monkeypatch.setattr(images, "load_image", lambda *a, **k: calls.append(a) or original(*a, **k))
    jobs = prepare_jobs([Img2Img(model=str(models["sd1"]), image=image, seed=seed) for seed in range(5)])
    assert len(calls) == 1
    assert all(job.image is jobs[0].image for job in jobs)


def test_a_model_is_hashed_once_for_several_requests(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from artgen.registry import hashes

    hashed = []
    original = hashes.model_hash
    monkeypatch.setattr(hashes, "model_hash", lambda files: hashed.append(files) or original(files))
    jobs = prepare_jobs([Txt2Img(model=str(models["sd1"]), prompt=str(i), width=32 + 32 * (i % 2)) for i in range(50)])
    assert len(hashed) == 1
    assert [job.request.prompt for job in jobs] == [str(i) for i in range(50)]
    assert [job.width for job in jobs[:2]] == [job.provenance["width"] for job in jobs[:2]] == [32, 64]
    assert all(job.provenance is jobs[i % 2].provenance and job.model is jobs[0].model for i, job in enumerate(jobs))


def test_transparent_pixels_have_the_background_color(models: dict[str, Path]) -> None:
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save("clear.png")
    for color, pixel in (("white", (255, 255, 255)), ("#ff8000", (255, 128, 0))):
        job = prepare(Img2Img(model=str(models["sd1"]), image=Path("clear.png"), background=color))
        assert job.image is not None
        assert job.image.mode == "RGB"
        assert job.image.getpixel((5, 5)) == pixel
        assert job.notes


def test_notes_mention_the_masked_area_and_unusual_sizes(models: dict[str, Path]) -> None:
    image, mask = (
        sample_images.photo(Path("photo.png"), 96, 32),
        sample_images.mask(Path("mask.png"), 96, 32, box=(0, 0, 24, 32)),
    )
    notes = " | ".join(prepare(Inpaint(model=str(models["sd1"]), image=image, mask=mask)).notes)
    assert "25.0% of the image will be repainted." in notes
    assert "trained at 32x32; at 96x32 shapes may repeat." in notes


@pytest.mark.parametrize(
    ("size", "effects"),
    [
        ((64, 16), []),
        ((72, 32), ["shapes may repeat."]),
        ((8, 24), ["objects may be unrecognizable."]),
        ((96, 8), ["shapes may repeat.", "objects may be unrecognizable."]),
    ],
)
def test_notes_mention_sizes_far_from_the_native_size(
    models: dict[str, Path], size: tuple[int, int], effects: list[str]
) -> None:
    image = sample_images.photo(Path("photo.png"), *size)
    expected = tuple(f"was trained at 32x32; at {size[0]}x{size[1]} {effect}" for effect in effects)
    for request in (
        Txt2Img(model=str(models["sd1"]), width=size[0], height=size[1]),
        Img2Img(model=str(models["sd1"]), image=image),
    ):
        notes = prepare(request).notes
        assert tuple(note.removeprefix(f"'{models['sd1']}' ") for note in notes) == expected


def test_img2img_with_the_seed_of_the_input_image_gives_a_warning() -> None:
    info = PngInfo()
    info.add_itxt("artgen", json.dumps({"artgen": "0.1.0", "task": "txt2img", "prompt": "x", "seed": 7}))
    Image.new("RGB", (8, 8)).save("a.png", pnginfo=info)
    Image.new("RGB", (8, 8)).save("plain.png")
    request = Img2Img(image=Path("a.png"), seed=7)
    assert "Seed 7 generated 'a.png'" in (source_seed_warning(request) or "")
    for other in (
        request.replace(seed=8),
        request.replace(strength=0.0),
        request.replace(image=Path("plain.png")),
        request.replace(image=Path("missing.png")),
        Txt2Img(seed=7),
        Outpaint(image=Path("a.png"), seed=7, expand="8"),
    ):
        assert source_seed_warning(other) is None


def invalid_requests(models: dict[str, Path]) -> list[tuple[Any, type[ArtgenError]]]:
    """Return invalid requests, each with the class of its error. The fixture `input_files` creates the files."""
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
        (Img2Img(model=sd1, image=photo, background="no-color"), UsageError),
        (Inpaint(model=sd1, image=photo, mask=Path("small.png")), InputFileError),
        (Inpaint(model=sd1, image=photo, mask=Path("black.png")), InputFileError),
        (Inpaint(model=sd1, image=photo, mask=mask, strength=0.01), UsageError),
        (Outpaint(model=sd1, image=photo, expand="sideways=3"), UsageError),
        (Outpaint(model=sd1, image=photo, target_size="8x8"), UsageError),
        (Outpaint(model=sd1, image=photo, target_size="wide"), UsageError),
    ]


@pytest.fixture
def input_files() -> None:
    sample_images.photo(Path("photo.png"))
    sample_images.mask(Path("mask.png"))
    sample_images.mask(Path("small.png"), 16, 16)
    Image.new("L", (32, 32), 0).save("black.png")
    Path("notes.png").write_text("not an image")
    Path("evil.ckpt").write_bytes(b"\x80\x04.")


@pytest.mark.usefixtures("input_files")
@pytest.mark.parametrize("index", range(18))
def test_invalid_requests_raise_their_error_with_a_hint(models: dict[str, Path], index: int) -> None:
    request, error = invalid_requests(models)[index]
    with pytest.raises(ArtgenError) as caught:
        prepare(request)
    assert type(caught.value) is error
    assert caught.value.message
    assert caught.value.hint


@pytest.mark.usefixtures("input_files")
def test_validation_does_not_import_torch(models: dict[str, Path]) -> None:
    script = """
import sys
from pathlib import Path
for name in ("torch", "diffusers", "transformers", "numpy"):
    sys.modules[name] = None  # An import raises ImportError.
from artgen import ArtgenError, Img2Img, Txt2Img
from artgen.jobs.prepare import prepare_jobs
sd1 = sys.argv[1]
for build in (
    lambda: Txt2Img(model=sd1, steps=0),
    lambda: Txt2Img(model=sd1, scheduler="eulr"),
    lambda: Txt2Img(model=sd1, width=33),
    lambda: Txt2Img(model="./nowhere"),
    lambda: Txt2Img(model=sd1, scheduler="flow-euler"),
    lambda: Img2Img(model=sd1, image=Path("missing.png")),
    lambda: Img2Img(model=sd1, image=Path("photo.png"), strength=0.01),
):
    try:
        prepare_jobs([build()])
    except ArtgenError as error:
        print(error.exit_code)
prepare_jobs([Img2Img(model=sd1, image=Path("photo.png"))])
"""
    process = subprocess.run(
        [sys.executable, "-c", script, str(models["sd1"])],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == ["2", "2", "2", "4", "2", "3", "2"]
