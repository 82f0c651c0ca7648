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

from artgen.engine.autoencoding import decoded, encoded
from artgen.prepare import Prepared
from artgen.settings import Frames

MOST = 100
"""Frames of denoising, unless `--every` says otherwise."""

_LEAST = 1e-4
"""Below this share of the picture in the state, as the first step of zero terminal SNR has it, nothing can be read."""


Finish = Callable[[Image.Image, bool], Image.Image]


@dataclass(frozen=True)
class Level:
    """How much of the picture and of the noise the network sees; shares from 0 to 1."""

    kept: float
    noise: float


@dataclass(frozen=True)
class _Seen:
    """One call of the network, kept for a frame: the level, and latents (pictures, channels, h, w) in main memory."""

    level: Level
    latents: torch.Tensor


class Recorder:
    """Listens to the steps of a pipeline's scheduler, and makes frames of them when the picture is done.

    The scheduler has to be one made for this call alone: its `step` is wrapped, and does what it did.
    """

    def __init__(self, pipe: Any, wanted: Frames) -> None:
        self._pipe = pipe
        self._scheduler = pipe.scheduler
        self._wanted = wanted
        self._calls = 0
        self._seen: list[_Seen] = []
        self._start: torch.Tensor | None = None
        self._step: Callable[..., Any] = pipe.scheduler.step
        pipe.scheduler.step = self._listening()

    def _listening(self) -> Callable[..., Any]:
        @functools.wraps(self._step)  # pipelines ask for its parameters
        def step(output: torch.Tensor, timestep: Any, sample: torch.Tensor, *args: Any, **more: Any) -> Any:
            self._take(output, timestep, sample)
            return self._step(output, timestep, sample, *args, **more)

        return step

    def _take(self, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> None:
        state, level = look(self._scheduler, timestep, sample)
        if self._start is None:
            self._start = state.cpu()
        if self._calls % self._every() == 0:
            estimate = self._wanted.frames_of == "estimate"
            shown = expected(self._scheduler, output.float(), state, level) if estimate else state
            self._seen.append(_Seen(level, shown.cpu()))
        self._calls += 1

    def _every(self) -> int:
        if self._wanted.every is not None:
            return self._wanted.every
        return -(-self._total() // MOST)

    def _total(self) -> int:
        return int(getattr(self._pipe, "num_timesteps", 0) or len(self._scheduler.timesteps))

    def frames(self, number: int, job: Prepared, final: Image.Image, finish: Finish) -> tuple[Image.Image, ...]:
        """The frames of a picture, RGB, the last of them `final`.

        Args:
            number: of the picture among those drawn together, from 0.
            job: it.
            final: as it is saved.
            finish: cuts padding off, and puts untouched pixels back where the second argument says so.
        """
        estimate = self._wanted.frames_of == "estimate"
        before = list(self._noised(number, job, finish)) if self._wanted.noise_first else []
        return (*before, *(finish(picture, estimate) for picture in self.pictures(number)), final)

    def pictures(self, number: int) -> Iterator[Image.Image]:
        """The frames before the last, as the decoder gives them, RGB; what it cannot decode is left out."""
        seen = self._seen
        if self._wanted.frames_of == "estimate" and (self._calls - 1) % self._every() == 0:
            seen = seen[:-1]  # what the model expects at the last step is the picture
        return self._decoded([each.latents[number] for each in seen])

    def _noised(self, number: int, job: Prepared, finish: Finish) -> Iterator[Image.Image]:
        """The input picture, and its forward noising to where denoising begins, by the levels denoising goes through.

        q(x_t | x_0) with the noise that the pipeline drew: it ends in the very state that denoising starts from.
        """
        if job.image is None or self._start is None:
            return
        yield job.image
        pixels = self._pipe.image_processor.preprocess(job.padded_image)
        vae = self._pipe.vae
        clean = encoded(vae, pixels.to(self._pipe._execution_device, vae.dtype)).float().cpu()[0]
        first, *rest = [each.level for each in self._seen]
        noise = (self._start[number] - first.kept * clean) / max(first.noise, _LEAST)
        shown = [*reversed(rest), *([first] if self._wanted.frames_of == "estimate" else [])]
        for picture in self._decoded([level.kept * clean + level.noise * noise for level in shown]):
            yield finish(picture, self._wanted.frames_of == "estimate")

    def _decoded(self, latents: list[torch.Tensor]) -> Iterator[Image.Image]:
        if latents:
            yield from (picture for picture in decoded(self._pipe, torch.stack(latents)) if picture is not None)


def look(scheduler: Any, timestep: Any, sample: torch.Tensor) -> tuple[torch.Tensor, Level]:
    """The state as the network sees it (same shape, fp32), and its level, of a scheduler about to take a step.

    Args:
        scheduler: any that `artgen schedulers` lists.
        timestep: as the pipeline gives it to `step`.
        sample: the scheduler's own state, (pictures, channels, height, width).
    """
    if is_flow(scheduler):
        noise = float(timestep) / scheduler.config.num_train_timesteps
        return sample.float(), Level(1 - noise, noise)
    sample = sample.float()
    state = scheduler.scale_model_input(sample, timestep)
    kept = float(state.norm() / sample.norm().clamp(min=1e-12))
    if kept < 0.999999 or scheduler.init_noise_sigma != 1:
        kept = min(kept, 1.0)
        return state, Level(kept, (1 - kept**2) ** 0.5)
    if hasattr(scheduler, "_sigma_to_alpha_sigma_t"):  # solvers that place steps between the trained ones
        if scheduler.step_index is None:
            scheduler._init_step_index(timestep)  # what `step` would do first
        kept, noise = scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas[scheduler.step_index])
        return state, Level(float(kept), float(noise))
    share = float(scheduler.alphas_cumprod[int(timestep)])
    return state, Level(share**0.5, (1 - share) ** 0.5)


def expected(scheduler: Any, output: torch.Tensor, state: torch.Tensor, level: Level) -> torch.Tensor:
    """The clean latents that a network's output means, by what the model predicts; same shape as `state`."""
    config = scheduler.config
    output = output[:, : state.shape[1]]  # some predict a variance beside it
    prediction = "flow" if is_flow(scheduler) else config.get("prediction_type", "epsilon")
    if prediction == "flow":
        clean = state - level.noise * output
    elif prediction == "sample":
        clean = output
    elif prediction == "v_prediction":
        clean = level.kept * state - level.noise * output
    else:
        clean = (state - level.noise * output) / max(level.kept, _LEAST)
    if config.get("clip_sample"):
        clean = clean.clamp(-config.clip_sample_range, config.clip_sample_range)
    return clean


def is_flow(scheduler: Any) -> bool:
    """Whether a scheduler goes straight from noise to picture, as Stable Diffusion 3's do."""
    return type(scheduler).__name__.startswith("FlowMatch")
