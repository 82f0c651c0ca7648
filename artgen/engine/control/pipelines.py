"""Build the diffusers pipeline with control nets from the components of a model's pipeline."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import diffusers

from artgen.engine.control.nets import Placement, load_nets
from artgen.engine.loading import offload as offloading
from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.components import Pipeline, denoiser_of
from artgen.errors import ModelUnavailableError
from artgen.jobs.control import ControlInput
from artgen.jobs.control.checks import pipeline_key
from artgen.jobs.guidance import pag_layers
from artgen.registry import ResolvedModel

_MULTI_CLASSES = {
    "ControlNetModel": ("models.controlnets.multicontrolnet", "MultiControlNetModel"),
    "ControlNetUnionModel": ("models.controlnets.multicontrolnet_union", "MultiControlNetUnionModel"),
    "SD3ControlNetModel": ("models.controlnets.controlnet_sd3", "SD3MultiControlNetModel"),
    "FluxControlNetModel": ("models.controlnets.controlnet_flux", "FluxMultiControlNetModel"),
    "T2IAdapter": ("models.adapter", "MultiAdapter"),
}
"""Module and class of diffusers that adds up the residuals of several nets, by class of the nets."""


def control_pipeline(
    base: Pipeline,
    model: ResolvedModel,
    task: str,
    controls: Sequence[ControlInput],
    placement: Placement,
    *,
    pag: bool = False,
) -> Pipeline:
    """Return the pipeline of a task with control nets and the components of `base`, which is not changed.

    Args:
        base: the model's pipeline.
        model: the model, whose entry in the table of pipelines names the class.
        task: task name of artgen.
        controls: active control images, at least one, whose nets are of one class.
        placement: device of the nets.
        pag: use the pipeline with perturbed-attention guidance.

    Raises:
        ModelUnavailableError: a net is damaged or does not fit the model, or diffusers has no such pipeline.
    """
    key = pipeline_key(controls[0].net)
    table: Mapping[str, str] = getattr(model.pipeline_entry, "control_pag" if pag and key == "control" else key)
    class_name = table.get(task)
    if class_name is None or (pag and key != "control"):
        raise ModelUnavailableError(
            f"Cannot use the control net '{controls[0].net.name}' with {task} of {model.pipeline_entry.title}: "
            "diffusers does not have the pipeline.",
            "Remove --control.",
        )
    nets = load_nets(controls, base, placement)
    components = {"adapter" if key == "adapter" else "controlnet": _joined(controls[0].net.class_name, nets)}
    with pipeline_cache.silence_libraries():
        if pag and (layers := pag_layers(denoiser_of(base).config)) is not None:
            components["pag_applied_layers"] = layers
        pipe = pipeline_cache.share_components(base, getattr(diffusers, class_name), **components)
        offloading.offload_again(pipe, placement.device_config, placement.offload)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _joined(class_name: str, nets: Sequence[Any]) -> Any:
    """Return one net, or the module of diffusers that adds up the residuals of several nets."""
    if len(nets) == 1:
        return nets[0]
    # A union net is repeated: one union net with several maps still changes the image after the steps of `until`.
    module, multi_class = _MULTI_CLASSES[class_name]
    return getattr(importlib.import_module(f"diffusers.{module}"), multi_class)(list(nets)).eval()


def nets_of(pipe: Pipeline) -> tuple[Any, ...]:
    """Return the different ControlNets of a pipeline; empty for pipelines without ControlNets and with T2I-Adapters."""
    controlnet = getattr(pipe, "controlnet", None)
    nets = getattr(controlnet, "nets", None) or [controlnet]
    return tuple({id(net): net for net in nets if net is not None}.values())
