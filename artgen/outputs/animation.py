"""Encode frames as an animation or as numbered PNG files."""

import importlib.util
import io
from collections.abc import Sequence

from PIL import Image

from artgen.errors import OutputError, UsageError
from artgen.images import convert_to_srgb
from artgen.images.derived import derived_save_args
from artgen.outputs.png import encode_png

FOLDER_FORMAT = "folder"
ANIMATION_FORMATS = {".gif": "gif", ".webp": "webp", ".mp4": "mp4"}
"""Animation formats by file suffix. A target with another suffix must be a folder."""

MAX_SIDE_PX = {"gif": 512, "webp": 1024, "mp4": 4096}
"""Longest side by format; larger frames are scaled down. GIF needs about one byte per pixel of a noisy frame."""

DEFAULT_SECONDS = 4.0
"""Duration of an animation without `--fps`, excluding the extra time of the last frame."""

MAX_FPS, MIN_FPS = 25.0, 3.0
"""Limits of the frame rate without `--fps`."""

WEBP_QUALITY, LOSSLESS_QUALITY = 90, 100

LAST_FRAME_EXTRA_SECONDS = 1.5
"""Additional display time of the last frame."""


def require_encoder(kind: str) -> None:
    """Check that the encoder of a format is installed.

    Raises:
        UsageError: The encoder is missing; the hint is the command that installs it.
    """
    if kind == "mp4" and importlib.util.find_spec("av") is None:
        raise UsageError(
            "Cannot write .mp4 files: PyAV is not installed.",
            'Run `pip install "artgen[video]"`, or use a .gif or .webp file.',
        )


def fitted_size(size: tuple[int, int], kind: str) -> tuple[int, int]:
    """Return the frame width and height in pixels for images of `size` in this animation format."""
    factor = min(1.0, MAX_SIDE_PX.get(kind, max(size)) / max(size))
    width, height = (max(1, round(side * factor)) for side in size)
    return width, height


def encode_animation(
    frames: Sequence[Image.Image],
    kind: str,
    fps: float | None,
    *,
    hold_seconds: float = LAST_FRAME_EXTRA_SECONDS,
    quality: int | None = None,
    xmp: bytes | None = None,
) -> bytes:
    """Return the bytes of an animation file.

    Args:
        frames: one or more images of one size and any mode.
        kind: `gif`, `webp` or `mp4`.
        fps: frames per second, > 0. None selects a total of 4 s, limited to 3 to 25 frames per second.
        hold_seconds: additional display time of the last frame.
        quality: WebP quality, 1 to 100; 100 is lossless. None: 90.
        xmp: XMP packet of a WebP file; None: only the mark of a derived image.

    Raises:
        OutputError: The encoder failed.
    """
    rate = fps or min(MAX_FPS, max(MIN_FPS, len(frames) / DEFAULT_SECONDS))
    size = fitted_size(frames[0].size, kind)
    resized = [convert_to_srgb(frame)[0].convert("RGB") for frame in frames]  # players ignore color profiles
    resized = [frame if frame.size == size else frame.resize(size, Image.Resampling.LANCZOS) for frame in resized]
    milliseconds = round(1000 / rate)
    durations = [milliseconds] * (len(resized) - 1) + [milliseconds + round(1000 * hold_seconds)]
    try:
        if kind == "gif":
            return _encode_gif(resized, durations)
        if kind == "webp":
            return _encode_webp(resized, durations, quality or WEBP_QUALITY, xmp)
        return _encode_mp4(resized, rate, hold_seconds)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"Cannot encode the frames as {kind}: {error}.", "Use a folder, such as --frames frames/."
        ) from error


def encode_png_frames(frames: Sequence[Image.Image]) -> dict[str, bytes]:
    """Return lossless PNG files by name: `0001.png`, `0002.png` ..."""
    return {f"{number:04}.png": encode_png(frame, derived_save_args("png")) for number, frame in enumerate(frames, 1)}


def quantize_frame(frame: Image.Image) -> Image.Image:
    """Return an RGB image with its own palette of 256 colors. Dithering is off because it enlarges the file."""
    return frame.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def _encode_gif(frames: Sequence[Image.Image], durations: list[int]) -> bytes:
    first, *rest = [quantize_frame(frame) for frame in frames]
    buffer = io.BytesIO()
    options = {"duration": durations, "loop": 0, "optimize": False, "disposal": 1, **derived_save_args("gif")}
    first.save(buffer, "GIF", save_all=True, append_images=rest, **options)
    return buffer.getvalue()


def _encode_webp(frames: Sequence[Image.Image], durations: list[int], quality: int, xmp: bytes | None) -> bytes:
    buffer = io.BytesIO()
    options = {"duration": durations, "loop": 0, "method": 4, **derived_save_args("webp")}
    options |= {"lossless": True} if quality == LOSSLESS_QUALITY else {"quality": quality}
    options |= {} if xmp is None else {"xmp": xmp}
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], **options)
    return buffer.getvalue()


def _encode_mp4(frames: Sequence[Image.Image], fps: float, hold_seconds: float) -> bytes:
    """Encode H.264 with 4:2:0 chroma, which all players support and which needs even sides: repeat an odd last row."""
    from fractions import Fraction

    import av

    codec = next((name for name in ("libx264", "libopenh264", "mpeg4") if name in av.codecs_available), None)
    if codec is None:
        raise OSError("PyAV has no H.264 or MPEG-4 encoder")
    buffer = io.BytesIO()
    width, height = (side + side % 2 for side in frames[0].size)
    exact_fps = Fraction(fps).limit_denominator(1000)
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=exact_fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "16", "preset": "medium"}
        for frame in [*frames, *[frames[-1]] * round(hold_seconds * fps)]:
            padded = Image.new("RGB", (width, height))
            padded.paste(frame.resize((width, height), Image.Resampling.NEAREST))
            padded.paste(frame)
            container.mux(stream.encode(av.VideoFrame.from_image(padded)))  # type: ignore[no-untyped-call]
        container.mux(stream.encode(None))
    return buffer.getvalue()
