"""Find the upscaling networks of requests for `--method model`. Several requests share a network."""

from dataclasses import replace
from typing import TYPE_CHECKING

from artgen.errors import UsageError
from artgen.events import Listener, Notice
from artgen.registry import save_location
from artgen.registry.upscalers import DEFAULT_UPSCALER, Upscaler, resolve_upscaler, size_notes
from artgen.spec.base_requests import Request
from artgen.spec.restoration_requests import Upscale
from artgen.spec.seeds import generate_seed

if TYPE_CHECKING:
    from artgen.jobs.drafts import JobDraft

_Key = tuple[str, bool]


class NetworkCache:
    """Store the networks by name. Only the configuration is stored of a network whose weights are not on the disk."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._networks: dict[_Key, Upscaler] = {}

    def add_to(self, draft: "JobDraft") -> "JobDraft":
        """Return the draft with its network, and with the complete name of the network.

        A draft of the method lanczos gets notes about settings without an effect. Other drafts are unchanged.

        Raises:
            InputFileError, ModelUnavailableError, RefusedError: see `resolve_upscaler`.
        """
        request, inputs = draft.request, draft.inputs
        if not isinstance(request, Upscale) or request.method != "model":
            return replace(draft, notes=(*draft.notes, *_lanczos_notes(request)))
        if request.upscale_model is None:
            request = request.replace(upscale_model=DEFAULT_UPSCALER)
        network = self._networks.get(key := _key(request)) or self._resolve(key, download=False)
        self._networks[key] = network
        if network.is_diffusion and request.seed is None:
            request = request.replace(seed=generate_seed())
        if not network.is_diffusion and request.steps is not None:
            raise UsageError(
                f"Cannot use --steps with '{network.name}': it is not a diffusion model.",
                "Remove --steps.",
                settings=("steps",),
            )
        notes = network.download_notes()
        if not network.is_diffusion and request.seed:  # 0: a batch checks its jobs with this seed
            notes += ("The method model of upscale does not use seed: the upscaler is not a diffusion model.",)
        if inputs.lossless is not None and inputs.result_size is not None:
            notes += size_notes(network, inputs.lossless.image.size, inputs.result_size)
        provenance = {**draft.provenance, "upscale_model": network.recorded_name, **network.provenance()}
        if network.source == "local" and network.sha256 and (note := save_location(network.sha256, network.path)):
            self._listener(Notice(note))
        return replace(
            draft,
            request=request,
            upscaler=network,
            provenance=provenance,
            notes=(*draft.notes, *notes),
        )

    @property
    def has_previews(self) -> bool:
        """Return whether the weights of a network are not on the disk."""
        return any(network.download_bytes for network in self._networks.values())

    def download(self) -> None:
        """Download the weights of the networks of which only the configurations are on the disk."""
        for key, network in self._networks.items():
            if network.download_bytes:
                self._networks[key] = self._resolve(key, download=True)

    def _resolve(self, key: _Key, *, download: bool) -> Upscaler:
        return resolve_upscaler(key[0], offline=key[1], download=download, listener=self._listener)


def _lanczos_notes(request: Request) -> tuple[str, ...]:
    """Return a note if a request for the method lanczos sets a device."""
    if not isinstance(request, Upscale) or request.method not in (None, "lanczos"):
        return ()
    names = [name for name in ("device", "dtype") if getattr(request, name) != "auto"]
    return tuple(f"The method lanczos uses no model: {name} has no effect." for name in names)


def _key(request: Request) -> _Key:
    return str(getattr(request, "upscale_model", "")), request.offline
