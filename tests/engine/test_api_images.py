"""Test the image functions of the Python API: they give the results of the command line."""

import asyncio
import dataclasses
import json
import logging
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_images
import tiny_controls
import tiny_image_prompts
from command_line import run
from PIL import Image

import artgen
from artgen.events import Event, StepEvent
from artgen.spec.presets import save_preset
from artgen.system.memory_file import MEMORY_NAME

FAST: dict[str, Any] = {"steps": 2, "guidance_scale": 3.0, "seed": 7}
OPTIONS = ["--steps", "2", "--guidance-scale", "3", "--seed", "7"]


@pytest.fixture
def fox(sd1: str) -> artgen.GeneratedImage:
    return artgen.txt2img("a fox", model=sd1, **FAST)


@pytest.fixture
def files() -> None:
    sample_images.photo(Path("in.png"), 64, 64)
    sample_images.mask(Path("mask.png"), 64, 64)


CALLS: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "txt2img": (lambda **kw: artgen.txt2img("a fox", **FAST, **kw), ["a fox", *OPTIONS]),
    "img2img": (
        lambda **kw: artgen.img2img("in.png", "a fox", strength=0.5, **FAST, **kw),
        ["in.png", "a fox", "--strength", "0.5", *OPTIONS],
    ),
    "inpaint": (
        lambda **kw: artgen.inpaint("in.png", "mask.png", "a fox", feather=2, **FAST, **kw),
        ["in.png", "a fox", "--mask", "mask.png", "--feather", "2", *OPTIONS],
    ),
    "outpaint": (
        lambda **kw: artgen.outpaint(Path("in.png"), "a fox", expand=32, **FAST, **kw),
        ["in.png", "a fox", "--expand", "32", *OPTIONS],
    ),
    "denoise": (
        lambda **kw: artgen.denoise("in.png", method="tv", sigma=12),
        ["in.png", "--method", "tv", "--sigma", "12"],
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_function_equals_the_command(name: str, sd1: str, files: None) -> None:
    """Pixels, records and files are equal; notes are in the result."""
    call, arguments = CALLS[name]
    result = call(model=sd1)
    model = [] if name == "denoise" else ["--model", sd1]
    printed = run(name, *arguments, *model, "-o", "cli.png")
    saved = result.save("api.png")
    assert saved == Path("api.png")
    assert saved.read_bytes() == Path("cli.png").read_bytes()
    assert artgen.info("cli.png").values == result.record
    assert result.seed == result.record.get("seed")
    for note in result.notes:
        assert note.partition(" --")[0].partition(" feather=")[0] in " ".join(printed.stderr.split())


def test_sample_equals_the_command(zoo: Mapping[str, Path]) -> None:
    model = str(zoo["ddpm"])
    result = artgen.sample(model=model, steps=2, seed=3)
    run("sample", "--model", model, "--steps", "2", "--seed", "3", "-o", "cli.png")
    assert result.save("api.png").read_bytes() == Path("cli.png").read_bytes()


def test_count_and_lists_of_seeds_return_lists(sd1: str) -> None:
    single = {seed: artgen.txt2img("a fox", model=sd1, steps=1, seed=seed) for seed in (3, 4)}
    by_count = artgen.txt2img("a fox", model=sd1, steps=1, seed=3, count=2, batch_size=1)
    for seeds in ([3, 4], (3, 4), range(3, 5), np.array([3, 4])):
        by_list = artgen.txt2img("a fox", model=sd1, steps=1, seed=seeds, batch_size=1)
        assert [each.seed for each in by_list] == [3, 4]
        assert [each.image for each in by_list] == [single[3].image, single[4].image]
    assert [each.image for each in by_count] == [single[3].image, single[4].image]
    assert len(artgen.txt2img("a fox", model=sd1, steps=1, seed=[5])) == 1
    assert len(artgen.txt2img("a fox", model=sd1, steps=1, count=1)) == 1
    random = artgen.txt2img("a fox", model=sd1, steps=1, seed=-1, count=None)
    assert 0 <= (random.seed or 0) < 2**32


def test_text_with_several_seeds_returns_a_list(sd1: str) -> None:
    images = artgen.txt2img("x", seed="7,8", model=sd1, steps=1)  # type: ignore[call-overload]
    assert [image.seed for image in images] == [7, 8]


def test_every_kind_of_input_gives_the_same_image(sd1: str, fox: artgen.GeneratedImage) -> None:
    fox.save("fox.png")
    pixels = np.asarray(fox.image)
    bright = np.asarray(fox.image.convert("L")) > 100
    Image.fromarray(bright).save("mask.png")
    expected = artgen.inpaint("fox.png", "mask.png", "a cat", model=sd1, **FAST)
    sources = (fox, fox.image, pixels, pixels / 255, Path("fox.png"), Path("fox.png").read_bytes())
    for source in sources:
        result = artgen.inpaint(source, bright, "a cat", model=sd1, **FAST)
        assert sample_images.same(result.image, expected.image)
    assert result.record | {"image": "fox.png"} != expected.record  # other names and hashes


def test_result_as_input_is_recorded_as_its_file(sd1: str, fox: artgen.GeneratedImage) -> None:
    unsaved = artgen.img2img(fox, "a cat", model=sd1, steps=2, seed=1)
    assert unsaved.record["image"] == MEMORY_NAME
    fox.save("fox.jpg")
    fox.save("fox.png")
    saved = artgen.img2img(fox, "a cat", model=sd1, steps=2, seed=1)
    from_file = artgen.img2img("fox.png", "a cat", model=sd1, steps=2, seed=1)
    assert saved.record == from_file.record
    assert saved.record["image"] == "fox.png"
    assert unsaved.record["image_sha256"] == saved.record["image_sha256"]
    same_seed = artgen.img2img(fox, "a cat", model=sd1, steps=2, seed=7)
    assert any(note.startswith("Seed 7 generated 'fox.png'.") for note in same_seed.notes)


def test_replay_takes_paths_results_records_and_bytes(sd1: str, fox: artgen.GeneratedImage) -> None:
    path = fox.save("fox.png")
    for source in ("fox.png", path, fox, fox.record, path.read_bytes()):
        assert sample_images.same(artgen.replay(source, model=sd1).image, fox.image)
    changed = artgen.replay(fox, model=sd1, num_inference_steps=3, negative_prompt="red", scheduler="Euler a")
    assert (changed.record["steps"], changed.record["scheduler"]) == (3, "euler-a")
    assert changed.seed == 7
    assert artgen.replay(changed, model=sd1, negative_prompt=None).record["negative_prompt"] == ""
    with pytest.raises(artgen.UsageError, match="strength"):
        artgen.replay(fox, strength=0.5)
    for source in (fox.image, np.asarray(fox.image)):
        with pytest.raises(artgen.UsageError, match="has no record"):
            artgen.replay(source)  # type: ignore[arg-type]


def test_replay_of_an_image_with_an_input_in_memory(sd1: str, fox: artgen.GeneratedImage) -> None:
    cat = artgen.img2img(fox.image, "a cat", model=sd1, **FAST)
    cat.save("cat.png")
    assert sample_images.same(artgen.replay(cat, model=sd1).image, cat.image)
    assert sample_images.same(artgen.replay("cat.png", model=sd1, image=fox.image).image, cat.image)
    with pytest.raises(
        artgen.InputFileError, match="its image was an object in a Python program, not a file"
    ) as caught:
        artgen.replay("cat.png", model=sd1)
    assert caught.value.hint == "Set the path of the image: image=PATH"
    printed = run("replay", "cat.png", "--set", f"model={sd1}", code=3)
    assert "--set image=PATH" in printed.stderr
    fox.save("fox.png")
    run("replay", "cat.png", "--set", f"model={sd1}", "--set", "image=fox.png", "-o", "x.png")


def test_save_formats_and_records(fox: artgen.GeneratedImage) -> None:
    for name in ("a.png", "a.jpg", "a.jpeg", "a.webp", "deep/folder/a.png"):
        assert artgen.info(fox.save(name)).record == fox.record
    assert artgen.info(fox.save("minimal.png", metadata="minimal")).record == {
        name: fox.record[name] for name in ("artgen", "model") if name in fox.record
    } | {"model": artgen.info("minimal.png").record["model"]}  # type: ignore[index]
    assert fox.save("b", format="webp") == Path("b.webp")
    assert fox.save("{seed}-{steps}.png") == Path("7-2.png")
    assert fox.save(Path("{seed}.png")) == Path("{seed}.png")
    assert fox.save() == Path("outputs/00001-7-a-fox.png")
    assert fox.save("outputs") == Path("outputs/00002-7-a-fox.png")
    assert fox.save("-") == Path("-.png")
    small = fox.save("small.jpg", quality=1).stat().st_size
    assert small < fox.save("large.jpg", quality=100).stat().st_size


def test_save_writes_a_long_record_to_a_sidecar(fox: artgen.GeneratedImage) -> None:
    record = {**fox.record, "prompt": "fox " * 12_000}
    path = artgen.GeneratedImage(fox.image, record, fox.request).save("a.jpg")
    assert json.loads(Path("a.jpg.json").read_text("utf-8")) == record
    assert artgen.info(path).record == record


@pytest.mark.parametrize("value", [object(), float("nan")])
def test_save_refuses_a_record_that_json_cannot_store(fox: artgen.GeneratedImage, value: Any) -> None:
    fox = dataclasses.replace(fox, record=fox.record | {"mine": value})
    with pytest.raises(artgen.UsageError, match=r"^Cannot save the record: "):
        fox.save("record.png")


def test_save_takes_numbers_of_numpy(fox: artgen.GeneratedImage) -> None:
    assert fox.save("numpy.jpg", quality=np.int64(80)).exists()  # type: ignore[arg-type]


def test_save_never_replaces_another_file(fox: artgen.GeneratedImage) -> None:
    fox.save("fox.png")
    before = Path("fox.png").stat()
    assert fox.save("fox.png") == Path("fox.png")  # the same content
    assert Path("fox.png").stat().st_mtime_ns == before.st_mtime_ns
    other = artgen.replay(fox, model=fox.request.model, seed=8)
    with pytest.raises(artgen.OutputError, match=r"^'fox\.png' exists already\.") as caught:
        other.save("fox.png")
    assert caught.value.hint == "Choose another output, or add overwrite=True."
    assert caught.value.exit_code == 74
    assert other.save("fox.png", overwrite=True) == Path("fox.png")
    assert artgen.info("fox.png").record == other.record


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"path": "a.gif"}, artgen.UsageError),
        ({"path": ""}, artgen.UsageError),
        ({"path": None}, artgen.UsageError),
        ({"path": 5}, artgen.UsageError),
        ({"path": "{nothing}.png"}, artgen.UsageError),
        ({"path": "a.png", "format": "jpeg"}, artgen.UsageError),
        ({"path": "a.jpg", "quality": 0}, artgen.UsageError),
        ({"path": "a.jpg", "quality": "95"}, artgen.UsageError),
        ({"path": "a.png", "overwrite": 1}, artgen.UsageError),
        ({"path": "a.png", "metadata": "all"}, artgen.UsageError),
        ({"path": "file/a.png"}, artgen.OutputError),
        ({"path": "link.png"}, artgen.RefusedError),
        ({"path": "/proc/a.png"}, artgen.OutputError),
    ],
)  # fmt: skip
def test_save_refuses_invalid_arguments(fox: artgen.GeneratedImage, arguments: Any, error: type[Exception]) -> None:
    Path("file").touch()
    Path("link.png").symlink_to("target.png")
    with pytest.raises(error) as caught:
        fox.save(**arguments)
    assert "--" not in str(caught.value)


def test_16_bits_and_transparency_are_saved(caplog: pytest.LogCaptureFixture) -> None:
    noisy = np.random.default_rng(0).integers(0, 65536, (32, 32, 4)).astype(np.uint16)
    result = artgen.denoise(noisy, method="tv", sigma=5)
    assert result.low_bytes is not None
    assert artgen.denoise(result.save("a.png"), method="tv", sigma=5).low_bytes is not None
    result.save("a.webp")
    assert "WEBP stores 8 bits per channel." in caplog.text
    with pytest.raises(artgen.UsageError, match="JPEG cannot store transparency"):
        result.save("a.jpg")


def test_result_in_notebooks(fox: artgen.GeneratedImage) -> None:
    assert Image.open(fox.save("a.png")).tobytes() == fox.image.tobytes()
    assert fox._repr_png_() == Path("a.png").read_bytes()
    width, height = fox.image.size
    assert repr(fox) == f"<GeneratedImage txt2img {width}x{height} seed=7 'a fox'>"
    long = artgen.GeneratedImage(fox.image, fox.record, fox.request.replace(prompt="fox " * 100))
    assert len(repr(long)) < 120


def test_notes_are_logged_and_kept(sd1: str, caplog: pytest.LogCaptureFixture) -> None:
    events: list[Event] = []
    result = artgen.txt2img("a fox", model=sd1, seed=2**32 + 1, steps=1, listener=events.append)
    assert len(result.notes) == len(set(result.notes)) > 0
    logged = [each.getMessage() for each in caplog.records if each.name == "artgen" and each.levelno == logging.WARNING]
    assert tuple(logged) == result.notes
    assert any(isinstance(event, StepEvent) for event in events)


def test_presets_apply_below_keywords(sd1: str) -> None:
    save_preset("quick", {"steps": 1, "guidance_scale": 4.0, "feather": 3})
    result = artgen.txt2img("a fox", model=sd1, preset="quick", guidance_scale=2, seed=1)
    assert (result.record["steps"], result.record["guidance_scale"]) == (1, 2)
    assert result.record["preset"] == ["quick"]
    assert any("feather" in note for note in result.notes)


def test_functions_do_not_read_configuration_files(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("artgen.toml").write_text("steps = 3\n", "utf-8")
    monkeypatch.setenv("ARTGEN_STEPS", "4")
    assert artgen.txt2img("a fox", model=sd1, guidance_scale=1).record["steps"] not in (3, 4)


def test_frames(sd1: str) -> None:
    result = artgen.txt2img("a fox", model=sd1, frames=True, steps=3, seed=1)
    assert len(result.frames) == 3
    assert artgen.txt2img("a fox", model=sd1, steps=3, seed=1).frames == ()
    assert len(artgen.replay(result, model=sd1, frames=True, frame_interval=2).frames) == 2


def test_some_failed_images_keep_the_others(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from artgen.engine import generate

    real = generate.generate_jobs

    def fail_second(jobs: Any, **arguments: Any) -> Any:
        for number, outcome in enumerate(real(jobs, **arguments)):
            error = artgen.NonFiniteError("The model produced NaN.", "Use --dtype fp32.")
            yield artgen.FailedImage(outcome.request, error) if number == 1 else outcome

    monkeypatch.setattr(generate, "generate_jobs", fail_second)
    with pytest.raises(artgen.SomeFailedError, match=r"^1 of 3 images failed: The model produced NaN\.") as caught:
        artgen.txt2img("a fox", model=sd1, steps=1, seed=[1, 2, 3])
    assert caught.value.exit_code == 7
    first, second, third = caught.value.outcomes
    assert isinstance(first, artgen.GeneratedImage)
    assert isinstance(second, artgen.FailedImage)
    assert isinstance(third, artgen.GeneratedImage)
    assert "dtype='fp32'" in caught.value.hint


def test_progress_bar(sd1: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    artgen.txt2img("a fox", model=sd1, steps=2)
    artgen.txt2img("a fox", model=sd1, steps=2, progress=False)
    assert "2/2" not in capsys.readouterr().err
    artgen.txt2img("a fox", model=sd1, steps=2, progress=True)
    assert "2/2" in capsys.readouterr().err
    monkeypatch.setattr("artgen.api.progress.is_notebook", lambda: True)
    artgen.txt2img("a fox", model=sd1, steps=2)
    assert "2/2" in capsys.readouterr().err


def test_functions_in_threads_and_asyncio(
    sd1: str, models: dict[str, Path], zoo: Mapping[str, Path], files: None
) -> None:
    """Call different functions in eight threads; sequential calls give the same results."""
    calls: list[Callable[[], artgen.GeneratedImage]] = [
        *(lambda name=name: CALLS[name][0](model=sd1) for name in CALLS),  # type: ignore[misc]
        lambda: artgen.sample(model=str(zoo["ddpm"]), steps=2, seed=3),
        lambda: artgen.txt2img("a cat", model=str(models["sdxl"]), steps=1, seed=1),
        lambda: artgen.replay(fox, model=sd1),
    ]
    fox = artgen.txt2img("a fox", model=sd1, **FAST)

    async def gather() -> list[artgen.GeneratedImage]:
        return await asyncio.gather(*(asyncio.to_thread(call) for call in calls))

    expected = [call().image.tobytes() for call in calls]
    assert [each.image.tobytes() for each in asyncio.run(gather())] == expected
    assert len(calls) == 8


def _generate_in_worker(model: str) -> artgen.GeneratedImage:
    return artgen.txt2img("a fox", model=model, **FAST)


def test_worker_process_returns_a_result(sd1: str, fox: artgen.GeneratedImage) -> None:
    """Return a result from a process that `spawn` starts."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        from_worker = pool.apply(_generate_in_worker, (sd1,))
    assert sample_images.same(from_worker.image, fox.image)
    assert from_worker.record == fox.record


def test_import_is_light_and_star_import_works(tmp_path: Path) -> None:
    heavy = ("numpy", "PIL", "torch", "diffusers", "transformers", "rich", "typer", "huggingface_hub")
    code = (
        "import sys, artgen; dir(artgen); repr(artgen)\n"
        f"assert not [name for name in {heavy} if name in sys.modules]\n"
        "from artgen import *\n"
        "assert callable(txt2img) and callable(replay) and callable(info)\n"
        "calls = (lambda: txt2img('a', stepz=1), lambda: img2img('missing.png', 'a'), lambda: replay('missing.png'))\n"
        "for call in calls:\n"
        "    try: call()\n"
        "    except ArtgenError as error: assert error.hint, error\n"
        "    else: raise AssertionError\n"
        "assert not [name for name in ('torch', 'diffusers', 'transformers') if name in sys.modules]\n"
    )
    root = str(Path(artgen.__path__[0]).parent)
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_denoise_compares_with_a_reference() -> None:
    clean = sample_images.photo(Path("clean.png"), 48, 48)
    noise = np.random.default_rng(2).normal(0, 20, (48, 48, 3))
    noisy = np.clip(np.asarray(Image.open(clean)) + noise, 0, 255).astype(np.uint8)
    result = artgen.denoise(noisy, method="tv", sigma=20, reference=Image.open(clean))
    assert result.metrics.keys() == {"before", "after"}
    Image.fromarray(noisy).save("noisy.png")
    arguments = ("noisy.png", "--method", "tv", "--sigma", "20", "--reference", "clean.png", "--json")
    printed = json.loads(run("denoise", *arguments).stdout)
    assert printed["after"] == pytest.approx(result.metrics["after"])
    assert artgen.denoise(noisy, method="tv", sigma=20).metrics == {}
    with pytest.raises(artgen.InputFileError, match="Cannot use the reference 'in-memory': it is 20x48"):
        artgen.denoise(noisy, method="tv", reference=noisy[:, :20])


def test_control_images_and_image_prompts_are_objects_or_files(
    models: dict[str, Path], sd1: str, tmp_path: Path, files: None
) -> None:
    net = tiny_controls.save("sd1", tmp_path / "net", models["sd1"])
    adapter = tiny_image_prompts.save(tmp_path / "adapter", models["sd1"])
    settings: dict[str, Any] = {"model": sd1, "width": 32, "height": 32, **FAST}
    from_files = artgen.txt2img(
        "a fox", control=f"raw=in.png,scale=0.7,model={net}", image_prompt=f"in.png:0.6,mask=mask.png,model={adapter}",
        **settings,
    )  # fmt: skip
    photo, mask = Image.open("in.png").convert("RGB"), Image.open("mask.png")
    result = artgen.txt2img(
        "a fox",
        control=[{"kind": "raw", "image": np.asarray(photo), "scale": 0.7, "model": str(net)}],
        image_prompt={"image": photo, "scale": 0.6, "mask": mask, "model": str(adapter)},
        **settings,
    )
    assert sample_images.same(result.image, from_files.image)
    assert len(result.record["control_sha256"][0]) == 64
    assert result.record["control"][0].startswith(f"raw={MEMORY_NAME}-")
    assert sample_images.same(artgen.replay(result).image, from_files.image)
    for keywords, message in (
        ({"control": photo}, "control must be a text or a mapping"),
        ({"control": {"kind": "canny"}}, "A mapping of control needs the key 'image'"),
        ({"image_prompt": {"image": photo, "weight": 1}}, "A mapping of image_prompt has no key 'weight'"),
        ({"image_prompt": 3}, "image_prompt must be"),
    ):
        with pytest.raises(artgen.UsageError, match=message):
            artgen.txt2img("a fox", **keywords, **settings)
