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
    if batch_size < 1:
        raise UsageError(f"batch_size must be 1 or more, not {batch_size}.")
    _refuse_long(jobs)
    done = 0
    economy: Economy | None = None
    while done < len(jobs):
        first = jobs[done].request
        if economy is None or _resources(first) != _resources(jobs[done - 1].request):
            economy = Economy.of(first, batch_size)
        together = _alike(jobs[done:], economy.batch_size)
        placement = place(first.device, first.dtype)
        report = _Progress(listener, done + 1, len(together), len(jobs))
        outcomes: list[Picture | Failure] | None = None
        try:
            outcomes = _draw_batch(together, placement, economy, report)
        except (MemoryError, RuntimeError) as error:
            if not is_exhaustion(error):
                raise
        # Out of the except block: the traceback held the tensors that filled the memory.
        if outcomes is None:
            economy = _tighten(economy, placement, together, listener)
            continue
        yield from outcomes
        done += len(together)


def _tighten(economy: Economy, placement: Placement, jobs: Sequence[Prepared], listener: Listener) -> Economy:
    tighter = economy.tighter(placement, len(jobs))
    if tighter is None or tighter.offload != economy.offload:
        loading.release()
    else:
        loading.collect()
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
    return (
        request.model, request.device, request.dtype, request.offload, request.vae_tiling, request.safety_checker
    )  # fmt: skip


def _alike(jobs: Sequence[Prepared], limit: int) -> list[Prepared]:
    """The leading jobs that one call of a pipeline can draw together."""

    def shape(job: Prepared) -> tuple[Any, ...]:
        rest = job.request.replace(seed=0)
        if rest.long_prompt != "chunk":  # chunks would be as many as the longest neighbour needs
            rest = rest.replace(prompt="", negative_prompt="")
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
    lost = [_dropped(job, report.listener) for job in jobs]
    latents = _Latents(report, len(jobs))
    try:
        with loading.quiet():
            result = pipe(**_arguments(pipe, jobs, task.arguments(jobs), latents))
    except NonFiniteError:
        return [Failure(job.request, latents.failure(i, placement)) for i, job in enumerate(jobs)]
    report.listener(Decoding())
    decoded = _Decoded(
        np.array(result.images), list(getattr(result, "nsfw_content_detected", None) or [False] * len(jobs))
    )
    mended = _decode_again(pipe, decoded, latents, report.listener)
    facts = {
        "artgen": artgen.__version__,
        "batch_size": len(jobs),
        "fallbacks": [*economy.fallbacks, *(["decoder in fp32"] if mended else [])],
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }
    settled = {"device": placement.device, "dtype": placement.dtype}
    outcomes: list[Picture | Failure] = []
    for i, job in enumerate(jobs):
        if not latents.sound[i] or not np.isfinite(decoded.pixels[i]).all():
            outcomes.append(Failure(job.request, latents.failure(i, placement)))
        elif decoded.filtered[i]:
            outcomes.append(Failure(job.request, _withheld()))
        else:
            outcomes.append(_picture(job, decoded.pixels[i], {**job.facts, **facts, **lost[i]}, settled))
    return outcomes


def _withheld() -> FilteredError:
    return FilteredError(
        "The model's safety filter withheld the picture; nothing was written.",
        "Try another --seed or prompt, or --no-safety-checker where that is appropriate.",
    )


def _picture(job: Prepared, pixels: np.ndarray, facts: dict[str, Any], settled: dict[str, Any]) -> Picture:
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


def _refuse_long(jobs: Sequence[Prepared]) -> None:
    """Refuses, before a model loads, what `--long-prompt error` forbids."""
    for job in jobs:
        if job.request.long_prompt == "error":
            prompts.refuse_long(job.model, job.request.prompt)
            prompts.refuse_long(job.model, job.request.negative_prompt)


def _dropped(job: Prepared, listener: Listener) -> dict[str, str]:
    """What a prompt that is cut loses, as facts for the record."""
    request = job.request
    if request.long_prompt == "chunk":
        return {}
    lost = {}
    for name, said in (("prompt", "prompt"), ("negative_prompt", "negative prompt")):
        if rest := prompts.dropped(job.model, getattr(request, name)):
            listener(Note(f"the {said} is too long for this model, which does not see its end: {rest}"))
            lost[f"dropped_{name}"] = rest
    return lost


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
    if request.long_prompt == "chunk" and any(prompts.dropped(jobs[0].model, text) for text in (*words, *negatives)):
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
    """Called by diffusers after each step: reports it, and stops a batch that has lost every picture to NaN.

    Attributes:
        last: latents of the last step, (pictures, channels, height, width) for most models.
        sound: for each picture, whether all its latents were finite at every step.
    """

    def __init__(self, report: _Progress, pictures: int) -> None:
        self.report = report
        self.last: torch.Tensor | None = None
        self.sound = [True] * pictures
        self._lost_at: dict[int, int] = {}

    def __call__(self, pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        self.last = tensors["latents"]
        for i, finite in enumerate(torch.isfinite(self.last).flatten(1).all(1).tolist()):
            if not finite and self.sound[i]:
                self.sound[i] = False
                self._lost_at[i] = step + 1
        if not any(self.sound):
            raise NonFiniteError("every picture is lost")
        self.report.step(step + 1, int(pipe.num_timesteps))
        return {}

    def failure(self, picture: int, placement: Placement) -> NonFiniteError:
        """What to say of a picture that is lost."""
        where = f" at step {self._lost_at[picture]}" if picture in self._lost_at else " in the decoder"
        hint = "Try another --scheduler or more --steps; the model itself may be damaged (`artgen models verify`)."
        if placement.dtype != "fp32":
            hint = "Try --dtype fp32, or another --scheduler."
        return NonFiniteError(f"The model produced NaN or infinity{where}; nothing was written.", hint)


@dataclass
class _Decoded:
    """Pictures as (pictures, height, width, 3), 0 to 1, and whether the safety filter withheld each."""

    pixels: np.ndarray
    filtered: list[bool]


def _decode_again(pipe: Any, decoded: _Decoded, latents: _Latents, listener: Listener) -> bool:
    """Decodes once more in fp32 where latents are sound and pixels are not: decoders overflow in low precision.

    Changes `decoded` in place; says whether it did. The safety filter looks at what comes out.
    """
    last, vae = latents.last, pipe.vae
    broken = [i for i, sound in enumerate(latents.sound) if sound and not np.isfinite(decoded.pixels[i]).all()]
    reachable = last is not None and last.ndim == 4 and not any(p.is_meta for p in vae.parameters())
    if not broken or last is None or not reachable or vae.dtype == torch.float32:
        return False
    listener(Note("the decoder overflowed; decoding again in fp32"))
    dtype = vae.dtype
    try:
        vae.to(torch.float32)
        for i in broken:
            with torch.no_grad():
                image = vae.decode(_unscaled(last[i : i + 1].float(), vae.config)).sample
            if getattr(pipe, "safety_checker", None) is not None:
                image, flags = pipe.run_safety_checker(image, image.device, dtype)
                decoded.filtered[i] = bool(flags[0])
            decoded.pixels[i] = pipe.image_processor.postprocess(image.float(), output_type="np")[0]
    finally:
        vae.to(dtype)
    return True


def _unscaled(latents: torch.Tensor, config: Any) -> torch.Tensor:
    """Latents as the decoder takes them, from latents as the denoiser makes them."""
    latents = latents / config.scaling_factor
    if getattr(config, "latents_mean", None) is not None and getattr(config, "latents_std", None) is not None:
        mean = torch.tensor(config.latents_mean, device=latents.device).view(1, -1, 1, 1)
        std = torch.tensor(config.latents_std, device=latents.device).view(1, -1, 1, 1)
        latents = latents * std + mean
    return latents + (getattr(config, "shift_factor", None) or 0.0)
