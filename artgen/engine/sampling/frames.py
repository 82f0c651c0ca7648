"""What denoising looks like from step to step: the clean picture a model expects, or the state it is in.

The network always sees kept * x0 + noise * epsilon with kept^2 + noise^2 = 1 (flow matching: kept + noise = 1), however
a scheduler scales its own state: those of the k-diffusion family carry x0 + sigma * epsilon and divide it by
sqrt(sigma^2 + 1) before each call (Karras et al. 2022, arXiv 2206.00364). From what the network says there follows x0
(Ho et al. 2020, arXiv 2006.11239; Salimans and Ho 2022, arXiv 2202.00512, for v; Lipman et al. 2023, arXiv 2210.02747).
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
from artgen.engine.sampling.vae import decode_latents, encode_images
from artgen.jobs.prepare import Job
from artgen.spec.settings import FramesSettings

MAX_FRAMES = 100
"""Frames of denoising, unless `--frame-interval` says otherwise."""


PostprocessFrame = Callable[[Image.Image, bool], Image.Image]


@dataclass(frozen=True)
class Snapshot:
    """One call of the network, kept for a frame: the level, and latents (pictures, channels, h, w) in main memory."""

    noise_level: NoiseLevel[float]
    latents: torch.Tensor


class StepRecorder:
    """Listens to the steps of a pipeline's scheduler, and makes frames of them when the picture is done.

    The scheduler has to be one made for this call alone: its `step` is wrapped, and does what it did.
    """

    def __init__(self, pipe: Any, settings: FramesSettings) -> None:
        self._pipe = pipe
        self._scheduler = pipe.scheduler
        self._settings = settings
        self._num_calls = 0
        self.snapshots: list[Snapshot] = []
        self._initial_state: torch.Tensor | None = None
        self._original_step: Callable[..., Any] = pipe.scheduler.step
        pipe.scheduler.step = self._wrap_step()

    def _wrap_step(self) -> Callable[..., Any]:
        @functools.wraps(self._original_step)  # pipelines ask for its parameters
        def step(output: torch.Tensor, timestep: Any, sample: torch.Tensor, *args: Any, **more: Any) -> Any:
            self._record_step(output, timestep, sample)
            return self._original_step(output, timestep, sample, *args, **more)

        return step

    def _record_step(self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> None:
        state, level = model_state(self._scheduler, timestep, sample)
        if self._initial_state is None:
            self._initial_state = state.cpu()
        if self._num_calls % self._frame_interval() == 0:
            estimate = self._settings.frames_show == "x0"
            shown = _predict_x0(self._scheduler, model_output.float(), state, level) if estimate else state
            self.snapshots.append(Snapshot(level, shown.cpu()))
        self._num_calls += 1

    def _frame_interval(self) -> int:
        if self._settings.frame_interval is not None:
            return self._settings.frame_interval
        return -(-self.num_steps // MAX_FRAMES)

    @property
    def num_steps(self) -> int:
        """Number of scheduler steps of the pipeline call."""
        return int(getattr(self._pipe, "num_timesteps", 0) or len(self._scheduler.timesteps))

    def frames(
        self, index: int, job: Job, final_image: Image.Image, postprocess: PostprocessFrame
    ) -> tuple[Image.Image, ...]:
        """The frames of a picture, RGB, the last of them `final_image`.

        Args:
            index: of the picture among those drawn together, from 0.
            job: it.
            final_image: as it is saved.
            postprocess: cuts padding off, and puts untouched pixels back where the second argument says so.
        """
        estimate = self._settings.frames_show == "x0"
        before = list(self._noising_frames(index, job, postprocess)) if self._settings.include_noising else []
        return (*before, *(postprocess(picture, estimate) for picture in self.intermediate_images(index)), final_image)

    def intermediate_images(self, index: int) -> Iterator[Image.Image]:
        """The frames before the last, as the decoder gives them, RGB; what it cannot decode is left out."""
        seen = self.snapshots
        if self._settings.frames_show == "x0" and (self._num_calls - 1) % self._frame_interval() == 0:
            seen = seen[:-1]  # what the model expects at the last step is the picture
        return self._decode([each.latents[index] for each in seen])

    def _noising_frames(self, index: int, job: Job, postprocess: PostprocessFrame) -> Iterator[Image.Image]:
        """The input picture, and its forward noising to where denoising begins, by the levels denoising goes through.

        q(x_t | x_0) with the noise that the pipeline drew: it ends in the very state that denoising starts from.
        """
        if job.image is None or self._initial_state is None:
            return
        yield job.image
        pixels = self._pipe.image_processor.preprocess(job.padded_image)
        vae = self._pipe.vae
        clean = encode_images(vae, pixels.to(self._pipe._execution_device, vae.dtype)).float().cpu()[0]
        first, *rest = [each.noise_level for each in self.snapshots]
        noise = (self._initial_state[index] - first.alpha * clean) / max(first.sigma, MIN_COEFFICIENT)
        shown = [*reversed(rest), *([first] if self._settings.frames_show == "x0" else [])]
        for picture in self._decode([add_noise(clean, noise, level) for level in shown]):
            yield postprocess(picture, self._settings.frames_show == "x0")

    def _decode(self, latents: list[torch.Tensor]) -> Iterator[Image.Image]:
        if latents:
            yield from (picture for picture in decode_latents(self._pipe, torch.stack(latents)) if picture is not None)


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
    if hasattr(scheduler, "_sigma_to_alpha_sigma_t"):  # solvers with steps between the training timesteps
        if scheduler.step_index is None:
            scheduler._init_step_index(timestep)  # `step` does this later
        alpha_t, sigma_t = scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas[scheduler.step_index])
        return state, NoiseLevel(float(alpha_t), float(sigma_t))
    return state, NoiseLevel.from_alpha_bar(float(scheduler.alphas_cumprod[int(timestep)]))


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
