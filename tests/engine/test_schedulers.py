"""Test every scheduler of the table: its names, its parity with diffusers, and finite pixels from one step on."""

import inspect
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import plain_scripts as plain
import pytest
import sample_images
import torch

from artgen import Img2Img, Txt2Img, generate, generate_all
from artgen.engine.loading import schedulers as engine_schedulers
from artgen.errors import UsageError
from artgen.jobs.prepare import prepare_jobs
from artgen.spec.schedulers import (
    SCHEDULERS,
    SIGMA_SPACINGS,
    UNSUPPORTED_SCHEDULERS,
    Scheduler,
    find_scheduler,
    find_scheduler_with_sigmas,
    identify_scheduler,
)

DIFFUSERS_SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "dpm++2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "dpm++2m-sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}),
    "dpm++3m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 3}),
    "dpm++2s": (
        "DPMSolverSinglestepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "lower_order_final": True},
    ),
    "dpm++sde": ("DPMSolverSDEScheduler", {"noise_sampler_seed": 1}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm2": ("KDPM2DiscreteScheduler", {}),
    "dpm2-a": ("KDPM2AncestralDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "deis": ("DEISMultistepScheduler", {"algorithm_type": "deis"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "sa-solver": ("SASolverScheduler", {"algorithm_type": "data_prediction"}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
    "flow-euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "flow-heun": ("FlowMatchHeunDiscreteScheduler", {}),
}
"""Class and configuration in diffusers of each scheduler name, written without artgen's table."""

DIFFUSERS_SIGMAS: dict[str | None, dict[str, bool]] = {
    None: {},
    "normal": {},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
}

VARIANTS = [
    (entry, sigmas)
    for entry in SCHEDULERS
    for sigmas in (None, *(SIGMA_SPACINGS if entry.supports_sigmas else ("normal",)))
]
VARIANT_IDS = [f"{entry.name}-{sigmas}" for entry, sigmas in VARIANTS]


@pytest.fixture(scope="module")
def pipelines(models: dict[str, Path]) -> dict[str, Any]:
    """Return plain diffusers pipelines by architecture."""
    return {
        "sd1": plain.load("StableDiffusionPipeline", models["sd1"]),
        "sd3": plain.load("StableDiffusion3Pipeline", models["sd3"]),
    }


def test_reference_covers_every_scheduler() -> None:
    assert DIFFUSERS_SCHEDULERS.keys() == {entry.name for entry in SCHEDULERS}
    assert DIFFUSERS_SIGMAS.keys() == {None, *SIGMA_SPACINGS}


@pytest.mark.parametrize(("entry", "sigmas"), VARIANTS, ids=VARIANT_IDS)
def test_image_equals_plain_diffusers(
    models: dict[str, Path], pipelines: dict[str, Any], entry: Scheduler, sigmas: str | None
) -> None:
    kind = "sd3" if entry.is_flow_matching else "sd1"
    request = Txt2Img(
        model=str(models[kind]), prompt="a fox", seed=1, steps=4, scheduler=entry.name, sigmas=sigmas,
        guidance_scale=5.0, device="cpu",
    )  # fmt: skip
    image = generate(request).image
    class_name, config = DIFFUSERS_SCHEDULERS[entry.name]
    reference = plain.run(
        pipelines[kind], seed=1, prompt="a fox", num_inference_steps=4, guidance_scale=5.0,
        scheduler={"class_name": class_name, "config": {**config, **DIFFUSERS_SIGMAS[sigmas]}},
    )  # fmt: skip
    assert sample_images.same(image, reference)


@pytest.mark.parametrize("steps", [1, 2, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("entry", "sigmas"),
    [
        # The parity test covers every variant with 4 steps in the fast run too.
        pytest.param(entry, sigmas, marks=[pytest.mark.slow] if sigmas else [], id=variant_id)
        for (entry, sigmas), variant_id in zip(VARIANTS, VARIANT_IDS, strict=True)
    ],
)
def test_pixels_are_finite(models: dict[str, Path], entry: Scheduler, sigmas: str | None, steps: int) -> None:
    model = models["sd3" if entry.is_flow_matching else "sd1"]
    request = Txt2Img(
        model=str(model), prompt="a fox", seed=1, steps=steps, scheduler=entry.name, sigmas=sigmas, guidance_scale=1.0
    )
    generated = generate(request)  # raises NonFiniteError for NaN
    assert len(set(generated.image.tobytes())) > 10
    assert (generated.record["scheduler"], generated.record.get("sigmas")) == (entry.name, sigmas)
    assert generated.record["steps"] == steps


@pytest.mark.parametrize(
    "entry", [entry for entry in SCHEDULERS if not entry.is_flow_matching], ids=lambda entry: entry.name
)
@pytest.mark.parametrize("strength", [0.05, 0.5])
def test_img2img_works_with_every_scheduler(models: dict[str, Path], entry: Scheduler, strength: float) -> None:
    image = sample_images.photo(Path("photo.png"))
    request = Img2Img(
        model=str(models["sd1"]), image=image, seed=1, steps=20, strength=strength, scheduler=entry.name,
        guidance_scale=1.0,
    )  # fmt: skip
    assert len(set(generate(request).image.tobytes())) > 10


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(entry, marks=[] if entry.name in ("euler", "dpm++2m", "flow-euler") else [pytest.mark.slow])
        for entry in SCHEDULERS
        if entry.supports_sigmas
    ],
    ids=lambda entry: entry.name,
)
def test_each_sigma_spacing_gives_another_image(models: dict[str, Path], entry: Scheduler) -> None:
    model = models["sd3" if entry.is_flow_matching else "sd1"]
    request = Txt2Img(model=str(model), prompt="a fox", seed=1, steps=4, scheduler=entry.name, guidance_scale=1.0)
    images = {sigmas: generate(request.replace(sigmas=sigmas)).image.tobytes() for sigmas in SIGMA_SPACINGS}
    assert len(set(images.values())) == len(SIGMA_SPACINGS)


@pytest.mark.parametrize("entry", SCHEDULERS, ids=lambda entry: entry.name)
def test_every_class_accepts_the_configuration_of_the_table(entry: Scheduler) -> None:
    scheduler = getattr(diffusers, entry.class_name)(**entry.config_overrides)
    for name, value in entry.config_overrides.items():
        assert scheduler.config[name] == value
    for flag in engine_schedulers.SIGMA_FLAGS.values():
        assert (flag in scheduler.config) or not entry.supports_sigmas


@pytest.mark.parametrize(
    ("name", "expected"),
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
def test_names_of_other_tools_are_accepted(name: str, expected: tuple[str, str | None]) -> None:
    entry, sigmas = find_scheduler_with_sigmas(name)
    assert (entry.name, sigmas) == expected


def test_every_name_and_alias_selects_its_entry() -> None:
    for entry in SCHEDULERS:
        for name in (entry.name, entry.a1111_name, *entry.aliases):
            assert find_scheduler(name) is entry
            assert find_scheduler(f"  {name.upper()} ") is entry


OTHER_ALGORITHMS = [
    *UNSUPPORTED_SCHEDULERS,
    "DPM++ 2S a Karras", "dpm++2s_a", "DPMSolver", "DPM++ 3M SDE Exponential", "dpmpp_3m_sde", 
    "DPM++ 2M SDE Heun Karras",
    "DPM fast", "dpm_fast", "dpm_adaptive", "k_dpm_fast", "DDIM CFG++", "euler_cfg_pp", "euler_ancestral_cfg_pp",
    "dpmpp_2s_ancestral_cfg_pp", "dpm++2mv2", "ddim_trailing", "res_multistep", "er_sde", "seeds_2",
    "gradient_estimation", "IPNDMScheduler", "EDMEulerScheduler", "Euler a Euler", "DPM", "dpm++", "sde", "ancestral",
    "DPM++ 2M a", "DPM++ 3S", "LMS a", "Heun a", "2m", "flow", "Euler SGM Uniform", "DPM++ 2M Polyexponential",
]  # fmt: skip
"""Names of algorithms that artgen does not have, and parts of names."""


@pytest.mark.parametrize("name", OTHER_ALGORITHMS)
def test_name_of_another_algorithm_selects_no_scheduler(name: str) -> None:
    with pytest.raises(UsageError) as raised:
        find_scheduler(name)
    assert name in raised.value.message
    known = {entry.name for entry in SCHEDULERS}
    if name in UNSUPPORTED_SCHEDULERS:
        listed = raised.value.hint.removeprefix("Similar schedulers: ").rstrip(".").split(", ")
        assert known.issuperset(listed)
        assert tuple(listed) == UNSUPPORTED_SCHEDULERS[name]


def test_third_order_sde_solver_of_diffusers_is_not_dpmpp_3m_sde() -> None:
    """If this test fails, diffusers has the coefficients of k-diffusion, and the table can have `DPM++ 3M SDE`."""
    scheduler: Any = diffusers.DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++", solver_order=3)
    scheduler.set_timesteps(10)
    scheduler._step_index = 5
    first, *others = (torch.tensor(value, dtype=torch.float64) for value in (1.0, 0.3, -0.4))
    sample = torch.zeros((), dtype=torch.float64)
    result = scheduler.multistep_dpm_solver_third_order_update(
        [others[1], others[0], first], sample=sample, noise=torch.zeros_like(sample)
    )
    lambdas = [-float(torch.log(sigma)) for sigma in scheduler.sigmas[3:7].double()]
    h, h1, h2 = lambdas[3] - lambdas[2], lambdas[2] - lambdas[1], lambdas[1] - lambdas[0]
    alpha = float(1 / (scheduler.sigmas[6].double() ** 2 + 1) ** 0.5)
    r0, r1, h_eta = h1 / h, h2 / h, 2 * h
    d10, d11 = (float(first) - 0.3) / r0, (0.3 + 0.4) / r1
    phi2 = math.expm1(-h_eta) / h_eta + 1
    phi3 = phi2 / h_eta - 0.5
    d1, d2 = d10 + (d10 - d11) * r0 / (r0 + r1), (d10 - d11) / (r0 + r1)
    expected = alpha * (-math.expm1(-h_eta) * float(first) + phi2 * d1 - phi3 * d2)
    assert abs(float(result) - expected) > 0.01
    assert float(result) == pytest.approx(expected - alpha * d2, rel=1e-4)  # another sign of the constant 1/2


@pytest.mark.parametrize("entry", SCHEDULERS, ids=lambda entry: entry.name)
@pytest.mark.parametrize("source", SCHEDULERS, ids=lambda entry: entry.name)
def test_name_selects_its_algorithm_for_every_model(source: Scheduler, entry: Scheduler) -> None:
    """The configuration of the model may omit keys, or belong to a class with other values of the same keys."""
    if source.is_flow_matching != entry.is_flow_matching:
        return
    config = {"_class_name": source.class_name, **source.config_overrides}
    omitted = getattr(diffusers, source.class_name).from_config({"_class_name": source.class_name})
    for model_scheduler in (omitted, getattr(diffusers, source.class_name).from_config(config)):
        for sigmas in (None, *(SIGMA_SPACINGS if entry.supports_sigmas else ())):
            scheduler = engine_schedulers.build_scheduler(model_scheduler, entry.name, sigmas)
            assert type(scheduler).__name__ == entry.class_name
            for name, value in entry.config_overrides.items():
                assert scheduler.config[name] == value
            flags = {name: scheduler.config.get(flag) for name, flag in engine_schedulers.SIGMA_FLAGS.items()}
            assert [name for name, value in flags.items() if value] == ([] if sigmas in (None, "normal") else [sigmas])


ZERO_SNR = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True,
    "prediction_type": "v_prediction", "timestep_spacing": "trailing", "clip_sample": False,
}  # fmt: skip


@pytest.mark.parametrize(
    "entry", [entry for entry in SCHEDULERS if not entry.is_flow_matching], ids=lambda entry: entry.name
)
def test_zero_snr_schedule_starts_without_signal_or_is_not_supported(entry: Scheduler) -> None:
    for sigmas in (None, *(SIGMA_SPACINGS if entry.supports_sigmas else ())):
        for steps in (1, 2, 20):
            scheduler = engine_schedulers.build_scheduler(diffusers.DDIMScheduler(**ZERO_SNR), entry.name, sigmas)
            scheduler.set_timesteps(steps)
            if hasattr(scheduler, "sigmas") and len(scheduler.sigmas):
                alpha_bar = float(1 / (scheduler.sigmas[0] ** 2 + 1))
            else:
                alpha_bar = float(scheduler.alphas_cumprod[int(scheduler.timesteps[0])])
            assert (alpha_bar < 1e-6) == entry.supports_zero_snr


@pytest.mark.parametrize("sigmas", [None, *SIGMA_SPACINGS])
@pytest.mark.parametrize("steps", [4, 21, 30, 50])
def test_equal_first_timesteps_start_at_the_first_noise_level(sigmas: str | None, steps: int) -> None:
    """With zero terminal SNR, the timesteps of several noise levels are rounded to the same number."""
    for entry in SCHEDULERS:
        if entry.is_flow_matching or (sigmas and not entry.supports_sigmas) or entry.name == "dpm++sde":
            continue
        scheduler = engine_schedulers.build_scheduler(diffusers.DDIMScheduler(**ZERO_SNR), entry.name, sigmas)
        images = []
        for begin_index in (None, 0):
            scheduler.set_timesteps(steps)
            if begin_index is not None and hasattr(scheduler, "set_begin_index"):
                scheduler.set_begin_index(begin_index)
            image = torch.ones(1, 4, 2, 2)
            step_options = inspect.signature(scheduler.step).parameters
            for timestep in scheduler.timesteps:
                scaled = scheduler.scale_model_input(image, timestep)
                options = {"generator": torch.Generator().manual_seed(1)} if "generator" in step_options else {}
                image = scheduler.step(0.1 * scaled, timestep, image, **options).prev_sample
            images.append(image)
        assert torch.equal(*images), entry.name


def zero_snr_model(models: dict[str, Path], **changes: Any) -> str:
    folder = Path(shutil.copytree(models["sd1"], "zero-snr"))
    diffusers.DDIMScheduler(**{**ZERO_SNR, **changes}).save_pretrained(folder / "scheduler")
    return str(folder)


def test_scheduler_without_zero_snr_is_rejected_for_such_a_model(models: dict[str, Path]) -> None:
    model = zero_snr_model(models)
    for entry in SCHEDULERS:
        if entry.is_flow_matching:
            continue
        request = Txt2Img(model=model, prompt="a fox", seed=1, steps=2, scheduler=entry.name, guidance_scale=1.0)
        if entry.supports_zero_snr:
            assert len(set(generate(request).image.tobytes())) > 10
            continue
        with pytest.raises(UsageError, match=f"{re.escape(entry.name)} does not support 'zero-snr'") as raised:
            generate(request)
        assert "ddim" in raised.value.hint


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing", None])
def test_note_is_printed_exactly_if_the_last_noise_level_is_skipped(
    models: dict[str, Path], spacing: str | None
) -> None:
    model = zero_snr_model(models, timestep_spacing=spacing or "leading")
    if spacing is None:
        path = Path(model, "scheduler", "scheduler_config.json")
        config = json.loads(path.read_text())
        del config["timestep_spacing"]
        path.write_text(json.dumps(config))
    model_scheduler = diffusers.DDIMScheduler.from_pretrained(model, subfolder="scheduler")
    for entry in SCHEDULERS:
        for sigmas in SIGMA_SPACINGS if entry.supports_sigmas else ("normal",):
            if not entry.supports_zero_snr:
                continue
            scheduler = engine_schedulers.build_scheduler(model_scheduler, entry.name, sigmas)
            scheduler.set_timesteps(5)
            if hasattr(scheduler, "sigmas") and len(scheduler.sigmas):
                alpha_bar = float(1 / (scheduler.sigmas[0] ** 2 + 1))
            else:
                alpha_bar = float(scheduler.alphas_cumprod[int(scheduler.timesteps[0])])
            request = Txt2Img(model=model, prompt="a fox", steps=5, scheduler=entry.name, sigmas=sigmas)
            (job,) = prepare_jobs([request])
            assert ("skips its last noise level" in " ".join(job.notes)) == (alpha_bar > 1e-6), (entry.name, sigmas)


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
def test_epsilon_prediction_without_signal_is_rejected(models: dict[str, Path], spacing: str) -> None:
    model = zero_snr_model(models, prediction_type="epsilon", timestep_spacing=spacing)
    with pytest.raises(UsageError, match="a prediction of epsilon does not determine the image"):
        generate(Txt2Img(model=model, prompt="a fox", seed=1, steps=2))


@pytest.mark.parametrize(
    "entry", [entry for entry in SCHEDULERS if not entry.is_flow_matching], ids=lambda entry: entry.name
)
def test_image_depends_only_on_its_seed(models: dict[str, Path], entry: Scheduler) -> None:
    """The image does not depend on the images before it, or on the other images of its batch."""
    settings: dict[str, Any] = {"model": str(models["sd1"]), "prompt": "a fox", "steps": 3, "scheduler": entry.name}
    requests = [Txt2Img(seed=seed, guidance_scale=1.0, **settings) for seed in (1, 2)]
    first, second = (generate(request).image for request in requests)
    assert sample_images.same(generate(requests[0]).image, first)
    for together, single in zip(generate_all(requests, batch_size=2), (first, second), strict=True):
        assert sample_images.difference(together.image, single) <= 1  # type: ignore[union-attr]


def test_unknown_name_lists_similar_names() -> None:
    with pytest.raises(UsageError, match="Unknown scheduler: 'eulr'") as raised:
        find_scheduler("eulr")
    assert "euler" in raised.value.hint
    with pytest.raises(UsageError):
        find_scheduler("")
    with pytest.raises(UsageError):
        find_scheduler("karras")


@pytest.mark.parametrize("name", ["ddim", "euler-a", "pndm", "lcm", "flow-heun"])
def test_unsupported_sigmas_are_rejected(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} does not support karras sigmas"):
        Txt2Img(scheduler=name, sigmas="karras")
    assert Txt2Img(scheduler=name, sigmas="normal").sigmas == "normal"


def test_contradicting_name_and_sigmas_are_rejected() -> None:
    with pytest.raises(UsageError, match="implies karras sigmas, but sigmas is beta"):
        Txt2Img(scheduler="DPM++ 2M Karras", sigmas="beta")
    assert Txt2Img(scheduler="DPM++ 2M Karras", sigmas="karras").scheduler == "dpm++2m"


def test_unsupported_sigmas_of_the_model_scheduler_are_rejected(models: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="ddim does not support karras sigmas"):
        generate(Txt2Img(model=str(models["sd1"]), sigmas="karras", seed=1, steps=1))
    generated = generate(Txt2Img(model=str(models["sdxl"]), sigmas="karras", seed=1, steps=1))
    assert (generated.record["scheduler"], generated.record["sigmas"]) == ("euler", "karras")


class FakeDeviceTensor(torch.Tensor):
    """Represent a tensor on a device. Record the copies to main memory."""

    copies: ClassVar[list[torch.Tensor]] = []

    def cpu(self) -> torch.Tensor:  # type: ignore[override]
        self.copies.append(self.as_subclass(torch.Tensor).clone())
        return self.copies[-1]


@pytest.mark.parametrize("kind", ["PNDMScheduler", "DDIMScheduler"])
def test_step_receives_its_timestep_in_main_memory(kind: str) -> None:
    """The first step may be any step. A timestep that is not an element of `timesteps` is passed on unchanged."""
    scheduler: Any = getattr(diffusers, kind)()
    received: list[Any] = []
    scheduler.step = lambda _, timestep, *__, **___: received.append(timestep)
    engine_schedulers.use_cpu_timesteps(scheduler)
    for steps in (6, 4):
        FakeDeviceTensor.copies.clear()
        scheduler.set_timesteps(steps)
        expected = scheduler.timesteps.tolist()[2:]
        scheduler.timesteps = scheduler.timesteps.as_subclass(FakeDeviceTensor)
        received.clear()
        for timestep in scheduler.timesteps[2:]:
            scheduler.step(None, timestep, None)
        assert [int(timestep) for timestep in received] == expected
        (copy,) = FakeDeviceTensor.copies
        assert {each.untyped_storage().data_ptr() for each in received} == {copy.untyped_storage().data_ptr()}
    other = torch.tensor(7)
    scheduler.step(None, other, None)
    scheduler.step(None, 8, None)
    assert received[-2] is other
    assert received[-1] == 8


def test_missing_package_is_named_with_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_schedulers.importlib.util, "find_spec", lambda name: None)
    model_scheduler = diffusers.DDIMScheduler()
    with pytest.raises(UsageError, match="dpm\\+\\+sde: it needs torchsde") as raised:
        engine_schedulers.build_scheduler(model_scheduler, "dpm++sde", None)
    assert raised.value.hint == "pip install 'artgen[schedulers]'"
    assert isinstance(
        engine_schedulers.build_scheduler(model_scheduler, "euler", "karras"), diffusers.EulerDiscreteScheduler
    )


def test_noise_schedule_and_prediction_type_of_the_model_are_kept() -> None:
    model_scheduler = diffusers.DDIMScheduler(
        beta_start=0.001, prediction_type="v_prediction", timestep_spacing="trailing"
    )
    scheduler = engine_schedulers.build_scheduler(model_scheduler, "dpm++2m-sde", "karras")
    assert (scheduler.config.beta_start, scheduler.config.prediction_type) == (0.001, "v_prediction")
    assert scheduler.config.timestep_spacing == "trailing"
    assert scheduler.config.use_karras_sigmas
    assert scheduler.config.algorithm_type == "sde-dpmsolver++"
    assert engine_schedulers.build_scheduler(scheduler, "euler", "exponential").config.use_karras_sigmas is False
    assert engine_schedulers.build_scheduler(scheduler, None, "normal").config.use_karras_sigmas is False
    assert engine_schedulers.build_scheduler(scheduler, None, None) is not scheduler


def test_model_scheduler_is_identified_if_the_table_contains_it() -> None:
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


def test_sigmas_are_refused_if_the_scheduler_of_the_model_does_not_support_them(
    models: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(models["sd1"], tmp_path / "ipndm"))
    config_file, index_file = folder / "scheduler" / "scheduler_config.json", folder / "model_index.json"
    config_file.write_text(json.dumps({"_class_name": "IPNDMScheduler", "num_train_timesteps": 1000}))
    index = json.loads(index_file.read_text()) | {"scheduler": ["diffusers", "IPNDMScheduler"]}
    index_file.write_text(json.dumps(index))
    with pytest.raises(UsageError, match="IPNDMScheduler, does not support karras sigmas"):
        generate(Txt2Img(prompt="fox", model=str(folder), sigmas="karras", steps=2, width=32, height=32, seed=1))
