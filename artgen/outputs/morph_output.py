"""Write the frames of a morph as an animation with a record."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from PIL import Image

from artgen.errors import UsageError
from artgen.metadata.writing import record_xmp, sidecar_text, source_type
from artgen.outputs.animation import (
    ANIMATION_FORMATS,
    LAST_FRAME_EXTRA_SECONDS,
    encode_animation,
    fitted_size,
    require_encoder,
)
from artgen.outputs.animation_output import build_destination
from artgen.outputs.destination import Destination
from artgen.outputs.signatures import Signing, configured_signing


@dataclass(frozen=True)
class MorphOutput:
    """Store the destination and the encoding of the animation of a morph.

    Attributes:
        destination: destination of the file.
        fps: frames per second; None: a total of 4 s, at most 25 and at least 3 frames per second.
        quality: WebP quality, 1 to 100; 100 is lossless; None: 90.
        loop: whether the last frame is followed by the first. Otherwise the last frame is displayed longer.
        signing: how the file is signed; None: not at all.
    """

    destination: Destination
    fps: float | None
    quality: int | None
    loop: bool
    signing: Signing | None = None

    def check(self, record: Mapping[str, Any]) -> None:
        """Check before generating that `save` can succeed.

        Raises:
            RefusedError, OutputError: see `Destination.check_name`.
        """
        with_sidecar = self.destination.encoding.format != "webp"
        self.destination.check_name(record, stem="morph", with_sidecar=with_sidecar)

    def notes(self, size: tuple[int, int]) -> list[str]:
        """Return notes about frames of a width and a height in pixels: their scaling, and their compression."""
        kind = self.destination.encoding.format
        frame_size = fitted_size(size, kind)
        notes = []
        if frame_size != size:
            notes.append(
                f"The frames are scaled down to {frame_size[0]}x{frame_size[1]} in a {self.destination.suffix} file."
            )
        if kind != "webp" and self.quality is not None:
            notes.append(f"--quality has no effect on a {self.destination.suffix} file.")
        return notes

    def save(self, frames: Sequence[Image.Image], record: Mapping[str, Any]) -> Path:
        """Write the animation atomically, and return its path. GIF and MP4 files have a JSON sidecar.

        Raises:
            OutputError, RefusedError: see `Destination.save`.
        """
        kind = self.destination.encoding.format
        keys = record.get("keys") or [{}]
        packet = record_xmp(record, source_type(keys[0])) if kind == "webp" else None
        data = encode_animation(
            frames,
            kind,
            self.fps,
            hold_seconds=0.0 if self.loop else LAST_FRAME_EXTRA_SECONDS,
            quality=self.quality,
            xmp=packet,
        )
        if self.signing is not None:
            data = self.signing.sign(data, kind, keys[0], None)
        sidecar = None if packet is not None else sidecar_text(record)
        return self.destination.reserve_name(
            record, lambda path: self.destination.write(path, data, sidecar), stem="morph"
        )


def parse_morph_output(
    output: str, *, overwrite: bool, fps: float | None, quality: int | None, loop: bool, sign: bool | None = None
) -> MorphOutput | None:
    """Parse `--output` of a morph. Return None for a folder of single images.

    Raises:
        UsageError: the suffix is not that of an animation, the encoder is not installed, or an option does not fit.
        InputFileError, RefusedError: the file is signed, but the key is missing or cannot be used.
    """
    names = [part for part in PurePath(output).parts if part != PurePath(output).anchor]
    is_folder = output.endswith(("/", os.sep)) or Path(output).is_dir()
    suffix = PurePath(output).suffix
    kind = ANIMATION_FORMATS.get(suffix.lower())
    if is_folder:
        if fps is not None or quality is not None:
            raise UsageError("--fps and --quality need an animation.", "Use -o morph.webp, or omit them.")
        return None
    if kind is None or not names:
        raise UsageError(
            f"--output takes {', '.join(ANIMATION_FORMATS)} or a folder/, not '{output}'.", "-o morph.webp"
        )
    require_encoder(kind)
    destination = build_destination(names, PurePath(output).anchor, suffix, kind, overwrite, "--output")
    return MorphOutput(destination, fps, quality, loop, configured_signing(sign, "full"))
