"""Test the noise-schedule formulas against diffusers' schedulers."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler

from artgen.engine.diffusion.noise_schedule import (
    SCHEDULE_CONFIGS,
    NoiseLevel,
    add_noise,
    predict_noise,
    predict_x0,
    read_alphas_cumprod,
    read_betas,
    read_prediction_type,
    snr,
    training_target,
    unscaled_sigmas,
)
from artgen.engine.diffusion.training_schedule import read_noise_schedule

STABLE_DIFFUSION: dict[str, Any] = {
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False
}  # fmt: skip
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample", "flow")
TIMESTEPS = (0, 300, 700, 998)


def latents(seed: int) -> torch.Tensor:
    return torch.randn(len(TIMESTEPS), 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def make_scheduler(prediction_type: str) -> Any:
    if prediction_type == "flow":
        return FlowMatchEulerDiscreteScheduler()
    return DDPMScheduler(**STABLE_DIFFUSION, prediction_type=prediction_type)


def flow_timesteps(timesteps: torch.Tensor) -> torch.Tensor:
    """Return the timesteps of FlowMatchEulerDiscreteScheduler, which are 1000 * sigma."""
    return (timesteps + 1).float()


def diffusers_add_noise(scheduler: Any, clean: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        noisy: torch.Tensor = scheduler.scale_noise(clean, flow_timesteps(t), noise)
        return noisy
    added: torch.Tensor = scheduler.add_noise(clean, noise, t)
    return added


def diffusers_x0(prediction_type: str, output: torch.Tensor, t: int, sample: torch.Tensor) -> torch.Tensor:
    """Return `pred_original_sample` of a step; for flow, the result of a single step to sigma 0."""
    if prediction_type == "flow":
        flow = FlowMatchEulerDiscreteScheduler()
        flow.set_timesteps(sigmas=[(t + 1) / 1000])
        x0: torch.Tensor = flow.step(output, flow.timesteps[0], sample).prev_sample
        return x0
    ddim = DDIMScheduler(**STABLE_DIFFUSION, prediction_type=prediction_type)
    ddim.set_timesteps(1000)
    predicted: torch.Tensor = ddim.step(output, t, sample).pred_original_sample
    return predicted


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_add_noise_equals_diffusers(prediction_type: str) -> None:
    scheduler = make_scheduler(prediction_type)
    clean, noise, timesteps = latents(1), latents(2), torch.tensor(TIMESTEPS)
    level = read_noise_schedule(scheduler, "a model").level_at(timesteps)
    torch.testing.assert_close(
        add_noise(clean, noise, level), diffusers_add_noise(scheduler, clean, noise, timesteps), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_training_target_equals_diffusers(prediction_type: str) -> None:
    scheduler = make_scheduler(prediction_type)
    clean, noise, timesteps = latents(1), latents(2), torch.tensor(TIMESTEPS)
    expected = {
        "epsilon": noise,
        "v_prediction": DDPMScheduler(**STABLE_DIFFUSION).get_velocity(clean, noise, timesteps),
        "sample": clean,
        "flow": noise - clean,
    }[prediction_type]
    level = read_noise_schedule(scheduler, "a model").level_at(timesteps)
    torch.testing.assert_close(training_target(clean, noise, level, prediction_type), expected)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_predicted_x0_equals_diffusers(prediction_type: str) -> None:
    schedule = read_noise_schedule(make_scheduler(prediction_type), "a model")
    sample, output, timesteps = latents(3), latents(4), torch.tensor(TIMESTEPS)
    x0 = predict_x0(output, sample, schedule.level_at(timesteps), prediction_type)
    for index, timestep in enumerate(TIMESTEPS):
        each = slice(index, index + 1)
        expected = diffusers_x0(prediction_type, output[each], timestep, sample[each])
        torch.testing.assert_close(x0[each], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_x0_and_noise_are_recovered_from_the_training_target(prediction_type: str) -> None:
    schedule = read_noise_schedule(make_scheduler(prediction_type), "a model")
    clean, noise, timesteps = latents(1), latents(2), torch.tensor(TIMESTEPS)
    level = schedule.level_at(timesteps)
    sample, target = add_noise(clean, noise, level), training_target(clean, noise, level, prediction_type)
    torch.testing.assert_close(predict_x0(target, sample, level, prediction_type), clean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(predict_noise(target, sample, level, prediction_type), noise, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_unscaled_and_variance_preserving_samples_imply_the_same_x0(prediction_type: str) -> None:
    """The network sees the same input; only the scale of the sample differs."""
    unscaled = NoiseLevel.from_sigma(0.7)
    preserving = NoiseLevel.from_alpha(unscaled.input_scale)
    sample, output = latents(3), latents(4)
    for convert in (predict_x0, predict_noise):
        torch.testing.assert_close(
            convert(output, sample, unscaled, prediction_type),
            convert(output, sample * unscaled.input_scale, preserving, prediction_type),
        )


@pytest.mark.parametrize("convert", [predict_x0, predict_noise, training_target])
def test_unknown_prediction_types_are_rejected(convert: Any) -> None:
    with pytest.raises(ValueError, match="Unknown prediction type"):
        convert(latents(1), latents(2), NoiseLevel(1.0, 0.0), "score")


def test_formulas_accept_numpy_arrays() -> None:
    level = NoiseLevel.from_alpha_bar(0.3)
    clean, noise = latents(1).numpy(), latents(2).numpy()
    sample = add_noise(clean, noise, level)
    assert sample.dtype == np.float32
    np.testing.assert_array_equal(sample, add_noise(latents(1), latents(2), level).numpy())
    np.testing.assert_allclose(predict_x0(noise, sample, level, "epsilon"), clean, atol=1e-5)


def test_signal_to_noise_ratio() -> None:
    level = NoiseLevel.from_alpha_bar(0.8)
    assert snr(level) == pytest.approx(4)
    assert level.snr_db == pytest.approx(10 * np.log10(4))
    assert NoiseLevel(1.0, 0.0).snr_db is None
    assert snr(read_noise_schedule(make_scheduler("epsilon"), "it").level_at(torch.tensor([5]))).shape == (1, 1, 1, 1)


@pytest.mark.parametrize("name", ["linear", "scaled-linear", "cosine"])
def test_double_precision_betas_equal_those_of_diffusers(name: str) -> None:
    config = SCHEDULE_CONFIGS[name]
    np.testing.assert_allclose(read_betas(config, "fp64"), read_betas(config), rtol=2e-4)


def test_alphas_cumprod_and_unscaled_sigmas_equal_diffusers() -> None:
    scheduler = DDIMScheduler(**STABLE_DIFFUSION)
    alphas_cumprod = read_alphas_cumprod(scheduler.config)
    assert torch.equal(alphas_cumprod, scheduler.alphas_cumprod)
    torch.testing.assert_close(unscaled_sigmas(alphas_cumprod)[0], torch.tensor(0.0292), atol=1e-4, rtol=0)


def test_prediction_type_is_read_from_the_class_and_the_configuration() -> None:
    assert read_prediction_type({"prediction_type": "v_prediction"}, "DDIMScheduler") == "v_prediction"
    assert read_prediction_type({"prediction_type": None}, "DDIMScheduler") == "epsilon"
    assert read_prediction_type({}, "FlowMatchHeunDiscreteScheduler") == "flow"
