"""Store the memory settings of a pipeline call, and select the next one after an out-of-memory error."""

import dataclasses
from dataclasses import dataclass

from artgen.engine.loading.device import DeviceConfig
from artgen.spec import fast
from artgen.spec import memory_budget as budget
from artgen.spec.base_requests import PromptRequest
from artgen.spec.requests import Sample


@dataclass(frozen=True)
class MemorySettings:
    """Store the memory settings of a pipeline call.

    Attributes:
        batch_size: Largest number of images per pipeline call, at least 1.
        vae_tiling: Whether the VAE decodes in tiles.
        offload: One of `artgen.spec.memory_budget.OFFLOAD_MODES`. None: the request does not set it.
        fallbacks: Measures taken after out-of-memory errors, in order.
        auto: Whether artgen selects `offload`, and may select another mode after an out-of-memory error.
        excluded_mode: Offload mode that artgen must not select. DeepCache skips layers, but in group offloading each
            layer prefetches the next one.
        allow_cuda_graphs: Whether CUDA graphs may be recorded. A graph holds the working memory of its call.
        allow_vae_tiling: Whether artgen may select tiled VAE decoding. The tiles of a seamless image have borders.
    """

    batch_size: int
    vae_tiling: bool
    offload: str | None
    fallbacks: tuple[str, ...] = ()
    auto: bool = False
    excluded_mode: str | None = None
    allow_cuda_graphs: bool = True
    allow_vae_tiling: bool = True

    @classmethod
    def from_request(cls, request: PromptRequest | Sample, batch_size: int) -> "MemorySettings":
        """Return the settings of a request. `auto` means no offloading until `plan_memory` selects a mode."""
        auto = request.offload == "auto"
        skips_layers = any(preset.name == "cache" for preset in fast.parse_presets(request.fast))
        return cls(
            batch_size,
            bool(request.vae_tiling),
            "none" if auto else request.offload,
            auto=auto,
            excluded_mode="group" if skips_layers else None,
            allow_vae_tiling=getattr(request, "seamless", None) is None,
        )

    def next_fallback(self, device_config: DeviceConfig, batch_size: int) -> "MemorySettings | None":
        """Return the settings to try after an out-of-memory error, or None if no fallback remains.

        An offload mode that the user set is not changed.

        Args:
            device_config: Device of the model. Only a GPU can offload.
            batch_size: Images per pipeline call when memory ran out.
        """
        if batch_size > 1:
            size = batch_size // 2
            return self._with_fallback(f"batch size {size}", batch_size=size)
        if not self.vae_tiling and self.allow_vae_tiling:
            return self._with_fallback("vae tiling", vae_tiling=True)
        if device_config.is_gpu and self.offload is None:
            return self._with_fallback("offload model", offload="model")
        if device_config.is_gpu and self.auto and self.offload != budget.OFFLOAD_MODES[-1]:
            modes = [mode for mode in budget.OFFLOAD_MODES if mode != self.excluded_mode]
            mode = modes[modes.index(self.offload or "none") + 1]
            return self._with_fallback(f"offload {mode}", offload=mode)
        return None

    def _with_fallback(self, fallback: str, **changes: object) -> "MemorySettings":
        return dataclasses.replace(self, fallbacks=(*self.fallbacks, fallback), **changes)  # type: ignore[arg-type]
