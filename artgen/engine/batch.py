"""One call of a diffusers pipeline: pictures of one shape, drawn together."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

import artgen
from artgen import acceleration, images
from artgen.engine import adapters, attention, blending, embeddings, loading, offloading, prompts, reading, schedulers
from artgen.engine.accelerating import accelerated, is_compiled
from artgen.engine.approximating import approximated
from artgen.engine.device import Placement
from artgen.engine.frames import Recorder
from artgen.engine.memory import Economy
from artgen.engine.outcomes import Failure, Picture
from artgen.engine.soundness import Decoded, Latents, decode_again
from artgen.errors import FilteredError, NonFiniteError, UsageError
from artgen.events import Decoding, Listener, ModelChosen, Note, Planned, Step
from artgen.prepare import Prepared
from artgen.records import to_record
from artgen.settings import Frames

TASK_MODULES = {"txt2img": "txt2img", "img2img": "img2img", "inpaint": "inpaint", "outpaint": "inpaint"}


class Progress:
    """Says which picture of how many is at which step."""

    def __init__(self, listener: Listener, first: int, pictures: int, total: int, seconds_left: float = 0.0) -> None:
        self.listener = listener
        self.seconds_left = seconds_left
        self._place = (first, pictures, total)

    def step(self, done: int, steps: int) -> None:
        self.listener(Step(done, steps, *self._place))


def draw_batch(
    jobs: Sequence[Prepared],
    rows: int,
    placement: Placement,
    economy: Economy,
    progress: Progress,
    frames: Frames | None = None,
) -> list[Picture | Failure]:
    """Draws pictures in one call.

    Args:
        jobs: alike but for words, seeds and what they start from.
        rows: of the device batch, at least as many; the last job is in those that are left over, too.
        placement: where.
        economy: how sparingly.
        progress: is told of each step.
        frames: what to show of the making.
    """
    request = jobs[0].drawing
    filled = [*jobs, *[jobs[-1]] * (rows - len(jobs))]
    told = reading.told(filled, placement) if reading.is_apart(economy, placement) else None
    blended = jobs[0].mask is not None and blending.is_needed(jobs[0].model)
    task = importlib.import_module(f"artgen.engine.{'img2img' if blended else TASK_MODULES[request.task]}")
    pipe = _pipeline(filled, task.PIPELINE, placement, economy, progress.listener)
    plan = _plan(pipe, filled, placement, economy, progress)
    recorder = Recorder(pipe, frames) if frames else None
    lost = [_dropped(job, progress.listener) for job in jobs]
    latents = Latents(progress.step, rows, blending.Blend(pipe, filled) if blended else None)
    try:
        attached = approximated(pipe, request.fast, rows, jobs[0].parts)
        with loading.quiet(), attention.in_rows(placement), accelerated(pipe, plan), attached:
            result = pipe(**_arguments(pipe, filled, task.arguments(filled), latents, told))
    except NonFiniteError:
        return [Failure(job.request, latents.failure(i, placement)) for i, job in enumerate(jobs)]
    progress.listener(Decoding())
    decoded = Decoded(np.array(result.images), list(getattr(result, "nsfw_content_detected", None) or [False] * rows))
    mended = decode_again(pipe, decoded, latents, progress.listener)
    fallbacks = [*economy.fallbacks, *(["decoder in fp32"] if mended else [])]
    facts = {"batch_size": rows, "rounding": plan.rounding, "fallbacks": fallbacks, **_versions()}
    settled: dict[str, Any] = {"device": placement.device, "dtype": placement.dtype}
    if economy.automatic:
        settled |= {"offload": economy.offload, "vae_tiling": economy.vae_tiling}
    outcomes: list[Picture | Failure] = []
    for i, job in enumerate(jobs):
        if not latents.sound[i] or not np.isfinite(decoded.pixels[i]).all():
            outcomes.append(Failure(job.request, latents.failure(i, placement)))
        elif decoded.filtered[i]:
            outcomes.append(Failure(job.request, _withheld()))
        else:
            picture = _picture(job, decoded.pixels[i], {**job.facts, **facts, **lost[i]}, settled)
            outcomes.append(_with_frames(picture, recorder, i, job, progress.listener) if recorder else picture)
    return outcomes


def _pipeline(jobs: list[Prepared], kind: str, placement: Placement, economy: Economy, listener: Listener) -> Any:
    """The model as a pipeline of a kind, with the scheduler and the LoRAs that the jobs share."""
    job, request = jobs[0], jobs[0].drawing
    listener(ModelChosen(job.model.name, placement.device, placement.dtype))
    base = loading.load(
        job.model,
        placement,
        offload=economy.offload,
        vae_tiling=economy.vae_tiling,
        safety_checker=request.safety_checker,
        listener=listener,
    )
    offloading.decode_singly(base, len(jobs), job.width * job.height)
    adapters.attach(base, job.loras, placement, economy.offload)
    pipe = loading.for_task(base, kind, request.task)
    pipe.scheduler = schedulers.reading_here(schedulers.build(base.scheduler, request.scheduler, request.sigmas))
    schedulers.check_steps(pipe.scheduler, request.steps or 1)
    return pipe


def _versions() -> dict[str, str]:
    return {
        "artgen": artgen.__version__,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }


def _plan(
    pipe: Any, jobs: list[Prepared], placement: Placement, economy: Economy, progress: Progress
) -> acceleration.Plan:
    job, request = jobs[0], jobs[0].drawing
    whole = economy.offload in (None, "none")
    plan = acceleration.plan(
        acceleration.Task(
            level=request.acceleration or "exact",
            device=placement.device,
            dtype=placement.dtype,
            architecture=job.model.architecture,
            size=job.size,
            together=len(jobs),
            steps=max(1, int((request.steps or 1) * (job.strength or 1))),
            whole=whole,
            plain=whole and placement.weights is None and not job.loras and not request.fast,
            upcast=_is_upcast(pipe, job.model.architecture, placement),
            compiled=is_compiled(pipe),
            seconds_left=progress.seconds_left,
        )
    )
    if plan.graph and not economy.graphs:
        plan = replace(plan, graph=False, why="no CUDA graph: memory ran out with one")
    if plan.why:
        progress.listener(Planned(plan.why))
    return plan


def _is_upcast(pipe: Any, architecture: str, placement: Placement) -> bool:
    """Whether the pipeline decodes in fp32: SDXL's alone look at `force_upcast`, which others have by default."""
    return architecture == "sdxl" and placement.dtype == "fp16" and bool(pipe.vae.config.force_upcast)


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


def _with_frames(picture: Picture, recorder: Recorder, number: int, job: Prepared, listener: Listener) -> Picture:
    def finish(image: Image.Image, paste: bool) -> Image.Image:
        listener(Decoding())  # one of many, between which Ctrl-C is heard
        return _finished(image, job, paste)

    return replace(picture, frames=recorder.frames(number, job, picture.image, finish))


def _finished(image: Image.Image, job: Prepared, paste: bool = True) -> Image.Image:
    """Cuts the padding off and, with `paste`, puts untouched pixels back."""
    if job.image is None:
        return image
    image = image.crop((0, 0, job.width, job.height))
    if paste and job.mask is not None and getattr(job.request, "paste", True):
        return images.composite(job.image, image, job.mask)
    return image


def _dropped(job: Prepared, listener: Listener) -> dict[str, str]:
    """What a prompt that is cut loses, as facts for the record."""
    request = job.drawing
    if request.long_prompt == "chunk":
        return {}
    lost = {}
    for name, said in (("prompt", "prompt"), ("negative_prompt", "negative prompt")):
        if rest := prompts.dropped(job.model, getattr(request, name)):
            listener(Note(f"the {said} is too long for this model, which does not see its end: {rest}"))
            lost[f"dropped_{name}"] = rest
    return lost


def _arguments(
    pipe: Any, jobs: list[Prepared], task: dict[str, Any], latents: Latents, told: Mapping[str, torch.Tensor] | None
) -> dict[str, Any]:
    """Keyword arguments for one call of the pipeline; `told` are the embeddings of its prompts where there are any."""
    request = jobs[0].drawing
    accepted = inspect.signature(pipe.__call__).parameters
    # Some image pipelines take their size from the picture.
    arguments = {name: value for name, value in task.items() if name in accepted or name not in ("width", "height")}
    arguments["num_inference_steps"] = request.steps
    arguments["guidance_scale"] = request.guidance_scale
    arguments["generator"] = [torch.Generator("cpu").manual_seed(_seed(job)) for job in jobs]
    arguments["output_type"] = "np"
    arguments["callback_on_step_end"] = latents
    if told is not None:
        return {**arguments, **told}
    words = [job.drawing.prompt for job in jobs]
    negatives = [job.drawing.negative_prompt for job in jobs]
    if request.long_prompt == "chunk" and any(prompts.dropped(jobs[0].model, text) for text in (*words, *negatives)):
        return {**arguments, **prompts.chunked(pipe, words, negatives, request.guided)}
    if embeddings.can_embed(pipe):
        return {**arguments, **embeddings.embedded(pipe, words, negatives, request.guided)}
    arguments["prompt"] = words
    if any(negatives):
        if "negative_prompt" not in accepted:
            raise UsageError(f"{type(pipe).__name__} takes no negative prompt.", "Leave --negative-prompt out.")
        arguments["negative_prompt"] = negatives
    return arguments


def _seed(job: Prepared) -> int:
    # torch takes -2**63 .. 2**64-1 and reads both halves alike.
    return int(job.request.seed or 0)
