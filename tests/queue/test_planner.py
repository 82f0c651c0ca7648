"""Plans: fingerprints, seeds and names that do not depend on what stands around a line."""

import random
import re
from pathlib import Path
from typing import Any

import batches
import pytest
from PIL import Image

from artgen.queue.entries import Entry, LineError
from artgen.queue.planner import BatchPlan, Planner
from artgen.queue.timings import Timings


def plan(*given: dict[str, Any], **defaults: Any) -> BatchPlan:
    return Planner(Path("out"), defaults).build_plan(Entry("p.txt", i, g) for i, g in enumerate(given, 1))


def keys(*given: dict[str, Any], **defaults: Any) -> list[str]:
    made = plan(*given, **defaults)
    assert not made.line_errors, made.line_errors[0].error
    return [job.fingerprint for job in made.jobs]


def test_a_line_without_a_seed_has_the_same_one_wherever_it_stands() -> None:
    lines: list[dict[str, Any]] = [{"prompt": f"fox {i}"} for i in range(20)]
    seeds = {job.request.prompt: job.request.seed for job in plan(*lines).jobs}
    random.Random(1).shuffle(lines)
    again = plan({"prompt": "new"}, *lines[:10])
    assert {job.request.prompt: job.request.seed for job in again.jobs[1:]}.items() <= seeds.items()
    assert len(set(seeds.values())) == 20


def test_the_same_line_twice_makes_two_pictures() -> None:
    made = plan({"prompt": "fox"}, {"prompt": "fox"}, {"prompt": "fox", "seed": "3"}, {"prompt": "fox", "seed": "3"})
    assert len({job.fingerprint for job in made.jobs}) == 4
    first, second, third, fourth = (job.request.seed for job in made.jobs)
    assert first != second
    assert third == fourth == 3


def test_seed_minus_one_and_count() -> None:
    made = plan({"prompt": "fox", "seed": "-1", "count": 3})
    first = made.jobs[0].request.seed
    assert first is not None
    assert [job.request.seed for job in made.jobs] == [first, first + 1, first + 2]
    assert [job.request.seed for job in plan({"prompt": "a", "seed": "1,4-6"}, count=2).jobs] == [1, 4, 5, 6]


@pytest.mark.parametrize(
    "change",
    [{"prompt": "cat"}, {"negative_prompt": "x"}, {"seed": "2"}, {"steps": 3}, {"width": 64}, {"scheduler": "euler"},
     {"format": "webp"}, {"output": "a/"}, {"metadata": "none"}, {"dtype": "bf16"}],
)  # fmt: skip
def test_what_changes_the_picture_changes_the_fingerprint(change: dict[str, Any]) -> None:
    line = {"prompt": "fox", "seed": "1", "steps": 2}
    assert keys(line) != keys({**line, **change})


def test_how_it_is_drawn_does_not_change_the_fingerprint() -> None:
    line = {"prompt": "fox", "seed": "1"}
    how = {"device": "cpu"}, {"vae_tiling": True}, {"png_level": 9}
    assert all(keys(line) == keys({**line, **each}) for each in how)
    assert keys({"prompt": "fox", "seed": "1", "steps": 30, "guidance_scale": 3.0}) == keys(line)


def test_the_fingerprint_is_of_the_input_s_content() -> None:
    Image.new("RGB", (32, 32), "red").save("a.png")
    line = {"task": "img2img", "image": Path("a.png"), "seed": "1"}
    red = keys(line)
    assert keys(line) == red
    Image.new("RGB", (32, 32), "blue").save("a.png")
    assert keys(line) != red


def test_defaults_fit_the_line_s_task_or_are_left_out() -> None:
    Image.new("RGB", (40, 32)).save("a.png")
    made = plan(
        {"prompt": "fox"},
        {"task": "img2img", "image": Path("a.png")},
        {"prompt": "fox", "width": 64},
        strength=0.5,
        size="32x32",
        steps=4,
    )
    assert not made.line_errors
    assert [getattr(job.request, "strength", None) for job in made.jobs] == [None, 0.5, None]
    assert [job.template.size for job in made.jobs] == [(32, 32), (32, 32), (64, 128)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompt": "x", "strength": 0.5}, "takes no strength"),
        ({"prompt": " "}, "needs a prompt"),
        ({"prompt": "x", "task": "fly"}, "no task"),
        ({"prompt": "x", "output": "/etc/x.png"}, "leads out"),
        ({"prompt": "x", "output": "a/../../x.png"}, "leads out"),
        ({"prompt": "x", "output": "{nope}"}, "no field"),
        ({"prompt": "x", "width": 33}, "multiples of"),
        ({"prompt": "x", "model": "no/such/model", "offline": True}, "no/such/model"),
        ({"prompt": "x\0"}, "NUL"),
        ({"prompt": ["x"]}, "prompt must be"),
        ({"prompt": "x", "steps": [1]}, "steps must be"),
        ({"task": "img2img", "image": Path("none.png")}, r"none\.png"),
        ({"task": "img2img"}, "needs a picture"),
    ],
)
def test_a_line_that_cannot_be_drawn_is_a_mistake(given: dict[str, Any], said: str) -> None:
    made = plan({"prompt": "fine"}, given)
    assert len(made.jobs) == 1
    (mistake,) = made.line_errors
    assert isinstance(mistake, LineError)
    assert mistake.location == "p.txt:2"
    assert re.search(said, mistake.error.message), mistake.error.message


def test_jobs_that_one_call_can_draw_are_alike() -> None:
    chunks = {"prompt": "a", "long_prompt": "chunk"}
    made = plan(
        {"prompt": "a"}, {"prompt": "b", "steps": 3}, {"prompt": "c", "output": "sub/"}, {"prompt": "d", "seed": "1,2"},
        {"prompt": "a", "negative_prompt": "x"}, {"prompt": "b", "negative_prompt": "y"},
        {"prompt": "a", "size": "64x64"}, chunks, {**chunks, "prompt": "b"}, {**chunks, "seed": "7"},
    )  # fmt: skip
    assert [job.group_id for job in made.jobs] == [0, 1, 0, 0, 0, 2, 2, 3, 4, 5, 4]


def test_pictures_of_one_size_are_redrawn_together() -> None:
    for name, size in (("a", (32, 32)), ("b", (32, 32)), ("c", (40, 32))):
        Image.new("RGB", size, "orange").save(f"{name}.png")
    words = {"task": "img2img", "prompt": "a fox"}
    made = plan(*({**words, "image": f"{name}.png"} for name in "abc"), {**words, "image": "b.png", "strength": 0.3})
    assert [job.group_id for job in made.jobs] == [0, 0, 1, 2]
    denoised = plan(*({"task": "denoise", "image": f"{name}.png"} for name in "ab"))
    assert [job.group_id for job in denoised.jobs] == [0, 1]


def test_ten_thousand_lines_share_what_they_share() -> None:
    made = Planner(Path("out")).build_plan(batches.entries(10_000))
    assert len(made.jobs) == 10_000
    assert len({id(job.template) for job in made.jobs}) == 2


def test_what_was_learnt_of_speed_is_kept_for_the_next_time() -> None:
    first, second = plan({"prompt": "a", "steps": 10}, {"prompt": "b", "steps": 10, "size": "64x64"}).jobs
    history = Timings()
    assert history.estimate_seconds([first]) is None
    history.update(first, 5.0)
    history.update_batch_sizes([first, second], {first.group_id: 8})
    history.save()
    again = Timings()
    assert again.estimate_seconds([first]) == pytest.approx(5.0)
    assert again.estimate_seconds([first, second]) is None
    assert again.batch_sizes([first, second]) == {first.group_id: 8}
    for spoilt in ("[]", '{"seconds": 3}', "not json"):
        Path("history.json").write_text(spoilt)
        assert Timings(Path("history.json")).estimate_seconds([first]) is None
