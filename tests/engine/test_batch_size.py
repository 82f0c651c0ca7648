"""Test that all images of a group have the same batch size, and that replay and resume use it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import batches
import plain_scripts as plain
import pytest
import sample_images
from batches import create_entries, image_hashes, run_batch
from diffusers.models.autoencoders.vae import Decoder
from PIL import Image

import artgen
from artgen import Denoise, GeneratedImage, Img2Img, Inpaint, Request, Txt2Img, generate, generate_all
from artgen.engine import generate as engine_generate
from artgen.errors import InputFileError
from artgen.jobs import replay as replay_jobs
from artgen.jobs.batch_size import (
    AutoTuneBatchSize,
    DefaultBatchSize,
    ExactBatchSize,
    JobGroup,
    MaxBatchSize,
    default_batch_size,
    parse_batch_size,
)
from artgen.jobs.prepare import prepare_jobs
from artgen.queue.job_queue import JobFilter, JobQueue, in_process_runner, pending_jobs
from artgen.queue.ledger import Ledger
from artgen.queue.process_pool import worker_pool_runner
from artgen.system import hardware

SETTINGS: dict[str, Any] = {"prompt": "a red fox", "steps": 2, "guidance_scale": 5.0}


def generate_images(requests: Sequence[Request], batch_size: int) -> list[Image.Image]:
    """Generate images with an exact batch size. Assert that none failed."""
    outcomes = list(engine_generate.generate_jobs(prepare_jobs(requests), batch_size=ExactBatchSize(batch_size)))
    assert all(isinstance(outcome, GeneratedImage) for outcome in outcomes), outcomes
    assert {outcome.record["batch_size"] for outcome in outcomes if isinstance(outcome, GeneratedImage)} == {batch_size}
    return [outcome.image for outcome in outcomes if isinstance(outcome, GeneratedImage)]


def series(task: str, model: Path) -> list[Request]:
    """Return five requests with different prompts, seeds and input images."""
    settings = [{**SETTINGS, "prompt": f"a red fox {n}", "seed": n, "model": str(model)} for n in range(5)]
    if task == "txt2img":
        return [Txt2Img(**each) for each in settings]
    image, mask = Image.open(sample_images.photo(Path("photo.png"))), Image.open(sample_images.mask(Path("mask.png")))
    for n in range(5):
        image.rotate(20 * n).save(f"{n}.png")
        mask.rotate(20 * n).save(f"{n}-mask.png")
    if task == "img2img":
        return [Img2Img(image=Path(f"{n}.png"), strength=0.7, **each) for n, each in enumerate(settings)]
    masked = [{**each, "mask": Path(f"{n}-mask.png")} for n, each in enumerate(settings)]
    return [Inpaint(image=Path(f"{n}.png"), strength=0.7, **each) for n, each in enumerate(masked)]


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("txt2img", "sd1"),
        ("txt2img", "sdxl"),
        ("txt2img", "sd3"),
        ("img2img", "sd1"),
        ("inpaint", "sd1"),
        ("inpaint", "sd1-inpaint"),
    ],
)
def test_image_does_not_depend_on_batch_contents_or_position(models: dict[str, Path], task: str, kind: str) -> None:
    requests = series(task, models[kind])
    batched = generate_images(requests, 4)  # a full batch, and one image with three padded places
    reversed_order = generate_images(requests[::-1], 4)[::-1]
    separate = [generate_images([request], 4)[0] for request in requests]
    for first, second, third in zip(batched, reversed_order, separate, strict=True):
        assert sample_images.same(first, second)
        assert sample_images.same(first, third)


def test_job_of_another_task_separates_groups(models: dict[str, Path]) -> None:
    first, second, *_, last = series("txt2img", models["sd1"])
    between = Denoise(image=sample_images.photo(Path("photo.png")), method="tv", sigma="10")
    outcomes = list(generate_all([first, second, between, last, first], batch_size=8))
    assert [outcome.request.task for outcome in outcomes] == ["txt2img", "txt2img", "denoise", "txt2img", "txt2img"]
    sizes = [outcome.record.get("batch_size") for outcome in outcomes if isinstance(outcome, GeneratedImage)]
    assert sizes == [2, 2, None, 2, 2]


def test_bundled_model_image_does_not_depend_on_position() -> None:
    requests = [Txt2Img(model="tiny", prompt=f"a red fox {n}", seed=n, steps=1) for n in range(5)]
    batched = generate_images(requests, 4)
    assert sample_images.same(batched[4], generate_images(requests[4:], 4)[0])
    assert all(sample_images.same(a, b) for a, b in zip(batched, generate_images(requests[::-1], 4)[::-1], strict=True))


def test_replay_of_a_batched_image_uses_its_batch_size(
    models: dict[str, Path],
) -> None:
    requests = series("txt2img", models["sd1"])[:3]
    outcomes = list(generate_all(requests, batch_size=4))
    for outcome in outcomes:
        assert isinstance(outcome, GeneratedImage)
        assert outcome.record["batch_size"] == 4
        Path("one.json").write_text(json.dumps(outcome.record))
        spec = replay_jobs.read_replay_spec(Path("one.json"), {"model": str(models["sd1"])})
        assert spec.batch_size == 4
        assert "batch size 4" in " ".join(spec.notes)
        replayed = artgen.replay(Path("one.json"), model=str(models["sd1"]))
        assert sample_images.same(replayed.image, outcome.image)
        assert replayed.record == outcome.record
    changed = replay_jobs.read_replay_spec(Path("one.json"), {"model": str(models["sd1"]), "steps": "3"})
    assert (changed.batch_size, changed.notes) == (1, ())


@pytest.mark.parametrize("batch_size", [1, 0, -4, 257, 10**9, None])
def test_replay_ignores_an_invalid_recorded_batch_size(models: dict[str, Path], batch_size: Any) -> None:
    generated = generate(Txt2Img(model=str(models["sd1"]), seed=1, **SETTINGS))
    Path("one.json").write_text(json.dumps({**generated.record, "batch_size": batch_size}))
    assert replay_jobs.read_replay_spec(Path("one.json"), {"model": str(models["sd1"])}).batch_size == 1


@pytest.mark.parametrize("batch_size", [2.0, "4", True, [4]])
def test_replay_refuses_a_recorded_batch_size_of_another_type(models: dict[str, Path], batch_size: Any) -> None:
    generated = generate(Txt2Img(model=str(models["sd1"]), seed=1, **SETTINGS))
    Path("one.json").write_text(json.dumps({**generated.record, "batch_size": batch_size}))
    with pytest.raises(InputFileError, match="batch_size must be a whole number"):
        replay_jobs.read_replay_spec(Path("one.json"), {"model": str(models["sd1"])})


@pytest.mark.parametrize(("side", "decoded_sizes"), [(256, [2]), (264, [1, 1])])
def test_large_images_are_decoded_separately(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, side: int, decoded_sizes: list[int]
) -> None:
    batch_sizes = []

    def count(original: Any, self: Any, latents: Any, *args: Any, **kwargs: Any) -> Any:
        batch_sizes.append(len(latents))
        return original(self, latents, *args, **kwargs)

    plain.wrap_method(monkeypatch, Decoder, "forward", count)
    settings = {
        **SETTINGS,
        "model": str(models["sd1"]),
        "steps": 1,
        "guidance_scale": 1.0,
        "width": side,
        "height": side,
    }
    generate_images([Txt2Img(seed=n, **settings) for n in range(2)], 2)
    assert batch_sizes == decoded_sizes


@pytest.mark.parametrize(
    ("size", "total", "batch_size"),
    [("8", 1, 1), ("8", 2, 2), ("8", 3, 4), ("8", 5, 8), ("8", 9, 8), ("6", 5, 6), ("6", 100, 6), ("1", 100, 1),
     (None, 100, 4), (None, 2, 2)],
)  # fmt: skip
def test_batch_size_depends_on_the_group_and_not_on_the_remaining_jobs(
    size: str | None, total: int, batch_size: int
) -> None:
    policy = parse_batch_size(size)
    assert {policy.next_batch_size(JobGroup(0, total, n, 4)) for n in range(1, total + 1)} == {batch_size}


def test_trial_batches_are_not_padded() -> None:
    policy = AutoTuneBatchSize()
    for batch_size in (1, 2, 4):
        assert policy.next_batch_size(JobGroup(0, 9, 9, 8)) == batch_size
        policy.record_timing(0, batch_size, 1 / batch_size)
    assert policy.next_batch_size(JobGroup(0, 9, 2, 8)) == 2
    policy.record_timing(0, 8, 9.0)
    assert policy.next_batch_size(JobGroup(0, 9, 1, 8)) == 4  # tuning is complete


@pytest.mark.parametrize(
    ("cuda", "kind", "size", "batch_size"),
    [(0, "tiny", 128, 8), (0, "tiny", 64, 8), (0, "tiny", 256, 2), (0, "tiny", 512, 1), (1, "tiny", 128, 8),
     (1, "tiny", 256, 2), (1, "sdxl", 32, 4)],
)  # fmt: skip
def test_default_batch_size_depends_on_model_size_and_device(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, cuda: int, kind: str, size: int, batch_size: int
) -> None:
    monkeypatch.setattr(hardware, "cuda_device_count", lambda: cuda)
    model = str(models.get(kind, kind))
    (job,) = prepare_jobs([Txt2Img(model=model, prompt="a fox", width=size, height=size)])
    assert default_batch_size(job) == batch_size


def test_large_models_have_batch_size_one_on_the_cpu(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artgen.jobs.batch_size.SMALL_MODEL_BYTES", 1000)
    jobs = prepare_jobs(
        [Txt2Img(model=str(models["sd1"]), prompt="a fox"), Denoise(image=sample_images.photo(Path("photo.png")))]
    )
    assert [default_batch_size(job) for job in jobs] == [1, 1]


def test_queue_pads_the_last_batch(models: dict[str, Path]) -> None:
    plan = batches.build_plan(Path("out"), models["sd1"], create_entries(20))
    state = pending_jobs(plan.jobs, Ledger(Path("out")), JobFilter())
    queue = JobQueue(state.pending, MaxBatchSize(8), state.group_sizes)
    job_batches = [queue.next_batch() for _ in range(4)]
    assert [(len(each.jobs), each.batch_size) for each in job_batches] == [(8, 8), (2, 8), (8, 8), (2, 8)]
    queue.put_back(job_batches[1].jobs)
    job_batches = [queue.next_batch() for _ in range(3)]
    assert [(len(each.jobs), each.batch_size) for each in job_batches] == [(1, 1), (1, 1), (0, 1)]


@pytest.mark.slow
def test_images_do_not_depend_on_how_a_batch_is_divided(models: dict[str, Path]) -> None:
    """Compare a complete run, limited and shuffled runs, shards, and a run with two processes."""
    all_entries = create_entries(11)

    def folder(name: str) -> Any:
        return batches.build_plan(Path(name), models["sd1"], all_entries)

    run_batch(folder("complete"), batch_size=None)
    expected = image_hashes(Path("complete"))
    assert len(expected) == 11
    plan = folder("parts")
    for limit in (1, 5, None):
        run_batch(plan, batch_size=None, job_filter=JobFilter(limit=limit, shuffle=True))
    assert image_hashes(Path("parts")) == expected
    plan = folder("shards")
    for shard in range(2):
        run_batch(
            plan,
            in_process_runner(Path("shards"), f"-{shard}of2"),
            batch_size=None,
            job_filter=JobFilter(shard=(shard, 2)),
        )
    assert image_hashes(Path("shards")) == expected
    run_batch(folder("workers"), worker_pool_runner(Path("workers"), 2), batch_size=None)
    assert image_hashes(Path("workers")) == expected
    assert isinstance(parse_batch_size(None), DefaultBatchSize)
