"""Pictures one after the other, as the bytes of an animation or of numbered files."""

import importlib.util
import io
from collections.abc import Sequence

from PIL import Image

from artgen.errors import OutputError, UsageError
from artgen.outputs.png import encode_png

FOLDER_FORMAT = "folder"
ANIMATION_FORMATS = {".gif": "gif", ".webp": "webp", ".mp4": "mp4"}
"""Suffixes of animations; anything else is a folder."""

MAX_SIDE_PX = {"gif": 512, "webp": 1024, "mp4": 4096}
"""Pixels of the longer side; larger pictures are scaled down. GIF keeps every pixel of noise, at a byte each."""

DEFAULT_SECONDS = 4.0
"""How long an animation takes when nothing else is said."""

MAX_FPS, MIN_FPS = 25.0, 3.0
"""Frames a second, at most and at least, when nothing else is said."""

LAST_FRAME_EXTRA_SECONDS = 1.5
"""Seconds that the last frame stays longer than the others."""


def require_encoder(kind: str) -> None:
    """Refuses, before anything is drawn, a format whose encoder is not installed.

    Raises:
        UsageError: with the command that installs it.
    """
    if kind == "mp4" and importlib.util.find_spec("av") is None:
        raise UsageError("An .mp4 file needs PyAV.", 'pip install "artgen[video]", or name a .gif or .webp file.')


def fitted_size(size: tuple[int, int], kind: str) -> tuple[int, int]:
    """Width and height in pixels at which pictures of `size` are shown in an animation of this kind."""
    factor = min(1.0, MAX_SIDE_PX.get(kind, max(size)) / max(size))
    width, height = (max(1, round(side * factor)) for side in size)
    return width, height


def encode_animation(frames: Sequence[Image.Image], kind: str, fps: float | None) -> bytes:
    """The whole file.

    Args:
        frames: one or more of any mode, all of one size; the last is held longer.
        kind: gif, webp or mp4.
        fps: frames a second, above 0; None makes the frames take four seconds, within 3 to 25 a second.

    Raises:
        OutputError: the encoder failed.
    """
    rate = fps or min(MAX_FPS, max(MIN_FPS, len(frames) / DEFAULT_SECONDS))
    size = fitted_size(frames[0].size, kind)
    shown = [frame.convert("RGB") for frame in frames]
    shown = [frame if frame.size == size else frame.resize(size, Image.Resampling.LANCZOS) for frame in shown]
    milliseconds = round(1000 / rate)
    durations = [milliseconds] * (len(shown) - 1) + [milliseconds + round(1000 * LAST_FRAME_EXTRA_SECONDS)]
    try:
        if kind == "gif":
            return _encode_gif(shown, durations)
        return _encode_webp(shown, durations) if kind == "webp" else _encode_mp4(shown, rate)
    except (OSError, ValueError) as error:
        raise OutputError(f"The frames cannot be written as {kind}: {error}.", "Use a folder/ of PNG files.") from error


def encode_png_frames(frames: Sequence[Image.Image]) -> dict[str, bytes]:
    """`0001.png`, `0002.png` ... and their bytes; nothing is lost."""
    return {f"{number:04}.png": encode_png(frame, {}) for number, frame in enumerate(frames, 1)}


def quantize_frame(frame: Image.Image) -> Image.Image:
    """A picture (mode RGB) as GIF holds it, in a palette of its own; dithering would make files large."""
    return frame.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def _encode_gif(frames: Sequence[Image.Image], durations: list[int]) -> bytes:
    first, *rest = [quantize_frame(frame) for frame in frames]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=False, disposal=1)
    return buffer.getvalue()


def _encode_webp(frames: Sequence[Image.Image], durations: list[int]) -> bytes:
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "WEBP", save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=90, method=4
    )
    return buffer.getvalue()


def _encode_mp4(frames: Sequence[Image.Image], fps: float) -> bytes:
    """H.264 as every player takes it: 4:2:0 and even sides, so a last odd row or column is shown twice."""
    from fractions import Fraction

    import av

    codec = next((name for name in ("libx264", "libopenh264", "mpeg4") if name in av.codecs_available), None)
    if codec is None:
        raise OSError("this PyAV has no encoder for it")
    buffer = io.BytesIO()
    width, height = (side + side % 2 for side in frames[0].size)
    exact = Fraction(fps).limit_denominator(1000)
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=exact)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "16", "preset": "medium"}
        for frame in [*frames, *[frames[-1]] * round(LAST_FRAME_EXTRA_SECONDS * fps)]:
            even = Image.new("RGB", (width, height))
            even.paste(frame.resize((width, height), Image.Resampling.NEAREST))
            even.paste(frame)
            container.mux(stream.encode(av.VideoFrame.from_image(even)))  # type: ignore[no-untyped-call]
        container.mux(stream.encode(None))
    return buffer.getvalue()
