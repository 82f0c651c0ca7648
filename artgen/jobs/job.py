"""Define the jobs. A job contains everything that the engine needs to generate one image."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageChops, ImageOps

from artgen import images, registry
from artgen.jobs import prompt_chunks
from artgen.jobs.control import ControlInput
from artgen.jobs.image_prompts import ImagePromptInput
from artgen.jobs.output_filters import NO_FILTERS, JobFilters
from artgen.jobs.size import pipeline_size
from artgen.jobs.text_mask_input import TextMaskInput
from artgen.registry.embeddings import EmbeddingRequest
from artgen.registry.lora import LoraRequest
from artgen.registry.score_models import ScoreModel
from artgen.registry.upscalers import Upscaler
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.hires import HiresSpec, parse_hires
from artgen.spec.requests import Sample
from artgen.spec.restoration_requests import Denoise, Upscale
from artgen.spec.settings import MAX_BATCH_SIZE


@dataclass(frozen=True, kw_only=True)
class Job:
    """Store the data of a job of any task.

    Attributes:
        request: complete request; all settings that the task needs are set.
        size: width and height of the result in pixels.
        provenance: values for the record in addition to the settings.
        notes: notes for the user.
        loras: LoRAs, in the order of the request.
        filters: output filters.
    """

    request: Request
    size: tuple[int, int]
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    loras: tuple[LoraRequest, ...] = ()
    filters: JobFilters = NO_FILTERS

    @property
    def width(self) -> int:
        """Return the width of the result in pixels."""
        return self.size[0]

    @property
    def height(self) -> int:
        """Return the height of the result in pixels."""
        return self.size[1]

    @property
    def has_transparency(self) -> bool:
        """Return whether the result has pixels that are not opaque."""
        return False

    @property
    def group_key(self) -> tuple[Any, ...]:
        """Return a value that is equal for jobs that one pipeline call can process."""
        return self.request.group_key(), self.size


@dataclass(frozen=True, kw_only=True)
class PipelineJob(Job):
    """Represent a job that runs a diffusers pipeline.

    Attributes:
        request: complete request.
        model: resolved model.
    """

    request: PromptRequest | Sample
    model: registry.ResolvedModel

    @property
    def max_batch_size(self) -> int:
        """Return the largest number of images per pipeline call."""
        entry = self.model.pipeline_entry
        # A pipeline uses all its reference images for each image of a batch, and crops only one image.
        is_single = self.request.task in entry.no_strength or getattr(self.request, "only_masked", None) is not None
        return 1 if is_single else entry.max_batch_size or MAX_BATCH_SIZE


@dataclass(frozen=True, kw_only=True)
class SampleJob(PipelineJob):
    """Represent a job that generates an image from noise without a prompt.

    Attributes:
        request: complete request.
        class_number: class of a class-conditional model, from 0; None for an unconditional model.
    """

    request: Sample
    class_number: int | None = None


@dataclass(frozen=True, kw_only=True)
class GenerationJob(PipelineJob):
    """Represent a job that runs a diffusers pipeline with a prompt.

    Attributes:
        request: complete request.
        image: input image, RGB, in the size of the result (outpaint: the extended canvas); None for txt2img.
        source: all channels and bits of the input image in the same size, for the result; None if `image` has all of
            them.
        references: reference images of an edit, RGB, in the sizes of the files.
        mask: mask of the same size, mode L, 255 where the image is repainted; None if nothing is masked.
        strength_map: strength of each pixel for a soft mask, same size, mode L, 0 to 255; None for other masks.
        text_mask: what the computation of the mask needs; None if the mask is known, or if nothing is masked.
        embeddings: embeddings (textual inversions), in the order of the request.
        extras: downloaded parts of the approximations of `--fast`, by name of the approximation.
        controls: control images, in the order of the request.
        image_prompts: image prompts, in the order of the request.
        score_model: CLIP model that scores the images; None without one.
        upscaler: network that enlarges the first result; None for another method or without hires fix.
        keeps_latents: whether the result contains the latents, for a second pass.
        latents: latents that img2img noises instead of `image`, a tensor of shape (C, H/f, W/f); None for other tasks.
    """

    request: PromptRequest
    image: Image.Image | None = None
    source: images.LosslessImage | None = None
    references: tuple[Image.Image, ...] = ()
    mask: Image.Image | None = None
    strength_map: Image.Image | None = None
    text_mask: TextMaskInput | None = None
    embeddings: tuple[EmbeddingRequest, ...] = ()
    extras: Mapping[str, registry.HubFiles] = field(default_factory=dict)
    controls: tuple[ControlInput, ...] = ()
    image_prompts: tuple[ImagePromptInput, ...] = ()
    score_model: ScoreModel | None = None
    upscaler: Upscaler | None = None
    keeps_latents: bool = False
    latents: Any = field(default=None, compare=False)

    @property
    def max_batch_size(self) -> int:
        """Return the largest number of images per pipeline call."""
        # diffusers passes the modes of several union nets of Flux to one image only.
        has_modes = any(
            control.net.class_name == "FluxControlNetModel" and control.net.modes for control in self.controls
        )
        return 1 if has_modes and len(self.controls) > 1 and self.request.task != "txt2img" else super().max_batch_size

    @property
    def group_key(self) -> tuple[Any, ...]:
        """Return a value that is equal for jobs that one pipeline call can process."""
        return *super().group_key, *prompt_chunks.group_key(self.request, self.model)

    @property
    def strength(self) -> float | None:
        """Return the amount of change of the input image, 0 to 1; None for txt2img."""
        return getattr(self.request, "strength", None)

    @property
    def has_transparency(self) -> bool:
        """Return whether the result has pixels that are not opaque."""
        return self.source is not None and images.has_transparency(self.source.image)

    @property
    def pasted_mask(self) -> Image.Image | None:
        """Return the mask outside which the input image is kept; None if all pixels are generated."""
        return self.mask if getattr(self.request, "keep_original", True) else None

    @property
    def canvas_mask(self) -> Image.Image | None:
        """Return a mask that is 255 on the pixels that outpaint adds and 0 on the input image; None for other tasks."""
        if self.mask is None or self.request.task != "outpaint":
            return None
        return self.mask.point(lambda value: 255 * (value == 255))

    @property
    def original_size(self) -> tuple[int, int] | None:
        """Return the size of the image that outpaint extends, in pixels; None for other tasks."""
        box = ImageOps.invert(self.canvas_mask).getbbox() if self.canvas_mask else None
        return box and (box[2] - box[0], box[3] - box[1])

    @property
    def padded_size(self) -> tuple[int, int]:
        """Return the size of the result, rounded up to a size that the model supports."""
        multiple = self.model.size_multiple
        return self.width + -self.width % multiple, self.height + -self.height % multiple

    @property
    def crop_padding(self) -> int | None:
        """Return the margin in pixels of the masked area that `only_masked` crops; None if the image is not cropped."""
        padding: int | None = getattr(self.request, "only_masked", None)
        return padding

    @property
    def pipeline_size(self) -> tuple[int, int]:
        """Return the width and height in pixels at which the pipeline runs."""
        return pipeline_size(self.request, self.model, self.padded_size)

    @property
    def hires(self) -> HiresSpec | None:
        """Return the enlargement of the first result by hires fix; None without it."""
        text: str | None = getattr(self.request, "hires", None)
        return None if text is None else parse_hires(text)

    @property
    def decoded_size(self) -> tuple[int, int]:
        """Return the width and height in pixels of the image that the pipeline returns."""
        return self.padded_size if self.crop_padding is None else self.size

    @property
    def filled_image(self) -> Image.Image | None:
        """Return the input image with the content of the masked area that `fill` selects; None for txt2img."""
        fill = getattr(self.request, "fill", "original")
        if self.image is None or self.mask is None or fill == "original":
            return self.image
        return images.fill_masked(self.image, self.mask, fill, int(self.request.seed or 0))

    @property
    def padded_image(self) -> Image.Image | None:
        """Return the filled input image, extended to `padded_size` by reflection; None for txt2img."""
        image = self.filled_image
        return None if image is None else images.pad_to_multiple(image, self.model.size_multiple)[0]

    @property
    def padded_mask(self) -> Image.Image | None:
        """Return the mask, extended to `padded_size` by reflection. Pixels that are partly repainted are 255."""
        mask = self.binary_mask
        return None if mask is None else images.pad_to_multiple(mask, self.model.size_multiple)[0]

    @property
    def binary_mask(self) -> Image.Image | None:
        """Return the mask with the values 0 and 255. Pixels that are partly repainted are 255."""
        return None if self.mask is None else self.canvas_mask or images.repainted_pixels(self.mask)

    @property
    def padded_strengths(self) -> Image.Image | None:
        """Return the strength of each pixel, mode L, extended to `padded_size` by reflection; None without a mask.

        Without a soft mask, the values are 0 and 255.
        """
        if self.padded_mask is None or self.strength_map is None or self.binary_mask is None:
            return self.padded_mask
        strengths = ImageChops.darker(self.strength_map, self.binary_mask)
        return images.pad_to_multiple(strengths, self.model.size_multiple)[0]


@dataclass(frozen=True, kw_only=True)
class DenoiseJob(Job):
    """Represent a job that removes noise from an image.

    Attributes:
        request: complete request.
        image: noisy image, mode L, LA, RGB or RGBA, with the color profile, resolution and EXIF data of the result in
            `image.info`; see `artgen.images.LosslessImage`.
        low_bytes: low bytes of an image with 16 bits per channel, in the same mode; None for 8 bits.
        model: resolved model; None for the classical methods.
    """

    request: Denoise
    image: Image.Image
    low_bytes: Image.Image | None = None
    model: registry.ResolvedModel | None = None

    @property
    def has_transparency(self) -> bool:
        """Return whether the result has pixels that are not opaque."""
        return images.has_transparency(self.image)


@dataclass(frozen=True, kw_only=True)
class UpscaleJob(Job):
    """Represent a job that enlarges an image.

    Attributes:
        request: complete request.
        source: input image with all its bits, before the enlargement.
        tile: img2img job of a tile, without the image of the tile; None if no diffusion model is used.
        upscaler: upscaling network; None for the other methods.
    """

    request: Upscale
    source: images.LosslessImage
    tile: GenerationJob | None = None
    upscaler: Upscaler | None = None

    @property
    def model(self) -> registry.ResolvedModel | None:
        """Return the diffusion model; None for the other methods."""
        return None if self.tile is None else self.tile.model

    @property
    def has_transparency(self) -> bool:
        """Return whether the result has pixels that are not opaque."""
        return images.has_transparency(self.source.image)

    @property
    def needs_torch(self) -> bool:
        """Return whether a network is used. Otherwise the image is only resampled."""
        return self.request.method == "model" or (self.request.is_redraw and self.request.strength != 0)
