"""Test `artgen denoise`."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_denoisers as tiny
from command_line import record, run
from PIL import Image

from artgen import metadata
from artgen.images import load_lossless


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.save(tmp_path_factory.mktemp("denoiser"))


@pytest.fixture(autouse=True)
def _inputs() -> None:
    values = np.random.default_rng(2).normal(120, 30, (40, 50, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(values).save("noisy.png")


def pixels(path: str | Path) -> bytes:
    return Image.open(path).tobytes()


def test_denoised_image_has_a_record_and_can_be_replayed(model: str) -> None:
    result = run("denoise", "noisy.png", "-m", model, "--steps", "2", "--eta", "1", "-s", "5", "--sigma", "auto*1.2")
    assert result.stdout.split() == ["outputs/noisy-denoised.png"]
    found = metadata.read_metadata(Path("outputs/noisy-denoised.png")).record
    assert found is not None
    assert (found["task"], found["method"], found["steps"], found["eta"], found["seed"]) == (
        "denoise",
        "pixel",
        2,
        1.0,
        5,
    )
    assert float(found["sigma"]) == pytest.approx(1.2 * found["sigma_estimated"], abs=0.01)
    assert (found["width"], found["height"], len(found["image_sha256"]), len(found["model_hash"])) == (50, 40, 64, 64)
    assert "prompt" not in found
    again = run("replay", "outputs/noisy-denoised.png", "--set", f"model={model}", "-o", "again.png")
    assert "Seed 5, " in again.stderr
    assert pixels("again.png") == pixels("outputs/noisy-denoised.png")


def test_dry_run_prints_the_complete_settings(model: str) -> None:
    found = record("denoise", "noisy.png", "-m", model)
    assert (found["sigma"], found["method"], found["steps"], found["self_ensemble"]) == ("auto", "pixel", 1, 1)
    assert not found.keys() & {"prompt", "guidance_scale", "scheduler", "strength", "eta", "fidelity", "seed"}


@pytest.mark.parametrize(
    "arguments", [("--prompt", "x"), ("-g", "3"), ("--scheduler", "euler"), ("--strength", "0.3"), ("--count", "2")]
)
def test_options_of_other_tasks_are_rejected(arguments: tuple[str, ...]) -> None:
    assert "Unknown option" in run("denoise", "noisy.png", *arguments, code=2).stderr


def test_folder_input_preserves_names(model: str) -> None:
    Path("in/deep").mkdir(parents=True)
    for name in ("in/a.png", "in/deep/b.jpg", "c.png"):
        Image.open("noisy.png").save(name)
    Path("in/a.txt").write_text("denoise ignores captions")
    run("denoise", "in/", "c.png", "-m", model, "--sigma", "20", "-o", "out/")
    assert sorted(str(path) for path in Path("out").rglob("*.png")) == ["out/a.png", "out/c.png", "out/deep/b.png"]
    run("denoise", "noisy.png", "-m", model, "--sigma", "20", "-o", "one.png")
    assert pixels("out/a.png") == pixels("one.png")


def test_denoise_runs_in_prompt_files_and_batches(model: str) -> None:
    lines = [{"task": "denoise", "image": "noisy.png", "sigma": 20, "model": model, "output": "x"}]
    lines.append({"task": "denoise", "image": "noisy.png", "method": "tv", "output": "y"})
    Path("lines.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run("batch", "lines.jsonl", "-o", "out/")
    run("denoise", "noisy.png", "-m", model, "--sigma", "20", "-o", "one.png")
    assert pixels("out/x.png") == pixels("one.png")
    Path("in").mkdir()
    Image.open("noisy.png").save("in/a.png")
    run("batch", "in/", "--task", "denoise", "-m", model, "--sigma", "20", "-o", "more/")
    assert pixels("more/a.png") == pixels("one.png")
    Path("bad.jsonl").write_text('{"task": "denoise", "image": "noisy.png", "method": "tv", "prompt": "a fox"}\n')
    assert "prompt" in run("batch", "bad.jsonl", "-o", "bad/", code=2).stderr


def test_reference_is_measured_and_comparison_is_written() -> None:
    y, x = np.mgrid[0:40, 0:50]
    clean = np.stack([x * 4, y * 5, 255 - 2 * x], axis=-1).astype(np.uint8)
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 20, clean.shape), 0, 255).round().astype(np.uint8)
    Image.fromarray(clean).save("clean.png")
    Image.fromarray(noisy).save("noisy.png")
    arguments = ("denoise", "noisy.png", "--method", "tv", "--sigma", "20", "--reference", "clean.png")
    result = run(*arguments, "--json")
    metrics = json.loads(result.stdout)
    assert metrics["after"]["psnr"] > metrics["before"]["psnr"] + 5
    assert metrics["after"]["ssim"] > metrics["before"]["ssim"]
    assert f"PSNR {metrics['before']['psnr']:.2f} dB -> {metrics['after']['psnr']:.2f} dB" in result.stderr
    lines = run(*arguments, "--compare", "sheet.png").stdout.split()
    assert lines[-1] == "sheet.png"
    sheet = Image.open("sheet.png")
    assert sheet.width > 4 * 256
    assert "exists already" in run(*arguments, "--compare", "sheet.png", code=74).stderr


def test_invalid_references_are_rejected(model: str) -> None:
    Image.new("RGB", (9, 9)).save("small.png")
    message = run("denoise", "noisy.png", "-m", model, "--reference", "small.png", code=3).stderr
    assert "it is 9x9 pixels, but the image is 50x40." in message
    assert "with several images" in run("denoise", "noisy.png", "small.png", "--compare", "s.png", code=2).stderr
    assert "does not exist" in run("denoise", "noisy.png", "-m", model, "--reference", "no.png", code=3).stderr


def test_missing_images_are_rejected() -> None:
    assert "denoise" in run("denoise", code=2).stderr
    assert "does not exist" in run("denoise", "no.png", code=3).stderr


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_16_bit_depth_is_preserved(model: str, mode: str) -> None:
    from artgen.outputs.png import encode_png

    values = np.random.default_rng(1).integers(0, 65536, (20, 30, len(mode)), dtype=np.uint16)
    high, low = (Image.fromarray((part & 255).astype(np.uint8).squeeze(), mode) for part in (values >> 8, values))
    Path("deep.png").write_bytes(encode_png(high, {}, low_bytes=low))
    read = load_lossless(Path("deep.png"))
    assert read.low_bytes is not None
    assert (read.image.tobytes(), read.low_bytes.tobytes()) == (high.tobytes(), low.tobytes())
    run("denoise", "deep.png", "-m", model, "--sigma", "20", "-o", "out.png")
    found = load_lossless(Path("out.png"))
    assert found.low_bytes is not None
    assert found.image.mode == mode
    assert found.image.tobytes() != high.tobytes()
    if mode.endswith("A"):
        assert found.image.getchannel("A").tobytes() == high.getchannel("A").tobytes()
        assert found.low_bytes.getchannel("A").tobytes() == low.getchannel("A").tobytes()


def test_16_bit_files_are_compatible_with_pillow_and_scikit_image(model: str) -> None:
    import skimage.io

    values = np.random.default_rng(1).integers(0, 65536, (20, 30), dtype=np.uint16)
    Image.fromarray(values).save("deep.png")  # Pillow writes 16-bit grayscale
    read = load_lossless(Path("deep.png"))
    assert read.low_bytes is not None
    found = np.asarray(read.image).astype(int) * 256 + np.asarray(read.low_bytes)
    np.testing.assert_array_equal(found, values)
    run(
        "denoise", "deep.png", "-m", model, "--sigma", "0.001", "-o", "same.png"
    )  # noise below the minimum is not removed
    np.testing.assert_array_equal(skimage.io.imread("same.png"), values)


@pytest.mark.parametrize("name", ["linear", "P3"])
@pytest.mark.parametrize("depth", [8, 16])
def test_profile_date_camera_and_resolution_are_kept(name: str, depth: int) -> None:
    from icc_profiles import P3_PRIMARIES, rgb_profile

    from artgen.outputs.png import encode_png

    profile = rgb_profile(1) if name == "linear" else rgb_profile("srgb", P3_PRIMARIES)
    exif = Image.Exif()
    exif[0x0110], exif[0x0132], exif[0x8825] = "EOS R5", "2024:05:06 07:08:09", {1: "N", 2: (52.0, 31.0, 7.0)}
    noisy = Image.open("noisy.png").convert("RGB")
    options = {"icc_profile": profile, "exif": exif, "dpi": (300, 300)}
    Path("in.png").write_bytes(encode_png(noisy, options, low_bytes=noisy if depth == 16 else None))
    run("denoise", "in.png", "--method", "tv", "--sigma", "20", "-o", "out.png")
    result = Image.open("out.png")
    assert result.info["icc_profile"] == profile
    assert round(result.info["dpi"][0]) == 300
    assert (result.getexif()[0x0110], result.getexif()[0x0132]) == ("EOS R5", "2024:05:06 07:08:09")
    assert not result.getexif().get_ifd(0x8825)
    assert (load_lossless(Path("out.png")).low_bytes is not None) == (depth == 16)


def test_reference_with_another_profile_is_compared_in_srgb() -> None:
    from icc_profiles import rgb_profile

    from artgen.images.color_profiles import from_srgb, read_profile

    clean = Image.fromarray((np.mgrid[0:40, 0:50].sum(axis=0) * 2 + 40).astype(np.uint8)).convert("RGB")
    clean.save("clean.png")
    from_srgb(clean, read_profile(rgb_profile(1.8), "RGB"), "RGB").save("other.png", icc_profile=rgb_profile(1.8))
    arguments = ("denoise", "clean.png", "--method", "tv", "--sigma", "0.001", "--reference", "other.png", "--json")
    metrics = json.loads(run(*arguments).stdout)
    assert metrics["before"]["psnr"] > 48


def test_frames_have_the_colors_of_the_image(model: str) -> None:
    from icc_profiles import rgb_profile

    from artgen.images import load_image

    Image.open("noisy.png").convert("RGB").save("in.png", icc_profile=rgb_profile(1))
    run("denoise", "in.png", "-m", model, "--sigma", "20", "--steps", "2", "-o", "out.png", "--frames", "f.webp")
    frames = Image.open("f.webp")
    frames.seek(frames.n_frames - 1)
    brightness = np.asarray(load_image(Path("out.png")).image).mean()
    assert abs(np.asarray(frames.convert("RGB")).mean() - brightness) < 4
    assert abs(np.asarray(Image.open("out.png").convert("RGB")).mean() - brightness) > 30
