"""Resolve the nets of the control images of a request."""

from collections.abc import Sequence
from typing import Any

from artgen import registry
from artgen.events import Listener
from artgen.jobs.control import checks
from artgen.registry.control_nets import ControlNet, NetSearch, check_kind, resolve_net
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.control import ControlSpec, recorded_control


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
    checks.check_task_has_control(request, model)
    search = NetSearch(model, request.offline, download, listener)
    nets = []
    for spec in request.controls:
        net = resolve_net(spec, search)
        check_kind(net, spec)
        nets.append(net)
    checks.check_nets(request, model, nets)
    return tuple(nets)


def net_provenance(nets: Sequence[ControlNet]) -> dict[str, Any]:
    """Return the entries of an image record about nets."""
    return {
        "control_net": [net.short_name for net in nets],
        "control_net_source": [f"{net.source}@{net.revision}" if net.revision else net.source for net in nets],
        "control_net_sha256": [net.sha256 for net in nets],
    }


def recorded_text(spec: ControlSpec, net: ControlNet) -> str:
    """Return the text of a control image for a record, without the folders of the image and of a local net."""
    recorded = recorded_control(spec)
    return str(recorded._replace(model=net.short_name) if net.source == "local" and spec.model else recorded)
