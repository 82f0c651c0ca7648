"""Test that several threads can use the library: each result equals the result of a sequential run."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import pytest
import sample_images
import tiny_loras

from artgen import Anomaly, Denoise, Img2Img, Inpaint, Txt2Img, find_anomalies, generate, generate_all
from artgen.events import Event, StepEvent

SETTINGS: dict[str, Any] = {"prompt": "a fox", "steps": 2, "guidance_scale": 3.0}


def run_in_threads(calls: Mapping[Hashable, Callable[[], Any]]) -> dict[Hashable, Any]:
    """Run each call in its own thread. Return the results; an exception is a result."""
    results: dict[Hashable, Any] = {}
    barrier = threading.Barrier(len(calls))

    def run(name: Hashable, call: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            results[name] = call()
        except BaseException as error:
            results[name] = error

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in calls.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    return results


def assert_equal_to_sequential(calls: Mapping[Hashable, Callable[[], Any]]) -> None:
    expected = {name: call() for name, call in calls.items()}
    assert run_in_threads(calls) == expected


def txt2img(model: Path, seed: int, **settings: Any) -> Callable[[], bytes]:
    request = Txt2Img(model=str(model), seed=seed, **(SETTINGS | settings))
    return lambda: generate(request).image.tobytes()


def test_two_models_in_threads(models: dict[str, Path]) -> None:
    kinds = ("sd1", "sdxl")
    assert_equal_to_sequential({(kind, seed): txt2img(models[kind], seed) for seed in range(3) for kind in kinds})


def test_one_model_in_four_threads(models: dict[str, Path]) -> None:
    assert_equal_to_sequential({seed: txt2img(models["sd1"], seed) for seed in range(4)})


def test_different_settings_of_one_model_in_threads(models: dict[str, Path]) -> None:
    """LoRAs, approximations, tiling and memory settings change the cached pipeline."""
    model = models["sd1"]
    lora = str(tiny_loras.diffusers_lora(Path("style.safetensors"), model))
    image, mask = sample_images.photo(Path("photo.png")), sample_images.mask(Path("mask.png"))
    edit = {"model": str(model), "image": image, "seed": 1, **SETTINGS}
    calls: dict[Hashable, Callable[[], Any]] = {
        "plain": txt2img(model, 1),
        "lora": txt2img(model, 1, lora=(lora,)),
        "lora 0.5": txt2img(model, 1, lora=(f"{lora}:0.5",)),
        "cache": txt2img(model, 1, steps=10, fast="cache"),
        "tiling": txt2img(model, 1, vae_tiling=True),
        "text": txt2img(model, 1, offload="text"),
        "bf16": txt2img(model, 1, dtype="bf16"),
        "img2img": lambda: generate(Img2Img(**edit)).image.tobytes(),
        "inpaint": lambda: generate(Inpaint(**edit, mask=mask)).image.tobytes(),
        "denoise": lambda: generate(Denoise(image=image, method="latent", model=str(model))).image.tobytes(),
        "batch": lambda: [
            each.image.tobytes()  # type: ignore[union-attr]
            for each in generate_all(
                [Txt2Img(model=str(model), seed=seed, **SETTINGS) for seed in range(4)], batch_size=2
            )
        ],
        "anomaly": lambda: [
            each.score
            for each in find_anomalies(
                [image] * 2, Anomaly(method="latent", model=str(model), prompt="a fox", noise_samples=1)
            )
        ],
    }
    assert_equal_to_sequential(calls)


def test_results_of_generators_that_run_at_the_same_time_are_equal(models: dict[str, Path]) -> None:
    """The consumer of a generator does not hold the lock between two results."""
    image = sample_images.photo(Path("photo.png"))
    settings = {"method": "latent", "model": str(models["sd1"]), "prompt": "a fox", "noise_samples": 1}
    lora = str(tiny_loras.diffusers_lora(Path("style.safetensors"), models["sd1"]))
    scores = [each.score for each in find_anomalies([image] * 2, Anomaly(**settings))]
    results = find_anomalies([image] * 2, Anomaly(**settings))
    first = next(results).score
    others = run_in_threads({"lora": txt2img(models["sd1"], 1, lora=(lora,)), "sdxl": txt2img(models["sdxl"], 1)})
    assert all(isinstance(each, bytes) for each in others.values()), others
    assert [first, next(results).score] == scores


def test_listener_may_call_the_library(models: dict[str, Path]) -> None:
    inner: list[bytes] = []

    def on_event(event: Event) -> None:
        if isinstance(event, StepEvent) and not inner:
            inner.append(b"")
            inner[0] = txt2img(models["sd1"], 2)()

    outer = generate(Txt2Img(model=str(models["sd1"]), seed=1, **SETTINGS), listener=on_event).image.tobytes()
    assert outer == txt2img(models["sd1"], 1)()
    assert inner == [txt2img(models["sd1"], 2)()]


@pytest.mark.slow
def test_first_calls_of_threads_import_the_library(sd1: str) -> None:
    program = (
        "import sys, threading, artgen\nresults = []\n"
        "def run():\n"
        f"    request = artgen.Txt2Img(prompt='x', model={sd1!r}, seed=1, steps=1)\n"
        "    results.append(artgen.generate(request).image.tobytes())\n"
        "threads = [threading.Thread(target=run) for _ in range(4)]\n"
        "[thread.start() for thread in threads]\n[thread.join() for thread in threads]\n"
        "print(len(results), len(set(results)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300, env=dict(os.environ)
    )
    assert result.stdout.split() == ["4", "1"], result.stderr
