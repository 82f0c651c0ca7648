"""Define the requests that restore or enlarge an image: denoise and upscale."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from artgen.errors import UsageError
from artgen.spec.base_requests import (
    ImageRequest,
    PromptRequest,
)
from artgen.spec.fields import non_default_settings
from artgen.spec.settings import (
    DenoiseSettings,
    LoraSettings,
    UpscaleMethod,
    UpscaleSettings,
    settings_of,
)
from artgen.spec.sigma import SigmaSpec, parse_sigma


@dataclass(frozen=True, kw_only=True)
class Denoise(LoraSettings, DenoiseSettings, ImageRequest):
    """Remove noise from an image."""

    task: ClassVar[str] = "denoise"
    filename_template: ClassVar[str] = "{stem}-denoised"

    @property
    def sigma_spec(self) -> SigmaSpec:
        """Return the noise level that `sigma` selects, or the factor of its estimate."""
        return parse_sigma(self.sigma)

    def _normalize(self, names: Collection[str]) -> None:
        if isinstance(self.sigma, int | float) and not isinstance(self.sigma, bool):  # JSON and Python have numbers.
            object.__setattr__(self, "sigma", f"{self.sigma:g}")
        super()._normalize(names)
        parse_sigma(self.sigma)
        self._check_method()

    def _check_method(self) -> None:
        method = self.method or "pixel"
        unsupported = {"pixel": (), "latent": ("eta", "fidelity")}.get(
            method, ("model", "steps", "eta", "self_ensemble", "fidelity")
        )
        for name in unsupported:
            if getattr(self, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(
                    f"The method {method} does not support {name}.",
                    f"Remove {option}, or use --method pixel.",
                    settings=(name, "method"),
                )
        if self.lora and method != "latent":
            raise UsageError(
                f"The method {method} does not support lora.",
                "Remove --lora, or use --method latent.",
                settings=("lora", "method"),
            )


@dataclass(frozen=True, kw_only=True)
class Upscale(UpscaleMethod, UpscaleSettings, ImageRequest, PromptRequest):
    """Enlarge an image."""

    task: ClassVar[str] = "upscale"
    filename_template: ClassVar[str] = "{stem}-upscaled"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed is not None and self.method in (None, "lanczos"):
            raise UsageError(
                "The method lanczos does not support seed.",
                "Remove --seed, or use --method redraw.",
                settings=("seed", "method"),
            )

    @property
    def is_redraw(self) -> bool:
        """Return whether the method generates new details with a model."""
        return self.method == "redraw"

    @property
    def unused_settings(self) -> frozenset[str]:
        """Return the settings that the method does not use. They are not recorded."""
        if self.is_redraw:
            return frozenset({"upscale_model", "refiner"})
        used = {"image", "max_side", "by", "target_size", "method", "preset", "offline", "filter"}
        if self.method == "model":
            used |= {"upscale_model", "steps", "seed", "device", "dtype"}
        return frozenset(settings_of(type(self)).keys() - used)

    def _normalize(self, names: Collection[str]) -> None:
        super()._normalize(names)
        if self.by is not None and self.target_size is not None:
            raise UsageError(
                "Cannot combine by and target_size.", "Remove --by or --target-size.", settings=("by", "target_size")
            )
        # The device does not matter, a batch sets the seed, and `from_record` sets the rules of the prompt.
        ignored = {"device", "dtype", "long_prompt", "prompt_weights", "seed"}
        for name in non_default_settings(self):
            if name in self.unused_settings - ignored:
                option = "--upscaler" if name == "upscale_model" else f"--{name.replace('_', '-')}"
                other = "model" if name == "upscale_model" else "redraw"
                hint = f"Remove {option}" + ("." if self.method == other else f", or use --method {other}.")
                raise UsageError(
                    f"The method {self.method or 'lanczos'} does not support {name}.", hint, settings=(name, "method")
                )
