"""Requests hold their values to every limit, wherever these came from."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artgen import Img2Img, Inpaint, Outpaint, Request, Txt2Img
from artgen.errors import UsageError
from artgen.spec.requests import TASKS
from artgen.spec.seeds import generate_seed
from artgen.spec.settings import (
    OutputSettings,
    PromptSettings,
    SamplingSettings,
    SeriesSettings,
    Setting,
    options_of,
    parse_value,
    type_of,
    validate,
)

NEEDED: dict[str, dict[str, Any]] = {
    "txt2img": {},
    "img2img": {"image": Path("in.png")},
    "inpaint": {"image": Path("in.png"), "mask": Path("mask.png")},
    "outpaint": {"image": Path("in.png"), "expand": "64"},
    "denoise": {"image": Path("in.png")},
}


def make(task: str, **values: Any) -> Request:
    return TASKS[task].request_class(**{**NEEDED[task], **values})


def numbers() -> list[tuple[str, str, Setting, type]]:
    found = []
    for task, cls in ((each.name, each.request_class) for each in TASKS.values()):
        for name, field in options_of(cls).items():
            kind = type_of(cls, name)[0]
            if kind in (int, float):
                found.append((task, name, field.metadata["setting"], kind))
    return found


NUMBERS = numbers()
IDS = [f"{task}-{name}" for task, name, _, _ in NUMBERS]


def test_every_number_has_limits() -> None:
    assert {name for _, name, _, _ in NUMBERS} == {
        "seed", "steps", "guidance_scale", "width", "height", "strength", "feather", "eta", "self_ensemble", "fidelity",
    }  # fmt: skip
    assert all(spec.minimum is not None and spec.maximum is not None for _, _, spec, _ in NUMBERS)


@pytest.mark.parametrize(("task", "name", "spec", "kind"), NUMBERS, ids=IDS)
def test_limits_are_inclusive_and_hold(task: str, name: str, spec: Setting, kind: type) -> None:
    assert spec.minimum is not None
    assert spec.maximum is not None
    for value in (spec.minimum, spec.maximum):
        assert getattr(make(task, **{name: value}), name) == value
    step: float = 1 if kind is int else 1e-6
    for value in (spec.minimum - step, spec.maximum + step, -(10**400), 10**400):
        with pytest.raises(UsageError, match=f"{name} must be") as refused:
            make(task, **{name: value})
        assert f"{spec.maximum:,}" in refused.value.message


@pytest.mark.parametrize(("task", "name", "spec", "kind"), NUMBERS, ids=IDS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, False, "1", [1], 1j])
def test_what_is_no_number_is_refused(task: str, name: str, spec: Setting, kind: type, value: object) -> None:
    with pytest.raises(UsageError, match=f"{name} must be"):
        make(task, **{name: value})


@pytest.mark.parametrize(("task", "name", "spec", "kind"), [n for n in NUMBERS if n[3] is int])
def test_a_whole_number_must_be_whole(task: str, name: str, spec: Setting, kind: type) -> None:
    with pytest.raises(UsageError, match=f"{name} must be a whole number"):
        make(task, **{name: 1.0})


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"steps": 0}, "steps"),
        ({"width": 0}, "width"),
        ({"guidance_scale": math.nan}, "guidance_scale"),
        ({"safety_checker": 1}, "safety_checker"),
        ({"vae_tiling": "yes"}, "vae_tiling"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "a\0b"}, "prompt"),
        ({"prompt": "a\ud800b"}, "prompt"),
        ({"negative_prompt": "\udcff"}, "negative_prompt"),
        ({"model": "a\0b"}, "model"),
        ({"model": 7}, "model"),
        ({"dtype": "fp8"}, "dtype"),
        ({"dtype": None}, "dtype"),
        ({"long_prompt": "cut"}, "long_prompt"),
        ({"offload": "some"}, "offload"),
        ({"sigmas": "linear"}, "sigmas"),
    ],
)
def test_values_that_cannot_be_used_are_named(values: dict[str, Any], name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name} ") as refused:
        Txt2Img(**values)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    "group", [SeriesSettings(count=1), OutputSettings()], ids=lambda group: type(group).__name__
)  # what belongs to a command rather than to a picture
def test_groups_that_are_no_requests_have_limits_too(group: Any) -> None:
    validate(group)
    for name, value in {"count": 0, "batch_size": 0, "quality": 101, "metadata": "some"}.items():
        if name in options_of(type(group)):
            with pytest.raises(UsageError, match=f"{name} must be"):
                validate(dataclasses.replace(group, **{name: value}))


def test_a_near_word_is_suggested() -> None:
    with pytest.raises(UsageError) as refused:
        Txt2Img(dtype="fp31")
    assert refused.value.hint == "Did you mean fp32?"


def test_what_a_task_cannot_do_without() -> None:
    for build, said in (
        (lambda: Img2Img(), "img2img needs an input image"),
        (lambda: Inpaint(mask=Path("m.png")), "inpaint needs an input image"),
        (lambda: Inpaint(image=Path("i.png")), "inpaint needs a mask"),
        (lambda: Outpaint(image=Path("i.png")), "outpaint needs either"),
        (lambda: Outpaint(image=Path("i.png"), expand="8", target_size="64x64"), "outpaint needs either"),
    ):
        with pytest.raises(UsageError, match=said):
            build()


def test_a_request_is_frozen_and_a_change_is_checked() -> None:
    request = Txt2Img(prompt="a fox", steps=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.steps = 5  # type: ignore[misc]
    assert request.replace(steps=5) == Txt2Img(prompt="a fox", steps=5)
    with pytest.raises(UsageError):
        request.replace(steps=0)
    with pytest.raises(TypeError):
        request.replace(colour="red")


def test_a_request_is_made_of_groups() -> None:
    made = Txt2Img.from_settings(PromptSettings(prompt="a fox"), SamplingSettings(steps=4, scheduler="Euler a"), seed=7)
    assert made == Txt2Img(prompt="a fox", steps=4, scheduler="euler-a", seed=7)


def test_paths_may_be_given_as_text() -> None:
    assert Img2Img(image="in.png").image == Path("in.png")  # type: ignore[arg-type]


def test_random_seeds_fit_other_tools() -> None:
    seeds = {generate_seed() for _ in range(64)}
    assert len(seeds) > 60
    assert all(0 <= seed < 2**32 for seed in seeds)


@given(st.integers(1, 1000))
def test_numbers_are_read_from_text(value: int) -> None:
    assert parse_value(Txt2Img, "steps", str(value)) == value


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("guidance_scale", "7", 7.0),
        ("steps", "", None),
        ("prompt", "", ""),
        ("safety_checker", "No", False),
        ("vae_tiling", "1", True),
        ("scheduler", "Euler a", "Euler a"),
    ],
)
def test_values_are_read_from_text(name: str, text: str, value: object) -> None:
    assert parse_value(Txt2Img, name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("steps", "many", "steps must be a whole number, not 'many'"),
        ("steps", "1.5", "steps must be a whole number"),
        ("vae_tiling", "maybe", "vae_tiling must be true or false"),
        ("guidance_scale", "x", "guidance_scale must be a number"),
        ("stepps", "1", "Unknown setting: 'stepps'"),
        ("strength", "1", "Unknown setting: 'strength'"),
    ],
)
def test_text_that_is_no_value(name: str, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        parse_value(Txt2Img, name, text)
    if name == "stepps":
        assert "steps" in refused.value.hint


def test_every_task_name_has_a_class() -> None:
    from artgen.spec.requests import TASKS
    from artgen.spec.settings import TASK_NAMES

    assert tuple(TASKS) == TASK_NAMES
