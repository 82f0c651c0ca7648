"""Record the steps of a pipeline call, and convert them to frames: the predicted x0 or the state x_t.

The network input is always alpha * x0 + sigma * epsilon with alpha^2 + sigma^2 = 1 (flow matching: alpha + sigma = 1),
independent of the scheduler's scale. Schedulers of the k-diffusion family store x0 + sigma * epsilon and divide it by
sqrt(sigma^2 + 1) before each call (Karras et al. 2022, arXiv 2206.00364).
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from artgen.engine.diffusion.noise_schedule import (
    MIN_COEFFICIENT,
    NoiseLevel,
    add_noise,
    is_flow_matching,
    predict_x0,
    read_prediction_type,
)
from artgen.engine.loading.device import execution_device
from artgen.engine.sampling.vae import decode_latents, encode_images
from artgen.jobs.job import GenerationJob
from artgen.spec.settings import FramesSettings

MAX_FRAMES = 100
"""Upper bound of the number of frames without `--frame-interval`."""

PostprocessFrame = Callable[[Image.Image, bool], Image.Image]
"""Crop the padding of a frame; if the argument is True, restore the pixels outside the mask."""


@dataclass(frozen=True)
class Snapshot:
    """Store a network call for a frame.

    Attributes:
        noise_level: level of the network's input.
        latents: predicted x0 or state, shape (B, C, h, w), on the CPU.
    """

    noise_level: NoiseLevel[float]
    latents: torch.Tensor


class StepRecorder:
    """Record the steps of a pipeline's scheduler, and create frames from them after the pipeline call.

    The recorder wraps `scheduler.step`. Therefore the scheduler must be used for this pipeline call only.

    Attributes:
        snapshots: recorded network calls.
        on_step: is called before each step of the scheduler, after the network call is recorded.
    """

    def __init__(self, pipe: Any, settings: FramesSettings) -> None:
        self._pipe = pipe
        self._scheduler = pipe.scheduler
        self._settings = settings
        self._num_calls = 0
        self.snapshots: list[Snapshot] = []
        self.on_step: Callable[[], None] | None = None
        self._initial_state: torch.Tensor | None = None
        self._original_step: Callable[..., Any] = pipe.scheduler.step
        pipe.scheduler.step = self._wrap_step()

    def _wrap_step(self) -> Callable[..., Any]:
        @functools.wraps(self._original_step)  # pipelines inspect its parameters
        def step(model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            self._record_step(model_output, timestep, sample)
            if self.on_step is not None:
                self.on_step()
            return self._original_step(model_output, timestep, sample, *args, **kwargs)

        return step

    def _record_step(self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> None:
        state, level = model_state(self._scheduler, timestep, sample)
        if self._initial_state is None:
            self._initial_state = state.cpu()
        if self._num_calls % self._frame_interval() == 0:
            show_x0 = self._settings.frames_show == "x0"
            latents = _predict_x0(self._scheduler, model_output.float(), state, level) if show_x0 else state
            self.snapshots.append(Snapshot(level, latents.cpu()))
        self._num_calls += 1

    def _frame_interval(self) -> int:
        if self._settings.frame_interval is not None:
            return self._settings.frame_interval
        return -(-self.num_steps // MAX_FRAMES)

    @property
    def num_steps(self) -> int:
        """Return the number of scheduler steps of the pipeline call."""
        return int(getattr(self._pipe, "num_timesteps", 0) or len(self._scheduler.timesteps))

    def frames(
        self, index: int, job: GenerationJob, final_image: Image.Image, postprocess: PostprocessFrame
    ) -> tuple[Image.Image, ...]:
        """Return the RGB frames of an image; the last frame is `final_image`.

        Args:
            index: index of the image in the pipeline call, from 0.
            job: job of the image.
            final_image: image that is saved.
            postprocess: applied to each other frame.
        """
        show_x0 = self._settings.frames_show == "x0"
        noising = list(self._noising_frames(index, job, postprocess)) if self._settings.include_noising else []
        denoising = (postprocess(image, show_x0) for image in self.intermediate_images(index))
        return (*noising, *denoising, final_image)

    def intermediate_images(self, index: int) -> Iterator[Image.Image]:
        """Yield the decoded RGB frames before the last frame; images with NaN or infinity are omitted."""
        snapshots = self.snapshots
        if self._settings.frames_show == "x0" and (self._num_calls - 1) % self._frame_interval() == 0:
            snapshots = snapshots[:-1]  # the x0 of the last step is the final image
        return self.decode([each.latents[index] for each in snapshots])

    def _noising_frames(self, index: int, job: GenerationJob, postprocess: PostprocessFrame) -> Iterator[Image.Image]:
        """Yield the input image and its noisy versions, from the lowest noise level to the first denoising level.

        The noise is the noise of the pipeline call: the last noisy version is the initial state of denoising.
        """
        if job.image is None or self._initial_state is None:
            return
        yield job.image
        pixels = self._pipe.image_processor.preprocess(job.padded_image)
        vae = self._pipe.vae
        clean = encode_images(vae, pixels.to(execution_device(self._pipe), vae.dtype)).float().cpu()[0]
        first, *rest = [each.noise_level for each in self.snapshots]
        noise = (self._initial_state[index] - first.alpha * clean) / max(first.sigma, MIN_COEFFICIENT)
        show_x0 = self._settings.frames_show == "x0"
        levels = [*reversed(rest), *([first] if show_x0 else [])]  # the first xt frame already shows the first level
        for image in self.decode([add_noise(clean, noise, level) for level in levels]):
            yield postprocess(image, show_x0)

    def decode(self, latents: list[torch.Tensor]) -> Iterator[Image.Image]:
        """Yield the image of each of the latents, shape (C, h, w); images with NaN or infinity are omitted."""
        if latents:
            yield from (image for image in decode_latents(self._pipe, torch.stack(latents)) if image is not None)


def model_state(scheduler: Any, timestep: Any, sample: torch.Tensor) -> tuple[torch.Tensor, NoiseLevel[float]]:
    """Return the network's input (same shape, fp32) and its noise level before a step of a scheduler.

    Args:
        scheduler: any scheduler that `artgen schedulers` lists.
        timestep: argument that the pipeline passes to `scheduler.step`.
        sample: latents in the scheduler's own scale, shape (B, C, H, W).
    """
    if is_flow_matching(type(scheduler).__name__):
        return sample.float(), NoiseLevel.from_flow_time(float(timestep) / scheduler.config.num_train_timesteps)
    sample = sample.float()
    state = scheduler.scale_model_input(sample, timestep)
    alpha = float(state.norm() / sample.norm().clamp(min=1e-12))
    if alpha < 0.999999 or scheduler.init_noise_sigma != 1:
        return state, NoiseLevel.from_alpha(min(alpha, 1.0))
    if hasattr(scheduler, "convert_model_output"):  # solvers with steps between the training timesteps
        return state, _solver_noise_level(scheduler, timestep)
    return state, NoiseLevel.from_alpha_bar(float(scheduler.alphas_cumprod[int(timestep)]))


def _solver_noise_level(scheduler: Any, timestep: Any) -> NoiseLevel[float]:
    """Return the noise level before a step of a multistep or singlestep solver, from its sigma = sigma_t / alpha_t."""
    index = next((each for each in (scheduler.step_index, scheduler.begin_index) if each is not None), None)
    sigma = scheduler.sigmas[scheduler.index_for_timestep(timestep) if index is None else index]
    if scheduler.config.get("use_flow_sigmas"):
        return NoiseLevel(float(1 - sigma), float(sigma))
    alpha = 1 / ((sigma**2 + 1) ** 0.5)
    return NoiseLevel(float(alpha), float(sigma * alpha))


def _predict_x0(
    scheduler: Any, model_output: torch.Tensor, state: torch.Tensor, noise_level: NoiseLevel[float]
) -> torch.Tensor:
    """Return the clean latents that a model output implies, in the shape of `state`."""
    config = scheduler.config
    model_output = model_output[:, : state.shape[1]]  # without the learned variance
    prediction_type = read_prediction_type(config, type(scheduler).__name__)
    x0 = predict_x0(model_output, state, noise_level, prediction_type)
    if config.get("clip_sample"):
        x0 = x0.clamp(-config.clip_sample_range, config.clip_sample_range)
    return x0
