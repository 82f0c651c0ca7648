"""Resolve the nets of the control images of a request, and check that diffusers has a pipeline for them."""

from collections.abc import Sequence
from typing import Any

from artgen import registry
from artgen.errors import UsageError
from artgen.events import Listener
from artgen.registry.control_nets import ControlNet, NetSearch, check_kind, resolve_net
from artgen.registry.pipelines import PipelineEntry
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.control import ControlSpec, recorded_control

_TITLES = {"control": "ControlNet", "control_union": "union ControlNet", "adapter": "T2I-Adapter"}
"""Title of the nets of each key of the table of pipelines."""


def net_key(request: Request) -> tuple[tuple[str, str | None], ...]:
    """Return what selects the nets of a request, besides the model."""
    return tuple((spec.kind, spec.model) for spec in request.controls)


def resolve_nets(
    request: PromptRequest, model: registry.ResolvedModel, listener: Listener, *, download: bool
) -> tuple[ControlNet, ...]:
    """Find or download the nets of a request, and check that they fit the model, the task and each other.

    Without `download`, only the configurations of nets on the hub are downloaded and checked.

    Raises:
        UsageError: diffusers has no pipeline for the task, a net reads other maps, or the nets cannot be combined.
        InputFileError, ModelUnavailableError, RefusedError: a net cannot be used.
    """
    check_task_has_control(request, model)
    search = NetSearch(model, request.offline, download, listener)
    nets = []
    for spec in request.controls:
        net = resolve_net(spec, search)
        check_kind(net, spec)
        nets.append(net)
    check_nets(request, model, nets)
    return tuple(nets)


def check_task_has_control(request: PromptRequest, model: registry.ResolvedModel) -> None:
    """Check that diffusers has any pipeline with control images for the task and the architecture.

    Raises:
        UsageError: no such pipeline exists.
    """
    entry = model.pipeline_entry
    if request.controls and not any(request.task in _pipelines(entry, key) for key in _TITLES):
        tasks = dict.fromkeys(task for key in _TITLES for task in _pipelines(entry, key))
        raise _unsupported(request, entry, "control images", tuple(tasks))


def check_nets(request: PromptRequest, model: registry.ResolvedModel, nets: Sequence[ControlNet]) -> None:
    """Check that diffusers has a pipeline for the task with these nets, and that the nets can be combined.

    Raises:
        UsageError: a combination is not supported.
    """
    entry = model.pipeline_entry
    for key in dict.fromkeys(map(pipeline_key, nets)):
        if request.task not in _pipelines(entry, key):
            names = ", ".join(f"'{net.name}'" for net in nets if pipeline_key(net) == key)
            raise _unsupported(request, entry, f"a {_TITLES[key]} ({names})", tuple(_pipelines(entry, key)))
    keys = dict.fromkeys(map(pipeline_key, nets))
    if len(keys) > 1:
        raise UsageError(
            f"Cannot combine a {' and a '.join(_TITLES[key] for key in keys)} in one image.",
            "Use one kind of net: remove one --control.",
            settings=("control",),
        )
    for net in nets:
        if net.is_inpaint and request.task not in ("inpaint", "outpaint"):
            raise UsageError(
                f"The control net '{net.name}' reads the masked input image, and {request.task} has no mask.",
                "Use the net with inpaint or outpaint.",
                settings=("control",),
            )
    if request.control_guess and "adapter" in keys:
        raise UsageError(
            "--control-guess does not work with a T2I-Adapter.", "Remove --control-guess.", settings=("control_guess",)
        )


def pipeline_key(net: ControlNet) -> str:
    """Return the key of the table of pipelines that has the pipelines of a net."""
    return "adapter" if net.is_adapter else "control_union" if net.class_name == "ControlNetUnionModel" else "control"


def net_provenance(nets: Sequence[ControlNet]) -> dict[str, Any]:
    """Return the entries of an image record about nets."""
    return {
        "control_net": [net.path.name if net.source == "local" else net.name for net in nets],
        "control_net_source": [f"{net.source}@{net.revision}" if net.revision else net.source for net in nets],
        "control_net_sha256": [net.sha256 for net in nets],
    }


def recorded_text(spec: ControlSpec, net: ControlNet) -> str:
    """Return the text of a control image for a record, without the folders of the image and of a local net."""
    recorded = recorded_control(spec)
    return str(recorded._replace(model=net.path.name) if net.source == "local" and spec.model else recorded)


def _pipelines(entry: PipelineEntry, key: str) -> Any:
    return getattr(entry, key, {})


def _unsupported(request: PromptRequest, entry: PipelineEntry, what: str, tasks: Sequence[str]) -> UsageError:
    hint = f"With {entry.title}, {what} work with {', '.join(tasks)}. " if tasks else ""
    return UsageError(
        f"Cannot use {what} with {request.task} and {entry.title}: diffusers has no such pipeline.",
        f"{hint}Remove --control.",
        settings=("control",),
    )
