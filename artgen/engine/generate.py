"""The one public verb: requests in, pictures out."""

import importlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

import artgen
from artgen import images
from artgen.engine import loading, prompts, schedulers
from artgen.engine.device import Placement, place
from artgen.engine.memory import Economy, is_exhaustion
from artgen.errors import ArtgenError, FilteredError, MemoryExhaustedError, NonFiniteError, UsageError
from artgen.events import Decoding, Listener, ModelChosen, Note, Step, ignore
from artgen.prepare import Prepared, prepare
from artgen.records import to_record
from artgen.requests import Request

TASK_MODULES = {"txt2img": "txt2img", "img2img": "img2img", "inpaint": "inpaint", "outpaint": "inpaint"}


@dataclass(frozen=True)
class Picture:
    """A picture that was made.

    Attributes:
        image: RGB, at the size asked for.
        record: the flat JSON record of what ran; `artgen.records.from_record` turns it into a request again.
        request: the complete request.
    """

    image: Image.Image
    record: dict[str, Any]
    request: Request


@dataclass(frozen=True)
class Failure:
    """A picture that was not made, and why."""

    request: Request
    error: ArtgenError


def generate(request: Request, *, listener: Listener = ignore) -> Picture:
    """Makes one picture.

    Args:
        request: what to make; settings left open come from the model's defaults, the seed from chance.
        listener: is told of loading, steps and notes (`artgen.events`).

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: before any model is loaded.
        MemoryExhaustedError: out of memory after every fallback.
        FilteredError: the model's safety filter withheld the picture.
        NonFiniteError: the model produced NaN or infinity.
    """
    outcome = next(generate_all([request], listener=listener))
    if isinstance(outcome, Failure):
        raise outcome.error
    return outcome


def generate_all(
    requests: Sequence[Request], *, batch_size: int = 1, listener: Listener = ignore
) -> Iterator[Picture | Failure]:
    """Makes many pictures, in order; one that fails does not stop the others.

    All requests are checked before the first model loads. Neighbours that differ only in prompt and seed are drawn
    together, up to `batch_size` at a time; each keeps its own generator, so the pictures are those that single
    requests make (bit for bit at equal batch size, otherwise within one grey level on the CPU in fp32).

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: before any model is loaded.
        MemoryExhaustedError: out of memory after every fallback.
    """
    yield from draw(prepare(requests, listener), batch_size=batch_size, listener=listener)


def draw(jobs: Sequence[Prepared], *, batch_size: int = 1, listener: Listener = ignore) -> Iterator[Picture | Failure]:
    """Makes the pictures of prepared jobs; see `generate_all`."""
    done = 0
    economy: Economy | None = None
    while done < len(jobs):
        first = jobs[done].request
        if economy is None or _resources(first) != _resources(jobs[done - 1].request):
            economy = Economy.of(first, batch_size)
        together = _alike(jobs[done:], economy.batch_size)
        placement = place(first.device, first.dtype)
        report = _Progress(listener, done + 1, len(together), len(jobs))
        try:
            outcomes = _draw_batch(together, placement, economy, report)
        except (MemoryError, RuntimeError) as error:
            if not is_exhaustion(error):
                raise
            outcomes = None
        # Out of the except block: the traceback held the tensors that filled the memory.
        if outcomes is None:
            economy = _tighten(economy, placement, together, listener)
            continue
        yield from outcomes
        done += len(together)


def _tighten(economy: Economy, placement: Placement, jobs: Sequence[Prepared], listener: Listener) -> Economy:
    tighter = economy.tighter(placement, len(jobs))
    loading.release()
    if tighter is None:
        raise MemoryExhaustedError(
            f"Out of memory on {placement.device} for {jobs[0].width}x{jobs[0].height}, after {_tried(economy)}.",
            "Use a smaller --size or model, or --offload sequential with a GPU.",
        )
    listener(Note(f"out of memory; trying again with {tighter.fallbacks[-1]}"))
    return tighter


def _tried(economy: Economy) -> str:
    return ", ".join(economy.fallbacks) or "the settings given (no fallback applies)"


def _resources(request: Request) -> tuple[Any, ...]:
    return (request.model, request.device, request.dtype, request.offload, request.vae_tiling)


def _alike(jobs: Sequence[Prepared], limit: int) -> list[Prepared]:
    """The leading jobs that one call of a pipeline can draw together."""

    def shape(job: Prepared) -> tuple[Any, ...]:
        rest = job.request.replace(prompt="", negative_prompt="", seed=0)
        return rest, bool(job.request.negative_prompt), job.width, job.height

    together = [jobs[0]]
    for job in jobs[1:limit]:
        if shape(job) != shape(jobs[0]):
            break
        together.append(job)
    return together


class _Progress:
    """Says which picture of how many is at which step."""

    def __init__(self, listener: Listener, first: int, pictures: int, total: int) -> None:
        self.listener = listener
        self._place = (first, pictures, total)

    def step(self, done: int, steps: int) -> None:
        self.listener(Step(done, steps, *self._place))


def _draw_batch(
    jobs: list[Prepared], placement: Placement, economy: Economy, report: _Progress
) -> list[Picture | Failure]:
    request, model = jobs[0].request, jobs[0].model
    report.listener(ModelChosen(model.name, placement.device, placement.dtype))
    base = loading.load(
        model,
        placement,
        offload=economy.offload,
        vae_tiling=economy.vae_tiling,
        safety_checker=request.safety_checker,
        listener=report.listener,
    )
    task = importlib.import_module(f"artgen.engine.{TASK_MODULES[request.task]}")
    pipe = loading.for_task(base, task.PIPELINE, request.task)
    pipe.scheduler = schedulers.build(base.scheduler, request.scheduler, request.sigmas)
    lost = [_long_prompt(pipe, job.request, report.listener) for job in jobs]
    latents = _Latents(report)
    result = pipe(**_arguments(pipe, jobs, task.arguments(jobs), latents))
    report.listener(Decoding())
    pixels = _finite_pixels(pipe, np.asarray(result.images), latents, report.listener)
    filtered = getattr(result, "nsfw_content_detected", None) or [False] * len(jobs)
    facts = {
        "artgen": artgen.__version__,
        "batch_size": len(jobs),
        "fallbacks": list(economy.fallbacks),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }
    settled = {"device": placement.device, "dtype": placement.dtype}
    return [
        _outcome(job, pixels[i], bool(filtered[i]), {**job.facts, **facts, "dropped_prompt": lost[i]}, settled)
        for i, job in enumerate(jobs)
    ]


def _outcome(
    job: Prepared, pixels: np.ndarray, filtered: bool, facts: dict[str, Any], settled: dict[str, Any]
) -> Picture | Failure:
    if filtered:
        return Failure(
            job.request,
            FilteredError(
                "The model's safety filter withheld the picture; nothing was written.",
                "Try another --seed or prompt, or --no-safety-checker where that is appropriate.",
            ),
        )
    if not np.isfinite(pixels).all():
        hint = "Try --dtype fp32, or another scheduler." if settled["dtype"] != "fp32" else "Try another scheduler."
        return Failure(job.request, NonFiniteError("The model produced NaN; nothing was written.", hint))
    image = Image.fromarray((pixels * 255).round().astype(np.uint8), "RGB")
    request = job.request.replace(**settled)
    facts = {name: value for name, value in facts.items() if value not in (None, "", [])}
    return Picture(_finished(image, job), to_record(request, facts), request)


def _finished(image: Image.Image, job: Prepared) -> Image.Image:
    """Cuts the padding off and puts untouched pixels back."""
    if job.image is None:
        return image
    image = image.crop((0, 0, job.width, job.height))
    if job.mask is not None and getattr(job.request, "paste", True):
        return images.composite(job.image, image, job.mask)
    return image


def _long_prompt(pipe: Any, request: Request, listener: Listener) -> str:
    """Applies `--long-prompt`; returns what a cut prompt loses."""
    if request.long_prompt == "chunk":
        return ""
    for text in (request.prompt, request.negative_prompt):
        if request.long_prompt == "error":
            prompts.refuse_long(pipe, text)
        elif lost := prompts.dropped(pipe, text):
            listener(Note(f"the prompt is too long for this model; it does not see: {lost}"))
            return lost
    return ""


def _arguments(pipe: Any, jobs: list[Prepared], task: dict[str, Any], latents: "_Latents") -> dict[str, Any]:
    """Keyword arguments for one call of the pipeline."""
    request = jobs[0].request
    accepted = inspect.signature(pipe.__call__).parameters
    # Some image pipelines take their size from the picture.
    arguments = {name: value for name, value in task.items() if name in accepted or name not in ("width", "height")}
    arguments["num_inference_steps"] = request.steps
    arguments["guidance_scale"] = request.guidance_scale
    arguments["generator"] = [torch.Generator("cpu").manual_seed(_seed(job)) for job in jobs]
    arguments["output_type"] = "np"
    arguments["callback_on_step_end"] = latents
    guided = (request.guidance_scale or 0) > 1
    words = [job.request.prompt for job in jobs]
    negatives = [job.request.negative_prompt for job in jobs]
    if request.long_prompt == "chunk" and any(prompts.dropped(pipe, text) for text in (*words, *negatives)):
        return {**arguments, **prompts.chunked(pipe, words, negatives, guided)}
    arguments["prompt"] = words
    if any(negatives):
        if "negative_prompt" not in accepted:
            raise UsageError(f"{type(pipe).__name__} takes no negative prompt.", "Leave --negative-prompt out.")
        arguments["negative_prompt"] = negatives
    return arguments


def _seed(job: Prepared) -> int:
    # torch takes -2**63 .. 2**64-1 and reads both halves alike.
    return int(job.request.seed or 0)


class _Latents:
    """Called by diffusers after each step: reports it, and stops a batch that has lost every picture to NaN."""

    def __init__(self, report: _Progress) -> None:
        self.report = report
        self.last: torch.Tensor | None = None

    def __call__(self, pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        latents = tensors["latents"]
        self.last = latents
        if not bool(torch.isfinite(latents).any()):
            raise NonFiniteError(
                f"The model produced NaN at step {step + 1}; nothing was written.",
                "Try --dtype fp32, or another scheduler.",
            )
        self.report.step(step + 1, int(pipe.num_timesteps))
        return {}


def _finite_pixels(pipe: Any, pixels: np.ndarray, latents: _Latents, listener: Listener) -> np.ndarray:
    """Decodes once more in fp32 when latents are sound and pixels are not (fp16 decoders overflow).

    Args:
        pixels: (pictures, height, width, 3), 0 to 1.
    """
    last = latents.last
    if np.isfinite(pixels).all() or last is None or not bool(torch.isfinite(last).all()):
        return pixels
    listener(Note("the decoder overflowed; decoding again in fp32"))
    dtype = pipe.vae.dtype
    config = pipe.vae.config
    scaled = last.float() / config.scaling_factor
    if getattr(config, "latents_mean", None) is not None and getattr(config, "latents_std", None) is not None:
        mean = torch.tensor(config.latents_mean, device=last.device).view(1, -1, 1, 1)
        std = torch.tensor(config.latents_std, device=last.device).view(1, -1, 1, 1)
        scaled = scaled * std + mean
    if getattr(config, "shift_factor", None):
        scaled = scaled + config.shift_factor
    try:
        pipe.vae.to(torch.float32)
        with torch.no_grad():
            decoded = pipe.vae.decode(scaled).sample
    finally:
        pipe.vae.to(dtype)
    return np.asarray(pipe.image_processor.postprocess(decoded, output_type="np"))
