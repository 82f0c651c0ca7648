"""Test that requests and groups of settings validate their values."""

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
    TASK_NAMES,
    MaskModelSettings,
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

REQUIRED: dict[str, dict[str, Any]] = {
    "txt2img": {},
    "img2img": {"image": Path("in.png")},
    "inpaint": {"image": Path("in.png"), "mask": Path("mask.png")},
    "outpaint": {"image": Path("in.png"), "expand": "64"},
    "edit": {"image": Path("in.png"), "mask": Path("mask.png"), "prompt": "make it winter"},
    "denoise": {"image": Path("in.png")},
    "sample": {},
    "upscale": {"image": Path("in.png"), "method": "redraw"},
}


def build(task: str, **values: Any) -> Request:
    required = REQUIRED[task]
    if values.keys() & options_of(MaskModelSettings).keys():
        required = {**required, "mask": None, "mask_text": "dog"}
    if "hires_steps" in values:
        required = {**required, "hires": "2"}
    return TASKS[task].request_class(**{**required, **values})


def number_settings() -> list[tuple[str, str, Setting, type]]:
    found = []
    for task, cls in ((each.name, each.request_class) for each in TASKS.values()):
        for name, field in options_of(cls).items():
            kind = type_of(cls, name)[0]
            if kind in (int, float):
                found.append((task, name, field.metadata["setting"], kind))
    return found


NUMBERS = number_settings()
IDS = [f"{task}-{name}" for task, name, _, _ in NUMBERS]


def test_number_settings_have_limits() -> None:
    assert {name for _, name, _, _ in NUMBERS} == {
        "seed", "steps", "guidance_scale", "guidance_rescale", "width", "height", "strength", "feather", "eta",
        "self_ensemble", "fidelity", "max_side", "clip_skip", "pag_scale", "only_masked", "image_guidance_scale",
        "best_of", "grow", "mask_threshold", "variation_seed", "variation_strength", "morph_position",
        "hires_steps", "by", "tile_size", "tile_overlap", "sharpen",
    }  # fmt: skip
    assert all(spec.minimum is not None and spec.maximum is not None for _, _, spec, _ in NUMBERS)


@pytest.mark.parametrize(("task", "name", "spec", "kind"), NUMBERS, ids=IDS)
def test_limits_are_inclusive(task: str, name: str, spec: Setting, kind: type) -> None:
    assert spec.minimum is not None
    assert spec.maximum is not None
    for value in (spec.minimum, spec.maximum):
        assert getattr(build(task, **{name: value}), name) == value
    step: float = 1 if kind is int else 1e-6
    for value in (spec.minimum - step, spec.maximum + step, -(10**400), 10**400):
        with pytest.raises(UsageError, match=f"{name} must be") as caught:
            build(task, **{name: value})
        assert f" to {spec.maximum:,}".removesuffix(".0") in caught.value.message


@pytest.mark.parametrize(("task", "name", "spec", "kind"), NUMBERS, ids=IDS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, False, "1", [1], 1j])
def test_values_that_are_not_finite_numbers_raise_usage_errors(
    task: str, name: str, spec: Setting, kind: type, value: object
) -> None:
    with pytest.raises(UsageError, match=f"{name} must be"):
        build(task, **{name: value})


@pytest.mark.parametrize(("task", "name", "spec", "kind"), [n for n in NUMBERS if n[3] is int])
def test_integer_settings_reject_floats(task: str, name: str, spec: Setting, kind: type) -> None:
    with pytest.raises(UsageError, match=f"{name} must be a whole number"):
        build(task, **{name: 1.0})


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
def test_errors_of_invalid_values_start_with_the_setting_name(values: dict[str, Any], name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name} ") as caught:
        Txt2Img(**values)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("group", [SeriesSettings(count=1), OutputSettings()], ids=lambda group: type(group).__name__)
def test_groups_outside_requests_have_limits(group: Any) -> None:
    validate(group)
    for name, value in {"count": 0, "batch_size": 0, "quality": 101, "metadata": "some"}.items():
        if name in options_of(type(group)):
            with pytest.raises(UsageError, match=f"{name} must be"):
                validate(dataclasses.replace(group, **{name: value}))


def test_errors_of_choices_suggest_a_similar_choice() -> None:
    with pytest.raises(UsageError) as caught:
        Txt2Img(dtype="fp31")
    assert caught.value.hint == "Did you mean fp32?"


def test_missing_inputs_raise_usage_errors() -> None:
    for construct, message in (
        (lambda: Img2Img(), "img2img needs an input image"),
        (lambda: Inpaint(mask=Path("m.png")), "inpaint needs an input image"),
        (lambda: Inpaint(image=Path("i.png")), "inpaint needs a mask"),
        (lambda: Outpaint(image=Path("i.png")), "outpaint needs either"),
        (lambda: Outpaint(image=Path("i.png"), expand="8", target_size="64x64"), "outpaint needs either"),
    ):
        with pytest.raises(UsageError, match=message):
            construct()


def test_requests_are_immutable_and_replace_validates() -> None:
    request = Txt2Img(prompt="a fox", steps=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.steps = 5  # type: ignore[misc]
    assert request.replace(steps=5) == Txt2Img(prompt="a fox", steps=5)
    with pytest.raises(UsageError):
        request.replace(steps=0)
    with pytest.raises(TypeError):
        request.replace(color="red")


def test_from_settings_combines_groups_and_single_values() -> None:
    request = Txt2Img.from_settings(
        PromptSettings(prompt="a fox"), SamplingSettings(steps=4, scheduler="Euler a"), seed=7
    )
    assert request == Txt2Img(prompt="a fox", steps=4, scheduler="euler-a", seed=7)


def test_text_is_converted_to_paths() -> None:
    assert Img2Img(image="in.png").image == Path("in.png")  # type: ignore[arg-type]


def test_random_seeds_have_32_bits() -> None:
    seeds = {generate_seed() for _ in range(64)}
    assert len(seeds) > 60
    assert all(0 <= seed < 2**32 for seed in seeds)


@given(st.integers(1, 1000))
def test_parse_value_parses_integers(value: int) -> None:
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
def test_parse_value_converts_to_the_type_of_the_setting(name: str, text: str, value: object) -> None:
    assert parse_value(Txt2Img, name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("steps", "many", "steps must be a whole number, not 'many'"),
        ("steps", "1.5", "steps must be a whole number"),
        ("vae_tiling", "maybe", "vae_tiling must be true or false"),
        ("guidance_scale", "x", "guidance_scale must be a number"),
        ("stepps", "1", "Unknown setting: 'stepps'"),
        ("strength", "1", "Unknown setting: 'strength'"),
    ],
)
def test_parse_value_rejects_invalid_text(name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_value(Txt2Img, name, text)
    if name == "stepps":
        assert "steps" in caught.value.hint


def test_every_task_name_has_a_request_class() -> None:
    assert tuple(TASKS) == TASK_NAMES
