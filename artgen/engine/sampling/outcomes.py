"""Convert the decoded images of a pipeline call to results with records."""

import importlib.metadata
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from artgen import images
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.results import FailedImage, GeneratedImage, wrong_size_error
from artgen.engine.sampling.frames import StepRecorder
from artgen.engine.sampling.nan_guard import DecodedBatch, NanGuard
from artgen.errors import FilteredError
from artgen.events import Decoding, Listener, Notice
from artgen.jobs.job import GenerationJob
from artgen.jobs.output_filters import RECORD_FIELD, JobFilters, filtered_error
from artgen.spec.prompt_filter import note_text
from artgen.spec.records import WRITER_FIELDS, to_record


@dataclass(frozen=True)
class BatchOutput:
    """Store the output of a pipeline call.

    Attributes:
        decoded: Decoded images.
        nan_guard: Checks of the latents.
        device_config: Device and precision of the call.
        provenance: Facts for the records that the images share.
        resolved_settings: Settings whose values were selected for the call.
        recorder: Recorded steps. None: no frames were requested.
        listener: Receives an event for each decoded frame.
    """

    decoded: DecodedBatch
    nan_guard: NanGuard
    device_config: DeviceConfig
    provenance: dict[str, Any]
    resolved_settings: dict[str, Any]
    recorder: StepRecorder | None
    listener: Listener

    def outcome(self, index: int, job: GenerationJob, provenance: dict[str, Any]) -> GeneratedImage | FailedImage:
        """Return the finished image with its record, or its failure.

        Args:
            index: Position of the image in the batch.
            job: Job of the image.
            provenance: Facts for the record of this image. Empty facts are left out.
        """
        pixels = self.decoded.pixels[index]
        if not self.nan_guard.finite[index] or not np.isfinite(pixels).all():
            return FailedImage(job.request, self.nan_guard.nonfinite_error(index, self.device_config))
        is_flagged = self.decoded.filtered[index]
        if is_flagged and job.filters.checker_refuses:
            return FailedImage(job.request, _filtered_error(job.filters))
        if is_flagged:
            self.listener(Notice(note_text(job.filters.checker_policies[0], "the model's safety checker flagged it")))
        checked = {RECORD_FIELD: job.filters.checker_results(is_flagged=is_flagged)}
        facts = {**job.provenance, **self.provenance, **_package_versions(job), **provenance, **checked}
        facts = {name: value for name, value in facts.items() if value not in (None, "", [])}
        request = job.request.replace(**self.resolved_settings)
        decoded = Image.fromarray((opaque(pixels) * 255).round().astype(np.uint8), "RGB")
        if decoded.size != job.decoded_size:  # Later the image is cropped to the size of the job.
            return FailedImage(job.request, wrong_size_error(decoded.size, job.decoded_size))
        image = _postprocess(decoded, job)
        final, low_bytes = _restore_source(decoded, image, job)
        latents = self.nan_guard.last_latents
        generated = GeneratedImage(
            final,
            to_record(request, facts),
            request,
            low_bytes,
            latents=latents[index] if job.keeps_latents and latents is not None else None,
        )
        if self.recorder is None:
            return generated
        return replace(generated, frames=self._frames(self.recorder, index, job, image))

    def _frames(
        self, recorder: StepRecorder, index: int, job: GenerationJob, image: Image.Image
    ) -> tuple[Image.Image, ...]:
        def postprocess(frame: Image.Image, keep_original: bool) -> Image.Image:
            self.listener(Decoding())  # Ctrl-C is handled between frames
            return _postprocess(frame, job, keep_original)

        return recorder.frames(index, job, image, postprocess)


def unchanged_image(job: GenerationJob, *, with_frames: bool) -> GeneratedImage:
    """Return the input image of a job with strength 0, with its mode, bits per channel and color profile.

    The image of outpaint has the enlarged canvas, without a repainted border. No model is used.

    Args:
        job: Job with an input image.
        with_frames: Whether the result has frames: only the image itself.

    Raises:
        ValueError: The job has no input image.
    """
    if job.image is None:
        raise ValueError("a job without an input image has no strength")
    facts = {**job.provenance, **WRITER_FIELDS}
    record = to_record(job.request, {name: value for name, value in facts.items() if value not in (None, "", [])})
    frames = (job.image,) if with_frames else ()
    if job.source is None:
        return GeneratedImage(job.image, record, job.request, frames=frames)
    source = job.source
    if job.canvas_mask is not None:
        source = images.paste_generated(source, job.image, job.canvas_mask)
    return GeneratedImage(source.image, record, job.request, source.low_bytes, frames)


def _package_versions(job: GenerationJob) -> dict[str, str]:
    """Return the version of scikit-image if it prepared the input image."""
    if getattr(job.request, "fill", None) != "biharmonic":
        return {}
    return {"scikit-image": importlib.metadata.version("scikit-image")}


def _filtered_error(filters: JobFilters) -> FilteredError:
    if filters.uses_checker:
        policy = next(each for each in filters.checker_policies if each.refuses)
        return filtered_error(policy, "the model's safety checker flagged it", "Try another --seed or prompt.")
    return FilteredError(
        "Cannot write the image: the safety filter of the model withheld it.",
        "Try another --seed or prompt. Use --no-safety-checker where that is appropriate.",
    )


def opaque(pixels: np.ndarray) -> np.ndarray:
    """Return pixels (H, W, 3) of decoded pixels (H, W, 3 or 4), 0 to 1. Transparent pixels are blended with white."""
    if pixels.shape[-1] == 3:
        return pixels
    alpha = pixels[..., 3:]
    blended: np.ndarray = pixels[..., :3] * alpha + (1 - alpha)
    return blended


def _postprocess(image: Image.Image, job: GenerationJob, keep_original: bool = True) -> Image.Image:
    """Remove the padding. With `keep_original`, restore the pixels outside the mask."""
    if job.image is None:
        return image
    image = image.crop((0, 0, job.width, job.height))
    if keep_original and (mask := job.pasted_mask) is not None:
        return images.composite(job.image, image, mask)
    return image


def _restore_source(
    decoded: Image.Image, image: Image.Image, job: GenerationJob
) -> tuple[Image.Image, Image.Image | None]:
    """Return the image, and its low bytes for 16 bits per channel, with the properties of the input image.

    inpaint and outpaint keep the gray mode, the transparency, the bits per channel and the color profile; img2img keeps
    the transparency.

    Args:
        decoded: output of the model.
        image: the same image without padding, composited in 8-bit sRGB.
        job: job of the image.
    """
    if job.source is None:
        return image, None
    if job.mask is None:
        return images.with_alpha_of(image, job.source.image), None
    generated = decoded.crop((0, 0, job.width, job.height))
    mask = job.pasted_mask or Image.new("L", job.size, 255)
    restored = images.paste_generated(job.source, generated, mask)
    return restored.image, restored.low_bytes
