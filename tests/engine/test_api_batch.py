"""Test `artgen.batch` and the other functions that load a model: results, resuming, interrupts, threads and sweeps."""

import contextlib
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import artgen
from artgen.events import Event, StepEvent

PROMPTS = ["a red fox --seed 1", {"prompt": "a yellow car", "seed": 2}, "# a comment", artgen.Txt2Img(prompt="a cat")]
SETTINGS: Any = {"steps": 1, "seed": 7, "batch_size": 1, "progress": False}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(folder: str = "out", **settings: Any) -> list[artgen.BatchResult]:
    return list(artgen.batch(PROMPTS, folder=folder, **{**SETTINGS, **settings}))


def test_results_are_saved_files_with_their_records() -> None:
    results = run()
    assert [(result.location, result.seed, result.is_new) for result in results] == [
        ("prompts:1", 1, True), ("prompts:2", 2, True), ("prompts:4", 7, True),
    ]  # fmt: skip
    for result in results:
        assert result.path is not None
        assert result.path.exists()
        assert result.error is None
        assert result.record["seed"] == result.seed
        assert artgen.info(result.path).record["prompt"] == result.record["prompt"]
        assert result._repr_png_().startswith(b"\x89PNG")  # type: ignore[union-attr]
    alone = artgen.txt2img("a red fox", seed=1, steps=1)
    assert np.array_equal(np.asarray(results[0].image), np.asarray(alone.image))
    assert artgen.batch_status("out").done == 3
    assert {file.state for file in artgen.verify_batch("out")} == {"intact"}


def test_images_of_earlier_calls_are_returned_and_not_generated_again() -> None:
    first = run()
    times = [result.path.stat().st_mtime_ns for result in first if result.path]
    again = artgen.batch(PROMPTS, folder="out", **SETTINGS)
    assert (again.total, again.num_pending) == (3, 0)
    results = list(again)
    assert [result.path for result in results] == [result.path for result in first]
    assert not any(result.is_new for result in results)
    assert [result.record["prompt"] for result in results] == ["a red fox", "a yellow car", "a cat"]
    assert [result.path.stat().st_mtime_ns for result in results if result.path] == times


def test_folder_is_a_path_object_and_a_request_keeps_its_seed() -> None:
    request = artgen.Txt2Img(prompt="a cat", seed=3, steps=1)
    (result,) = artgen.batch([request], folder=Path("{out}"), progress=False)
    assert (result.path, result.seed) == (Path("{out}/00001-3-a-cat.png"), 3)


@pytest.mark.parametrize("item", [None, 5, [], b"x", Image.new("RGB", (8, 8))])
def test_item_of_another_type_is_refused(item: Any) -> None:
    with pytest.raises(artgen.InvalidBatchError, match=r"prompts:1: Cannot use .* as a job\.") as caught:
        artgen.batch([item], folder="out")
    assert "dictionary" in caught.value.hint


@pytest.mark.parametrize("leave", ["break", "exception", "with", "forgotten"])
def test_batch_continues_after_the_loop_was_left(leave: str) -> None:
    results = artgen.batch(PROMPTS, folder="out", **SETTINGS)
    if leave == "break":
        for _ in results:
            break
    elif leave == "exception":
        with contextlib.suppress(ZeroDivisionError):
            for _ in results:
                1 / 0  # noqa: B018
    elif leave == "with":
        with results:
            next(results)
    else:
        next(results)
        del results
    assert artgen.batch_status("out").done == 1
    assert [result.is_new for result in run()] == [False, True, True]


def test_interrupt_keeps_completed_images() -> None:
    events: list[Event] = []

    def interrupt(event: Event) -> None:
        events.append(event)
        if sum(isinstance(each, StepEvent) for each in events) == 2:
            signal.raise_signal(signal.SIGINT)

    seen: list[artgen.BatchResult] = []
    with pytest.raises(KeyboardInterrupt):
        seen.extend(artgen.batch(PROMPTS, folder="out", listener=interrupt, **SETTINGS))
    assert len(seen) == 1
    assert [result.is_new for result in run()] == [False, True, True]


def test_invalid_jobs_are_results_with_keep_going_and_errors_without_it() -> None:
    jobs = ["a red fox --steps 0", "a cat", {"prompt": 3}]
    with pytest.raises(artgen.InvalidBatchError) as caught:
        artgen.batch(jobs, folder="out", **SETTINGS)
    assert [location for location, _ in caught.value.errors] == ["prompts:1", "prompts:3"]
    assert not Path("out").exists()
    results = list(artgen.batch(jobs, folder="out", keep_going=True, **SETTINGS))
    failed = [result for result in results if result.error]
    assert [(result.location, result.path) for result in failed] == [("prompts:1", None), ("prompts:3", None)]
    with pytest.raises(artgen.ArtgenError, match="steps must be 1 to"):
        failed[0].image  # noqa: B018
    assert sum(result.path is not None for result in results) == 1


def test_threads_that_share_a_folder_generate_each_image_once() -> None:
    found: dict[int, list[artgen.BatchResult]] = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: run()})) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(results) for results in found.values()] == [3, 3, 3]
    assert len({result.path for results in found.values() for result in results}) == 3
    assert len(list(Path("out").glob("*.png"))) == 3


def test_sweep_writes_sheets_and_a_table() -> None:
    settings = {**SETTINGS, "steps": None}
    results = list(artgen.batch(prompt="a cat", sweep={"steps": [1, 2], "guidance": "1:3:2"}, folder="out", **settings))
    assert {result.location for result in results} == {
        f"steps={steps}, guidance_scale={scale}" for steps in (1, 2) for scale in (1, 3)
    }
    assert Path("out/sheet.png").exists()
    assert len(Path("out/sweep.csv").read_text().splitlines()) == 5


def test_images_and_results_are_inputs() -> None:
    (first, *_) = run()
    Image.new("RGB", (64, 64), "red").save("red.png")
    (changed,) = artgen.batch(["red.png"], task="img2img", prompt="a cat", strength=0.5, folder="img", steps=2, seed=1)
    assert changed.record["image"] == "red.png"
    assert artgen.img2img(first, "a blue fox", steps=2, strength=0.5).image.size == (128, 128)
    assert artgen.sheet([first, changed]).image.width > 0


def test_noise_reconstruct_and_anomaly_return_typed_results() -> None:
    image = Image.effect_noise((64, 64), 60).convert("RGB")
    strip = artgen.noise(image, steps=3, frames=True)
    assert (len(strip.images), len(strip.times), len(strip.frames)) == (3, 3, 33)
    assert strip.save("strip.png").exists()
    reconstruction = artgen.reconstruct(image, model="tiny")
    assert reconstruction.reconstructed.size == (64, 64)  # type: ignore[union-attr]
    assert len(artgen.reconstruct([image, image], model="tiny")) == 2  # type: ignore[arg-type]
    result = artgen.anomaly(image, noise_levels=[50], noise_samples=1)
    assert result.score > 0  # type: ignore[union-attr]
    ranked = artgen.anomaly([image, Image.new("RGB", (64, 64))], noise_levels=[50], noise_samples=1)
    assert [each.score for each in ranked] == sorted((each.score for each in ranked), reverse=True)  # type: ignore[union-attr]


def test_interrupted_training_resumes(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.effect_noise((64, 64), 20 * i + 20).convert("RGB").save(tmp_path / "photos" / f"{i}.png")
    settings: Any = {"output": "lora.safetensors", "steps": 3, "rank": 1, "resolution": 64, "snapshot_every": 0}

    def interrupt(event: Event) -> None:
        if isinstance(event, StepEvent) and event.completed_steps == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        artgen.train("photos", listener=interrupt, **settings)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    result = artgen.train("photos", resume=True, **settings)
    assert (result.path, result.steps) == (Path("lora.safetensors"), 3)
    assert result.path.exists()
