"""Device batches: one number of rows for pictures of one shape, filled up where few are left, and made again alike."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import batches
import plain_scripts as plain
import pytest
from batches import draw, entries, hashes
from diffusers import AutoencoderKL
from PIL import Image

from artgen import Denoise, GeneratedImage, Img2Img, Inpaint, Request, Txt2Img, generate, generate_all
from artgen.engine import generate as engine
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

WORDS: dict[str, Any] = {"prompt": "a red fox", "steps": 2, "guidance_scale": 5.0}


def drawn(requests: Sequence[Request], rows: int) -> list[Image.Image]:
    outcomes = list(engine.generate_jobs(prepare_jobs(requests), batch_size=ExactBatchSize(rows)))
    assert all(isinstance(outcome, GeneratedImage) for outcome in outcomes), outcomes
    assert {outcome.record["batch_size"] for outcome in outcomes if isinstance(outcome, GeneratedImage)} == {rows}
    return [outcome.image for outcome in outcomes if isinstance(outcome, GeneratedImage)]


def series(task: str, model: Path) -> list[Request]:
    """Five pictures that differ in words, seeds and what they start from."""
    words = [{**WORDS, "prompt": f"a red fox {n}", "seed": n, "model": str(model)} for n in range(5)]
    if task == "txt2img":
        return [Txt2Img(**each) for each in words]
    image, mask = Image.open(plain.photo(Path("photo.png"))), Image.open(plain.mask(Path("mask.png")))
    for n in range(5):
        image.rotate(20 * n).save(f"{n}.png")
        mask.rotate(20 * n).save(f"{n}-mask.png")
    if task == "img2img":
        return [Img2Img(image=Path(f"{n}.png"), strength=0.7, **each) for n, each in enumerate(words)]
    masked = [{**each, "mask": Path(f"{n}-mask.png")} for n, each in enumerate(words)]
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
def test_no_bit_depends_on_neighbours_place_or_how_many_are_left(models: dict[str, Path], task: str, kind: str) -> None:
    requests = series(task, models[kind])
    together = drawn(requests, 4)  # four, and the fifth with three rows to spare
    turned = drawn(requests[::-1], 4)[::-1]
    alone = [drawn([request], 4)[0] for request in requests]
    for first, second, third in zip(together, turned, alone, strict=True):
        assert plain.same(first, second)
        assert plain.same(first, third)


def test_what_stands_between_others_parts_them(models: dict[str, Path]) -> None:
    first, second, *_, last = series("txt2img", models["sd1"])
    between = Denoise(image=plain.photo(Path("photo.png")), method="tv", sigma="10")
    outcomes = list(generate_all([first, second, between, last, first], batch_size=8))
    assert [outcome.request.task for outcome in outcomes] == ["txt2img", "txt2img", "denoise", "txt2img", "txt2img"]
    rows = [outcome.record.get("batch_size") for outcome in outcomes if isinstance(outcome, GeneratedImage)]
    assert rows == [2, 2, None, 2, 2]


def test_the_bundled_model_draws_the_same_bits_at_any_place() -> None:
    requests = [Txt2Img(model="tiny", prompt=f"a red fox {n}", seed=n, steps=2) for n in range(9)]
    together = drawn(requests, 8)
    assert plain.same(together[8], drawn(requests[8:], 8)[0])
    assert all(plain.same(a, b) for a, b in zip(together, drawn(requests[::-1], 8)[::-1], strict=True))


def test_a_picture_of_many_is_made_again_from_itself(
    models: dict[str, Path],
) -> None:
    requests = series("txt2img", models["sd1"])[:3]
    outcomes = list(generate_all(requests, batch_size=4))
    for outcome in outcomes:
        assert isinstance(outcome, GeneratedImage)
        assert outcome.record["batch_size"] == 4
        Path("one.json").write_text(json.dumps(outcome.record))
        plan = replay_jobs.read_replay_spec(Path("one.json"), {"model": str(models["sd1"])})
        assert plan.batch_size == 4
        assert "one of 4 at a time" in " ".join(plan.notes)
        again = engine.replay(Path("one.json"), {"model": str(models["sd1"])})
        assert plain.same(again.image, outcome.image)
        assert again.record == outcome.record
    changed = replay_jobs.read_replay_spec(Path("one.json"), {"model": str(models["sd1"]), "steps": "3"})
    assert (changed.batch_size, changed.notes) == (1, ())


@pytest.mark.parametrize("rows", [1, 0, -4, 257, 10**9, 2.0, "4", True, None])
def test_what_is_no_number_of_rows_is_not_followed(models: dict[str, Path], rows: Any) -> None:
    made = generate(Txt2Img(model=str(models["sd1"]), seed=1, **WORDS))
    Path("one.json").write_text(json.dumps({**made.record, "batch_size": rows}))
    assert replay_jobs.read_replay_spec(Path("one.json"), {"model": str(models["sd1"])}).batch_size == 1


@pytest.mark.parametrize(("side", "rows"), [(256, [3]), (264, [1, 1, 1])])
def test_large_pictures_are_decoded_one_after_the_other(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, side: int, rows: list[int]
) -> None:
    seen = []

    def count(original: Any, self: Any, latents: Any, *arguments: Any, **more: Any) -> Any:
        seen.append(len(latents))
        return original(self, latents, *arguments, **more)

    plain.around(monkeypatch, AutoencoderKL, "_decode", count)
    words = {**WORDS, "model": str(models["sd1"]), "steps": 1, "width": side, "height": side}
    drawn([Txt2Img(seed=n, **words) for n in range(3)], 3)
    assert seen == rows


@pytest.mark.parametrize(
    ("size", "total", "rows"),
    [("8", 1, 1), ("8", 2, 2), ("8", 3, 4), ("8", 5, 8), ("8", 9, 8), ("6", 5, 6), ("6", 100, 6), ("1", 100, 1),
     (None, 100, 4), (None, 2, 2)],
)  # fmt: skip
def test_rows_are_those_of_the_whole_whatever_is_left(size: str | None, total: int, rows: int) -> None:
    sizes = parse_batch_size(size)
    assert {sizes.next_batch_size(JobGroup(0, total, left, 4)) for left in range(1, total + 1)} == {rows}


def test_sizes_that_are_tried_are_not_filled_up() -> None:
    sizes = AutoTuneBatchSize()
    for drawn in (1, 2, 4):
        assert sizes.next_batch_size(JobGroup(0, 9, 9, 8)) == drawn
        sizes.record_timing(0, drawn, 1 / drawn)
    assert sizes.next_batch_size(JobGroup(0, 9, 2, 8)) == 2
    sizes.record_timing(0, 8, 9.0)
    assert sizes.next_batch_size(JobGroup(0, 9, 1, 8)) == 4  # settled


@pytest.mark.parametrize(
    ("cuda", "kind", "size", "rows"),
    [(0, "tiny", 128, 8), (0, "tiny", 64, 8), (0, "tiny", 256, 2), (0, "tiny", 512, 1), (1, "tiny", 128, 8),
     (1, "tiny", 256, 2), (1, "sdxl", 32, 4)],
)  # fmt: skip
def test_what_suits_depends_on_model_size_and_device(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, cuda: int, kind: str, size: int, rows: int
) -> None:
    monkeypatch.setattr(hardware, "cuda_device_count", lambda: cuda)
    model = str(models.get(kind, kind))
    (job,) = prepare_jobs([Txt2Img(model=model, prompt="a fox", width=size, height=size)])
    assert default_batch_size(job) == rows


def test_large_models_keep_a_processor_busy_with_one(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artgen.jobs.batch_size.SMALL", 1000)
    jobs = prepare_jobs(
        [Txt2Img(model=str(models["sd1"]), prompt="a fox"), Denoise(image=plain.photo(Path("photo.png")))]
    )
    assert [default_batch_size(job) for job in jobs] == [1, 1]


def test_a_queue_hands_out_whole_batches_and_rows_for_the_rest(models: dict[str, Path]) -> None:
    made = batches.plan(Path("out"), models["sd1"], entries(20))
    counted = pending_jobs(made.jobs, Ledger(Path("out")), JobFilter())
    queue = JobQueue(counted.pending, MaxBatchSize(8), counted.group_sizes)
    taken = [queue.next_batch() for _ in range(4)]
    assert [(len(each.jobs), each.batch_size) for each in taken] == [(8, 8), (2, 8), (8, 8), (2, 8)]
    queue.put_back(taken[1].jobs)
    taken = [queue.next_batch() for _ in range(3)]
    assert [(len(each.jobs), each.batch_size) for each in taken] == [(1, 1), (1, 1), (0, 1)]


def test_a_batch_draws_the_same_bits_however_it_is_cut(models: dict[str, Path]) -> None:
    """By default, that is: whole, a few at a time, shuffled, in shards of a folder, and by two processes."""
    found = entries(11)

    def folder(name: str) -> Any:
        return batches.plan(Path(name), models["sd1"], found)

    draw(folder("whole"), batch_size=None)
    whole = hashes(Path("whole"))
    assert len(whole) == 11
    made = folder("parts")
    for limit in (1, 5, None):
        draw(made, batch_size=None, selection=JobFilter(limit=limit, shuffle=True))
    assert hashes(Path("parts")) == whole
    made = folder("shards")
    for shard in range(2):
        draw(
            made,
            in_process_runner(Path("shards"), f"-{shard}of2"),
            batch_size=None,
            selection=JobFilter(shard=(shard, 2)),
        )
    assert hashes(Path("shards")) == whole
    draw(folder("workers"), worker_pool_runner(Path("workers"), 2), batch_size=None)
    assert hashes(Path("workers")) == whole
    assert isinstance(parse_batch_size(None), DefaultBatchSize)
