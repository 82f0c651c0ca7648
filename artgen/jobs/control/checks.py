"""Check that diffusers has a pipeline for control images with a task, an architecture and other settings."""

from collections.abc import Mapping, Sequence

from artgen import registry
from artgen.errors import UsageError
from artgen.jobs.edit_checks import CROPPING_PIPELINES
from artgen.registry.control_nets import ControlNet
from artgen.registry.pipeline_entry import PipelineEntry
from artgen.spec.base_requests import PromptRequest

CONTROL, UNION, INPAINT, ADAPTER = "control", "control_union", "control_inpaint", "adapter"
"""Keys of the table of pipelines."""

_TITLES = {
    CONTROL: "ControlNet", UNION: "union ControlNet", INPAINT: "ControlNet that reads the mask", ADAPTER: "T2I-Adapter"
}  # fmt: skip


def pipeline_key(net: ControlNet) -> str:
    """Return the key of the table of pipelines that has the pipelines of a net."""
    if net.reads_mask:
        return INPAINT
    return ADAPTER if net.is_adapter else UNION if net.class_name == "ControlNetUnionModel" else CONTROL


def check_task_has_control(request: PromptRequest, model: registry.ResolvedModel) -> None:
    """Check that diffusers has any pipeline with control images for the task and the architecture.

    Raises:
        UsageError: no such pipeline exists.
    """
    if not request.control:
        if request.control_guess:
            raise UsageError(
                "--control-guess needs a control image.", "Add --control canny=photo.png, or remove --control-guess."
            )
        return
    tables = [_pipelines(kind, model.pipeline_entry) for kind in _TITLES]
    if not any(request.task in table for table in tables):
        tasks = tuple(dict.fromkeys(task for table in tables for task in table))
        raise _no_pipeline(request, model.pipeline_entry, "control images", tasks)


def check_nets(request: PromptRequest, model: registry.ResolvedModel, nets: Sequence[ControlNet]) -> None:
    """Check that diffusers has a pipeline for the task with these nets, and that it takes the other settings.

    Raises:
        UsageError: a combination is not supported.
    """
    if not nets:
        return
    entry, kinds = model.pipeline_entry, list(dict.fromkeys(map(pipeline_key, nets)))
    for kind in kinds:
        if request.task not in _pipelines(kind, entry):
            names = ", ".join(f"'{net.name}'" for net in nets if pipeline_key(net) == kind)
            raise _no_pipeline(request, entry, f"a {_TITLES[kind]} ({names})", tuple(_pipelines(kind, entry)))
    if len(kinds) > 1:
        raise _conflict(f"a {' and a '.join(map(_TITLES.__getitem__, kinds))} in one image", "remove one --control")
    for net in nets:
        if net.is_inpaint and request.task not in ("inpaint", "outpaint"):
            raise UsageError(
                f"The control net '{net.name}' reads the masked input image, and {request.task} has no mask.",
                "Use the net with inpaint or outpaint.",
            )
    _check_settings(request, entry, kinds[0])
    _check_crop(request, entry, nets)
    if kinds[0] == ADAPTER:
        for spec in request.controls:
            if spec.start > 0 or spec.end < 1:
                raise _conflict(
                    "from or until with a T2I-Adapter, which is active in all steps", "remove from and until"
                )


def _check_settings(request: PromptRequest, entry: PipelineEntry, kind: str) -> None:
    """Check the settings that the pipelines with control images do not take."""
    task = request.task
    if request.refiner is not None and task == "img2img":
        raise _conflict("--refiner with control images and img2img", "remove --refiner", "refiner")
    if request.acceleration == "openvino":
        raise _conflict("--acceleration openvino with control images", "use --acceleration none", "acceleration")
    pag_scale = entry.default_pag_scale if request.pag_scale is None else request.pag_scale
    if pag_scale > 0 and (kind != CONTROL or task not in entry.control_pag):
        raise _conflict(
            f"--pag-scale {pag_scale:g} with a {_TITLES[kind]} and {task}", "use --pag-scale 0", "pag_scale"
        )
    if request.control_guess and (kind != CONTROL or task not in entry.control_guess):
        what = f"--control-guess with a {_TITLES[kind]}, {task} and {entry.title}"
        raise _conflict(what, "remove --control-guess")
    if request.control_guess and pag_scale > 0:
        raise _conflict("--control-guess with --pag-scale", "remove one of them")
    takes_rescale = (kind == ADAPTER and entry.architecture == "sdxl") or task in entry.control_rescale
    if (request.guidance_rescale or 0) > 0 and (pag_scale > 0 or not takes_rescale):
        raise _conflict(
            f"--guidance-rescale with a {_TITLES[kind]}, {task} and {entry.title}",
            "remove --guidance-rescale",
            "guidance_rescale",
        )
    if kind == INPAINT and getattr(request, "strength", None) not in (None, 1.0):
        raise _conflict(f"--strength with a {_TITLES[kind]}", "remove --strength", "strength")
    if entry.negative_prompt == "true-cfg" and request.negative_prompt and task != "txt2img":
        raise _conflict(
            f"a negative prompt with control images, {task} and {entry.title}",
            "remove --negative-prompt",
            "negative_prompt",
        )


def _check_crop(request: PromptRequest, entry: PipelineEntry, nets: Sequence[ControlNet]) -> None:
    """Check that the pipeline crops the masked area, if a request repaints only this area."""
    if getattr(request, "only_masked", None) is None:
        return
    kind = pipeline_key(nets[0])
    pag_scale = entry.default_pag_scale if request.pag_scale is None else request.pag_scale
    class_name = (entry.control_pag if pag_scale > 0 else _pipelines(kind, entry)).get(request.task)
    if class_name not in CROPPING_PIPELINES:
        raise _conflict(
            f"--only-masked with a {_TITLES[kind]} and {entry.title}", "remove --only-masked", "only_masked"
        )
    # The pipelines of diffusers 0.42 crop one image, and no tensor with masked pixels of -1.
    if len(nets) > 1:
        raise _conflict("--only-masked with several control images", "remove --only-masked", "only_masked")
    if nets[0].is_inpaint:
        raise _conflict("--only-masked with a control net for inpainting", "remove --only-masked", "only_masked")


def _pipelines(kind: str, entry: PipelineEntry) -> Mapping[str, str]:
    tables = {CONTROL: entry.control, UNION: entry.control_union, INPAINT: entry.control_inpaint}
    return tables.get(kind, entry.adapter)


def _no_pipeline(request: PromptRequest, entry: PipelineEntry, what: str, tasks: Sequence[str]) -> UsageError:
    hint = f"With {entry.title}, {what} {'works' if what.startswith('a ') else 'work'} with {', '.join(tasks)}. "
    return UsageError(
        f"Cannot use {what} with {request.task} and {entry.title}: diffusers has no such pipeline.",
        f"{hint if tasks else ''}Remove --control.",
        settings=("control",),
    )


def _conflict(what: str, remedy: str, setting: str = "") -> UsageError:
    """Return the error of a combination that the pipeline does not take."""
    return UsageError(
        f"Cannot combine {what}: the pipeline of diffusers does not support it.",
        f"{remedy[:1].upper()}{remedy[1:]}, or remove --control.",
        settings=(setting,) if setting else (),
    )
