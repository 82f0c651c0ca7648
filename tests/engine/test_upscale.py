"""Test `artgen upscale`: parity of a tile, kept properties, records and replay, folders, and refused inputs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import plain_scripts as plain
import pytest
import sample_images
import tiny_controls
import tiny_upscalers
from command_line import run
from icc_profiles import P3_PRIMARIES, rgb_profile
from PIL import Image

import artgen
from artgen import Upscale, generate, images
from artgen.outputs.png import encode_png

REDRAW = ("--method", "redraw", "--steps", "4", "--strength", "0.5", "--seed", "3", "--tile-size", "64")


@pytest.fixture(autouse=True)
def _photo() -> None:
    sample_images.photo(Path("photo.png"), 32, 24)


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_one_tile_equals_plain_img2img(models: dict[str, Path], kind: str) -> None:
    request = Upscale(
        image=Path("photo.png"), by=2, method="redraw", model=str(models[kind]), seed=3, steps=4, strength=0.5,
        guidance_scale=4.0, tile_size=64, device="cpu",
    )  # fmt: skip
    enlarged = Image.open("photo.png").resize((64, 48), Image.Resampling.LANCZOS)
    pipeline = {"sd1": "StableDiffusionImg2ImgPipeline", "sdxl": "StableDiffusionXLImg2ImgPipeline"}[kind]
    theirs = plain.generate(
        pipeline, models[kind], seed=3, image=enlarged, prompt="", num_inference_steps=4, strength=0.5,
        guidance_scale=4.0,
    )  # fmt: skip
    generated = generate(request)
    assert sample_images.same(generated.image, theirs)
    assert (generated.record["tile_size"], generated.record["sharpen"]) == (64, 0)


def test_tiles_are_counted_and_each_has_its_own_noise(sd1: str) -> None:
    Image.new("RGB", (64, 64), "gray").save("flat.png")
    events: list[Any] = []
    settings: dict[str, Any] = {"method": "redraw", "model": sd1, "seed": 3, "steps": 2, "strength": 0.5}
    result = artgen.upscale("flat.png", by=2, tile_size=64, tile_overlap=0, listener=events.append, **settings)
    tiles = [event for event in events if getattr(event, "unit", "") == "tile"]
    assert (tiles[-1].completed_steps, tiles[-1].num_steps) == (4, 4)
    corners = {result.image.crop((x, y, x + 64, y + 64)).tobytes() for x in (0, 64) for y in (0, 64)}
    assert len(corners) == 4


def test_areas_of_a_tile_get_the_mean_colors_of_the_input() -> None:
    from artgen.engine.upscaling.redraw import with_colors_of

    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    pixels = (np.asarray(image) * 0.7 + 20).astype(np.uint8) // 8 * 8  # other tones, and steps as details
    fixed = with_colors_of(pixels, image)
    means = [array.astype(float).reshape(8, 8, 8, 8, 3).mean(axis=(1, 3)) for array in (fixed, np.asarray(image))]
    assert np.abs(means[0] - means[1]).max() < 4
    assert np.abs(pixels.astype(float).mean() - np.asarray(image).mean()) > 10
    assert np.abs(np.diff(fixed, axis=0)).max() > 4


def values(path: str) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    read = images.load_lossless(Path(path))
    high = np.asarray(read.image).astype(int)
    return high if read.low_bytes is None else high * 256 + np.asarray(read.low_bytes)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "RGB"])
@pytest.mark.parametrize("is_16bit", [False, True])
def test_result_keeps_the_properties_of_the_input(mode: str, is_16bit: bool, sd1: str) -> None:
    """Check the mode, transparency, bits per channel, profile, resolution, date and camera; GPS data is removed."""
    network = str(tiny_upscalers.swin2sr(Path("network")))
    random = np.random.default_rng(0).integers(0, 256, (2, 24, 32, len(mode)), dtype=np.uint8)
    high, low = (Image.fromarray(each[..., 0] if mode == "L" else each, mode) for each in random)
    exif = Image.Exif()
    exif[0x0110], exif[0x0132] = "Camera", "2024:01:02 03:04:05"
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    profile = rgb_profile("srgb", P3_PRIMARIES) if mode == "RGBA" else None
    kwargs: dict[str, object] = {"exif": exif, "dpi": (300, 300)} | ({"icc_profile": profile} if profile else {})
    Path("in.png").write_bytes(encode_png(high, kwargs, low_bytes=low if is_16bit else None))
    methods = {"lanczos": (), "model": ("--method", "model", "--upscaler", network), "redraw": (*REDRAW, "-m", sd1)}
    alphas = set()
    for method, arguments in methods.items():
        run("upscale", "in.png", "--by", "2.5", *arguments, "-o", f"{method}.png")
        read = images.load_lossless(Path(f"{method}.png"))
        assert (read.image.mode, read.image.size, read.low_bytes is not None) == (mode, (80, 60), is_16bit), method
        info = read.image.info
        assert info.get("icc_profile") == profile, method
        assert tuple(map(round, info["dpi"])) == (300, 300), method
        kept = Image.open(f"{method}.png").getexif()
        assert (kept[0x0110], kept[0x0132], 0x8825 in kept) == ("Camera", "2024:01:02 03:04:05", False), method
        alphas.add(values(f"{method}.png")[..., -1].tobytes() if mode.endswith("A") else b"")
    assert len(alphas) == 1


def test_record_names_the_parent_and_replay_gives_the_same_pixels(sd1: str) -> None:
    network = str(tiny_upscalers.swin2sr(Path("network")))
    run("txt2img", "a fox", "-m", sd1, "--steps", "2", "--seed", "7", "-W", "64", "-H", "48", "-o", "fox.png")
    for number, arguments in enumerate(
        [(), (*REDRAW, "-m", sd1, "-p", "fur"), ("--method", "model", "--upscaler", network)]
    ):
        run("upscale", "fox.png", "--target-size", "130x130", *arguments, "-o", f"{number}.png")
        record = json.loads(run("info", f"{number}.png", "--json").stdout)
        assert (record["task"], record["width"], record["height"], record["image"]) == ("upscale", 130, 98, "fox.png")
        assert json.loads(record["parent_record"])["prompt"] == "a fox"
        assert ("prompt" in record, record.get("upscale_model")) == (number == 1, "network" if number == 2 else None)
        assert "Same pixels" in run("replay", f"{number}.png", "-o", f"again{number}.png").stderr
        for change in (
            "by=3",
            "target_size=200x200",
            "method=lanczos",
            "method=redraw",
            *(["strength=0.5"] if number == 1 else []),
        ):
            changed = run("replay", f"{number}.png", "--set", change, "--dry-run", "--json").stdout
            assert str(json.loads(changed)[change.split("=")[0]]).removesuffix(".0") == change.split("=")[1]


def test_each_tile_uses_its_part_of_the_control_image(models: dict[str, Path]) -> None:
    net, sd1 = tiny_controls.save("sd1", Path("net"), models["sd1"]), models["sd1"]
    Image.linear_gradient("L").convert("RGB").save("map.png")
    settings: dict[str, Any] = {"method": "redraw", "model": str(sd1), "seed": 3, "steps": 2, "strength": 0.5}
    control = f"tile=map.png,model={net}"
    result = artgen.upscale("photo.png", target_size="96x72", tile_size=64, control=[control], **settings)
    assert result.image.size == (96, 72)
    plain_result = artgen.upscale("photo.png", target_size="96x72", tile_size=64, **settings)
    assert not sample_images.same(result.image, plain_result.image)
    run(
        "upscale", "photo.png", "--target-size", "96x72", "--tile-size", "64", "--method", "redraw", "-m", str(sd1),
        "--seed", "3", "--steps", "2", "--strength", "0.5", "--control", control, "-o", "c.png",
    )  # fmt: skip
    assert sample_images.same(Image.open("c.png"), result.image)
    assert "Same pixels" in run("replay", "c.png", "-o", "d.png").stderr


def test_folder_continues_after_a_damaged_file() -> None:
    Path("in/deep").mkdir(parents=True)
    for name in ("in/a.png", "in/deep/b.png"):
        sample_images.photo(Path(name), 20, 10)
    Path("in/c.png").write_bytes(Path("in/a.png").read_bytes()[:100])
    result = run("upscale", "in/", "--by", "1.5", "--keep-going", "-o", "out/", code=7)
    assert "c.png" in result.stderr
    assert {str(path): Image.open(path).size for path in Path("out").rglob("*.png")} == {
        "out/a.png": (30, 15), "out/deep/b.png": (30, 15)
    }  # fmt: skip
    sample_images.photo(Path("in/c.png"), 20, 10)
    again = run("upscale", "in/", "--by", "1.5", "-o", "out/")
    assert again.stdout.split() == ["out/c.png"]
    Path("jobs.jsonl").write_text('{"task": "upscale", "image": "photo.png", "by": 1.5, "method": "lanczos"}\n')
    run("batch", "jobs.jsonl", "-o", "batch/")
    assert [Image.open(path).size for path in Path("batch").glob("*.png")] == [(48, 36)]


def test_shards_workers_and_batches_give_the_same_images(sd1: str) -> None:
    Path("in").mkdir()
    for number, name in enumerate(("in/a.png", "in/b.png")):
        sample_images.photo(Path(name), 32, 24 + number)
    run("upscale", "in/", "--by", "1.5", "-o", "whole/", "--workers", "2")
    for shard, name in enumerate(("a", "b")):
        run("upscale", "in/", "--by", "1.5", "-o", "parts/", "--shard", f"{shard}/2")
        assert sample_images.same(Image.open(f"parts/{name}.png"), Image.open(f"whole/{name}.png"))
    assert len(list(Path("parts").glob("*.png"))) == 2
    run("upscale", "in/a.png", *REDRAW, "-m", sd1, "-o", "single/a.png")
    result = run("batch", "in/", "--task", "upscale", *REDRAW, "-m", sd1, "--limit", "1", "-o", "batch/")
    assert result.stdout.split() == ["batch/a.png"]
    assert sample_images.same(Image.open("batch/a.png"), Image.open("single/a.png"))
    refused = run("batch", "in/", "--task", "denoise", "--method", "redraw", "-o", "none/", code=2)
    assert "method must be one of pixel, latent, tv, nlm, not 'redraw'" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--by", "0"), "by must be 1 to 16,384, not 0"),
        (("--by", "600"), "both sides can have at most 16,384 pixels"),
        (("--by", "1"), "does not enlarge the image"),
        (("--target-size", "20x20"), "--target-size 20x20 is smaller than the image, which is 32x24"),
        (("--target-size", "big"), "'big' is not a size"),
        (("--by", "2", "--target-size", "64x64"), "Cannot combine by and target_size"),
        (("--strength", "0.3"), "The method lanczos does not support strength"),
        (("--method", "redraw", "--upscaler", "x"), "The method redraw does not support upscale_model"),
        (("--control", "tile=photo.png"), "The method lanczos does not support control"),
        (("--method", "model", "--prompt", "x"), "The method model does not support prompt"),
        (("--seed", "3"), "The method lanczos does not support seed"),
        (("--method", "redraw", "-m", "tiny", "--tile-size", "100"), "multiples of"),
        (("--method", "redraw", "-m", "tiny", "--tile-overlap", "90"), "for tiles of 128 pixels the limit is 42"),
    ],
)
def test_refused_before_a_model_is_loaded(arguments: tuple[str, ...], message: str) -> None:
    error = run("upscale", "photo.png", *arguments, "-o", "out.png", code=2).stderr
    assert message in error
    assert not Path("out.png").exists()


def test_size_with_another_aspect_ratio_is_fitted_with_a_note() -> None:
    result = run("upscale", "photo.png", "--target-size", "128x128", "-o", "out.png")
    assert "128x128 has another aspect ratio" in result.stderr
    assert Image.open("out.png").size == (128, 96)


def test_lanczos_does_not_import_torch() -> None:
    code = (
        "import sys; from artgen.cli.main import app\n"
        "try: app(['upscale', 'photo.png', '--by', '2', '-o', 'out.png'])\n"
        "except SystemExit as end: print(end.code, sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[-2] == "0 []", done.stdout + done.stderr


def test_settings_without_an_effect_are_noted() -> None:
    Path("in").mkdir()
    sample_images.photo(Path("in/photo.png"), 32, 24)
    Path("jobs.jsonl").write_text('{"task": "upscale", "image": "photo.png", "seed": 7}\n')
    device, seed = "The method lanczos uses no model: device has no effect.", "of upscale does not use seed"
    for arguments, note in (
        (("upscale", "photo.png", "--device", "cpu"), device),
        (("upscale", "in", "--device", "cpu", "-o", "out/"), device),
        (("upscale", "photo.png", "--method", "model", "--seed", "7"), seed),
        (("upscale", "in", "--method", "model", "--seed", "7", "-o", "out/"), seed),
        (("batch", "jobs.jsonl", "-o", "out/"), seed),
    ):
        assert run(*arguments, "--dry-run").stderr.count(note) == 1, arguments
    for arguments in (("upscale", "in", "-o", "out/"), ("upscale", "in", "--method", "model", "-o", "out/")):
        assert "effect" not in run(*arguments, "--dry-run").stderr
