"""Define the result of a request: an image or a failure."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from artgen.errors import ArtgenError, WrongSizeError
from artgen.spec.base_requests import Request
from artgen.spec.python_text import for_python, python_text
from artgen.spec.python_values import output_text, plain_value
from artgen.spec.settings import OutputSettings, validate
from artgen.system.memory_file import MEMORY_NAME, MemoryFile

if TYPE_CHECKING:
    from PIL import Image

    from artgen.outputs.save_result import SavedImage

MAX_PROMPT_CHARS_IN_REPR = 40

logger = logging.getLogger("artgen")


@dataclass(frozen=True, repr=False)
class GeneratedImage:
    """Represent a generated or denoised image.

    Attributes:
        image: Image of the requested size, mode RGB. Results of inpaint, outpaint and denoise have the mode, the
            transparency and the color profile (`image.info`) of the input file; results of img2img its transparency.
        record: Flat JSON record of the used values. `artgen.spec.records.from_record` converts it to a request.
        request: Complete request.
        low_bytes: Low bytes of a 16-bit image; `image` contains the high bytes. None for an 8-bit image.
        frames: Intermediate steps. The last frame is the image itself, in 8-bit sRGB. Empty if no frames were
            requested.
        notes: Notes of the call that generated the image, one sentence each.
        metrics: Difference of the noisy image (`before`) and of the image (`after`) from the reference of `denoise`:
            `psnr` in dB, `ssim` and `vae_feature_distance`. Empty without a reference.
        input_files: Files in memory that texts of the request name: control images, image prompts and references.
        seconds: Duration of the generation in seconds, without loading the model; None if it was not measured.
        latents: Latents of the first pass of hires fix in latent space, a tensor of shape (C, H/f, W/f); else None.
    """

    image: "Image.Image"
    record: dict[str, Any]
    request: Request
    low_bytes: "Image.Image | None" = None
    frames: "tuple[Image.Image, ...]" = ()
    notes: tuple[str, ...] = ()
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    input_files: tuple[MemoryFile, ...] = field(default=(), compare=False)
    seconds: float | None = field(default=None, compare=False)
    latents: Any = field(default=None, compare=False)
    _saved: "list[SavedImage]" = field(default_factory=list, compare=False, init=False)

    @property
    def seed(self) -> int | None:
        """Return the random seed; None for a method without random numbers."""
        return self.request.seed

    def save(
        self,
        path: "str | os.PathLike[str]" = "outputs/",
        *,
        format: Literal["png", "jpeg", "jpg", "webp"] | None = None,  # noqa: A002 - the option's name
        quality: int | None = None,
        png_level: int | None = None,
        metadata: Literal["full", "minimal", "none"] = "full",
        sign: bool | None = None,
        overwrite: bool = False,
        history: bool | None = None,
    ) -> Path:
        """Write the image with its record, and return the path.

        A record that the format cannot store is written to a JSON file beside the image. PNG stores all 16 bits of an
        image with 16 bits per channel. To save the same image again under the same name is not an error.

        Args:
            path: File, or folder (ends with `/` or exists) in which the image gets a new number. A text may contain
                the fields of `artgen.outputs.TEMPLATE_FIELDS`, such as `{seed}`.
            format: Format; None: the format of the suffix, else PNG.
            quality: JPEG and WebP quality, 1 to 100; 100 is lossless WebP. None: 95.
            png_level: PNG compression level, 0 to 9; None: the fastest.
            metadata: Metadata to embed: the record, only the mark of a generated image, or nothing.
            sign: Sign the file with a C2PA manifest; None: as configured, by default no.
            overwrite: Replace an existing file.
            history: Enter the image in the history of this computer; None: as configured, by default yes. Images
                without metadata have no entry.

        Raises:
            UsageError: An argument is invalid, or the format cannot store the image.
            OutputError: Another file with this name exists, or the file cannot be written.
            InputFileError: The file is signed, but the key is missing.
            RefusedError: The path is a symbolic link, or the key cannot be used.
        """
        from artgen.outputs.save_result import save_image

        with for_python():
            output = OutputSettings(
                output=output_text(path, "path"),
                format=format,
                quality=plain_value(quality),
                png_level=plain_value(png_level),
                metadata=metadata,
                sign=sign,
                overwrite=overwrite,
                history=history,
            )
            validate(output)
            saved = save_image(self.image, self.record, self.request, output, self.low_bytes, self.seconds)
        for note in saved.notes:
            logger.warning("%s", python_text(note))
        if saved.is_complete_png:
            self._saved.append(saved._replace(path=saved.path.absolute()))
        return saved.path

    def to_file(self) -> MemoryFile:
        """Return the PNG file that `save` writes, in memory. The name is the last name under which it was saved."""
        data = self._repr_png_()
        if not self._saved:
            return MemoryFile.create(MEMORY_NAME, data)
        return MemoryFile.create(self._saved[-1].path.name, self._saved[-1].content(data))

    def _repr_png_(self) -> bytes:
        """Return the image with its record as a PNG file, which notebooks show."""
        from artgen.outputs.encoding import EncodingOptions, encode_image

        return encode_image(self.image, self.record, EncodingOptions("png"), self.low_bytes)[0]

    def __repr__(self) -> str:
        prompt = str(getattr(self.request, "prompt", ""))
        short = prompt if len(prompt) <= MAX_PROMPT_CHARS_IN_REPR else f"{prompt[:MAX_PROMPT_CHARS_IN_REPR]}..."
        size = f"{self.image.width}x{self.image.height}"
        parts = [self.request.task, size, f"seed={self.seed}", *([repr(short)] if prompt else [])]
        return f"<GeneratedImage {' '.join(parts)}>"


@dataclass(frozen=True)
class FailedImage:
    """Represent a request that failed.

    Attributes:
        request: The request.
        error: The reason of the failure.
    """

    request: Request
    error: ArtgenError


def wrong_size_error(size: tuple[int, int], expected: tuple[int, int]) -> WrongSizeError:
    """Return the error for an image whose width and height in pixels are not the expected ones."""
    return WrongSizeError(
        f"The model generated {size[0]}x{size[1]} pixels instead of {expected[0]}x{expected[1]}.",
        "Choose another model. If the model is right, report this as a bug of artgen.",
    )
