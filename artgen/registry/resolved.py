"""A model that is on the disk: what it is, what it can draw, and how to use it unless told otherwise."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from artgen.registry import diffusers_folder, hashes


@dataclass(frozen=True)
class ResolvedModel:
    """A model found on the disk, with the defaults that hold for it.

    Attributes:
        name: as recorded (`sd15`, `owner/name`, or the path as typed).
        path: its folder in diffusers' layout, or a single safetensors file.
        is_file: whether `path` is a single file (load with `single_file_config`).
        architecture: sd1, sd2, sdxl, sd3, flux, pixel (an unconditional model of pixels) or other.
        pipeline: diffusers' text-to-image (or the folder's own) pipeline class.
        revision: commit hash of a hub model, else None.
        variant: "fp16" when some component has no other weights, else None; pass it to `from_pretrained`.
        native_size: (width, height) in pixels it was trained for.
        size_multiple: width and height must be divisible by this many pixels.
        steps, guidance_scale, scheduler, sigmas: defaults; None is the model's own.
        unet_channels: input channels of the denoiser; 9 is an inpainting UNet.
        latent_channels: channels of the VAE's latents.
        is_flow_matching: made for flow matching (its scheduler is a FlowMatch one).
        max_prompt_tokens: tokens of the first tokenizer, including the two it adds; None when unknown.
        source: where it came from, fit for a record: hub id, `bundled:NAME`, or the folder's or file's own name.
        prediction: the scheduler's prediction type ("epsilon", "v_prediction", "sample"; "flow" for flow matching).
    """

    name: str
    path: Path
    is_file: bool
    architecture: str
    pipeline: str
    revision: str | None = None
    variant: str | None = None
    native_size: tuple[int, int] = (512, 512)
    size_multiple: int = 8
    steps: int = 30
    guidance_scale: float = 7.5
    scheduler: str | None = None
    sigmas: str | None = None
    unet_channels: int = 4
    latent_channels: int = 4
    is_flow_matching: bool = False
    max_prompt_tokens: int | None = None
    prediction: str = "epsilon"
    source: str = ""
    license: str = "unknown"
    description: str = ""

    @property
    def is_inpainting(self) -> bool:
        """Whether the denoiser takes a mask and the masked picture as further channels (SD's 4 + 1 + 4)."""
        return self.unet_channels == 2 * self.latent_channels + 1

    @property
    def short_name(self) -> str:
        """A short name for file names and A1111's `Model:` field: alias, repository name or file stem."""
        return (
            self.path.stem if self.is_file else self.name.rstrip("/").replace("\\", "/").rpartition("/")[2] or self.name
        )

    def weight_files(self) -> tuple[Path, ...]:
        """The main weights: the denoiser's files, or the single file."""
        if self.is_file:
            return (self.path,)
        chosen = diffusers_folder.select_weights(self.path)[1]
        main = chosen.get(diffusers_folder.denoiser_name(self.path))
        return main.files if main else ()

    def weight_bytes(self) -> int:
        """What `weights` take on the disk; looked up once."""
        return _weight_bytes(self)

    def provenance(self) -> dict[str, Any]:
        """What a picture's record says of its model beside the name; hashes the weights, once for each file."""
        facts = {
            "model_source": self.source,
            "model_revision": self.revision,
            "model_variant": self.variant,
            "model_hash": self.model_hash(),
            "architecture": self.architecture,
        }
        return {key: value for key, value in facts.items() if value}

    def model_hash(self) -> str:
        """SHA-256 of the main weights, 64 lower-case hex digits; see `hashes.model_hash`."""
        return hashes.model_hash(self.weight_files())


@lru_cache(maxsize=8)
def _weight_bytes(model: ResolvedModel) -> int:
    return sum(path.stat().st_size for path in model.weight_files())
