"""Every scheduler that is offered: found by all its names, drawing finite pixels from one step on."""

import json
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import plain_scripts as plain
import pytest
import torch

from artgen import Img2Img, Txt2Img, generate
from artgen.engine.loading import schedulers as building
from artgen.errors import UsageError
from artgen.spec.schedulers import (
    SCHEDULERS,
    SIGMA_SPACINGS,
    Scheduler,
    find_scheduler,
    find_scheduler_with_sigmas,
    identify_scheduler,
)

SPACINGS = [
    (entry, sigmas)
    for entry in SCHEDULERS
    for sigmas in (None, *(SIGMA_SPACINGS if entry.supports_sigmas else ("normal",)))
]


@pytest.mark.parametrize("steps", [1, 2, 20])
@pytest.mark.parametrize(("entry", "sigmas"), SPACINGS, ids=[f"{entry.name}-{sigmas}" for entry, sigmas in SPACINGS])
def test_finite_pixels(models: dict[str, Path], entry: Scheduler, sigmas: str | None, steps: int) -> None:
    model = models["sd3" if entry.is_flow_matching else "sd1"]
    request = Txt2Img(
        model=str(model), prompt="a fox", seed=1, steps=steps, scheduler=entry.name, sigmas=sigmas, guidance_scale=5.0
    )
    picture = generate(request)  # NaN would be a NonFiniteError
    assert len(set(picture.image.tobytes())) > 10
    assert (picture.record["scheduler"], picture.record.get("sigmas")) == (entry.name, sigmas)
    assert picture.record["steps"] == steps


@pytest.mark.parametrize(
    "entry", [entry for entry in SCHEDULERS if not entry.is_flow_matching], ids=lambda entry: entry.name
)
@pytest.mark.parametrize("strength", [0.05, 0.5])
def test_redrawing_with_every_scheduler(models: dict[str, Path], entry: Scheduler, strength: float) -> None:
    image = plain.photo(Path("photo.png"))
    request = Img2Img(
        model=str(models["sd1"]), image=image, seed=1, steps=20, strength=strength, scheduler=entry.name,
        guidance_scale=5.0,
    )  # fmt: skip
    assert len(set(generate(request).image.tobytes())) > 10


@pytest.mark.parametrize(
    "entry", [entry for entry in SCHEDULERS if entry.supports_sigmas], ids=lambda entry: entry.name
)
def test_the_spacing_of_noise_levels_makes_a_difference(models: dict[str, Path], entry: Scheduler) -> None:
    model = models["sd3" if entry.is_flow_matching else "sd1"]
    request = Txt2Img(model=str(model), prompt="a fox", seed=1, steps=4, scheduler=entry.name, guidance_scale=5.0)
    images = {sigmas: generate(request.replace(sigmas=sigmas)).image.tobytes() for sigmas in SIGMA_SPACINGS}
    assert len(set(images.values())) == len(SIGMA_SPACINGS)


@pytest.mark.parametrize("entry", SCHEDULERS, ids=lambda entry: entry.name)
def test_every_class_exists_and_takes_what_the_table_sets(entry: Scheduler) -> None:
    made = getattr(diffusers, entry.class_name)(**entry.config_overrides)
    for name, value in entry.config_overrides.items():
        assert made.config[name] == value
    for flag in building.SIGMA_FLAGS.values():
        assert (flag in made.config) or not entry.supports_sigmas


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("DPM++ 2M Karras", ("dpm++2m", "karras")),
        ("DPM++ 2M", ("dpm++2m", None)),
        ("dpmpp_2m", ("dpm++2m", None)),
        ("dpm++2m", ("dpm++2m", None)),
        ("DPMSolverMultistepScheduler", ("dpm++2m", None)),
        ("DPMSolverMultistep", ("dpm++2m", None)),
        ("DPM++ 2M SDE Karras", ("dpm++2m-sde", "karras")),
        ("k_dpmpp_2m_sde", ("dpm++2m-sde", None)),
        ("Euler a", ("euler-a", None)),
        ("euler_a", ("euler-a", None)),
        ("euler_ancestral", ("euler-a", None)),
        ("EULER", ("euler", None)),
        ("Euler Exponential", ("euler", "exponential")),
        ("uni_pc", ("unipc", None)),
        ("LMS Karras", ("lms", "karras")),
        ("DPM2 a", ("dpm2-a", None)),
        ("PLMS", ("pndm", None)),
        ("FlowMatchEulerDiscreteScheduler", ("flow-euler", None)),
    ],
)
def test_the_names_of_the_field(name: str, found: tuple[str, str | None]) -> None:
    entry, sigmas = find_scheduler_with_sigmas(name)
    assert (entry.name, sigmas) == found


def test_every_name_finds_its_own_entry() -> None:
    for entry in SCHEDULERS:
        for name in (entry.name, entry.a1111_name, *entry.aliases):
            assert find_scheduler(name) is entry
            assert find_scheduler(f"  {name.upper()} ") is entry


def test_an_unknown_name_lists_close_ones() -> None:
    with pytest.raises(UsageError, match="no scheduler called 'eulr'") as refused:
        find_scheduler("eulr")
    assert "euler" in refused.value.hint
    with pytest.raises(UsageError):
        find_scheduler("")
    with pytest.raises(UsageError):
        find_scheduler("karras")


@pytest.mark.parametrize("name", ["ddim", "euler-a", "pndm", "lcm", "flow-heun"])
def test_sigmas_for_a_scheduler_without_them_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} has no karras sigmas"):
        Txt2Img(scheduler=name, sigmas="karras")
    assert Txt2Img(scheduler=name, sigmas="normal").sigmas == "normal"


def test_a_name_and_sigmas_that_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="says karras and sigmas says beta"):
        Txt2Img(scheduler="DPM++ 2M Karras", sigmas="beta")
    assert Txt2Img(scheduler="DPM++ 2M Karras", sigmas="karras").scheduler == "dpm++2m"


def test_sigmas_for_a_models_own_scheduler_without_them_are_refused(models: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="ddim has no karras sigmas"):
        generate(Txt2Img(model=str(models["sd1"]), sigmas="karras", seed=1, steps=1))
    made = generate(Txt2Img(model=str(models["sdxl"]), sigmas="karras", seed=1, steps=1))
    assert (made.record["scheduler"], made.record["sigmas"]) == ("euler", "karras")


class Away(torch.Tensor):
    """A tensor as if it lay on a device, with its copy in main memory."""

    copies: ClassVar[list[torch.Tensor]] = []

    def cpu(self) -> torch.Tensor:  # type: ignore[override]
        self.copies.append(self.as_subclass(torch.Tensor).clone())
        return self.copies[-1]


@pytest.mark.parametrize("kind", ["PNDMScheduler", "DDIMScheduler"])
def test_a_step_is_told_its_timestep_in_main_memory(kind: str) -> None:
    """From whichever step a pipeline begins; what is no element of the timesteps is handed on."""
    scheduler: Any = getattr(diffusers, kind)()
    heard: list[Any] = []
    scheduler.step = lambda _, timestep, *__, **___: heard.append(timestep)
    building.use_cpu_timesteps(scheduler)
    for steps in (6, 4):
        Away.copies.clear()
        scheduler.set_timesteps(steps)
        expected = scheduler.timesteps.tolist()[2:]
        scheduler.timesteps = scheduler.timesteps.as_subclass(Away)
        heard.clear()
        for timestep in scheduler.timesteps[2:]:
            scheduler.step(None, timestep, None)
        assert [int(timestep) for timestep in heard] == expected
        (copy,) = Away.copies
        assert {each.untyped_storage().data_ptr() for each in heard} == {copy.untyped_storage().data_ptr()}
    own = torch.tensor(7)
    scheduler.step(None, own, None)
    scheduler.step(None, 8, None)
    assert heard[-2] is own
    assert heard[-1] == 8


def test_a_missing_package_is_named_with_the_command_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building.importlib.util, "find_spec", lambda name: None)
    own = diffusers.DDIMScheduler()
    with pytest.raises(UsageError, match="lms needs scipy") as refused:
        building.build_scheduler(own, "lms", None)
    assert refused.value.hint == "pip install scipy"
    with pytest.raises(UsageError, match="dpm\\+\\+sde needs torchsde and scipy"):
        building.build_scheduler(own, "dpm++sde", None)
    with pytest.raises(UsageError, match="needs scipy"):
        building.build_scheduler(own, "euler", "beta")
    assert isinstance(building.build_scheduler(own, "euler", "karras"), diffusers.EulerDiscreteScheduler)


def test_the_models_noise_schedule_and_prediction_stay() -> None:
    own = diffusers.DDIMScheduler(beta_start=0.001, prediction_type="v_prediction", timestep_spacing="trailing")
    made = building.build_scheduler(own, "dpm++2m-sde", "karras")
    assert (made.config.beta_start, made.config.prediction_type) == (0.001, "v_prediction")
    assert made.config.timestep_spacing == "trailing"
    assert made.config.use_karras_sigmas
    assert made.config.algorithm_type == "sde-dpmsolver++"
    assert building.build_scheduler(made, "euler", "exponential").config.use_karras_sigmas is False
    assert building.build_scheduler(made, None, "normal").config.use_karras_sigmas is False
    assert building.build_scheduler(made, None, None) is not made


def test_a_models_own_scheduler_is_named_when_the_table_has_it() -> None:
    for entry in SCHEDULERS:
        config = getattr(diffusers, entry.class_name)(**entry.config_overrides).config
        assert identify_scheduler(
            json.loads(json.dumps(dict(config), default=str)) | {"_class_name": entry.class_name}
        ) == (
            entry.name,
            None,
        )
    karras = diffusers.DPMSolverMultistepScheduler(use_karras_sigmas=True).config
    assert identify_scheduler({**karras, "_class_name": "DPMSolverMultistepScheduler"}) == ("dpm++2m", "karras")
    assert identify_scheduler({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver"}) == (
        None,
        None,
    )
    assert identify_scheduler({"_class_name": "EDMEulerScheduler"}) == (None, None)
