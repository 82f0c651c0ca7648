"""`artgen inpaint`."""

from artgen.cli.drawing import Delivery, draw
from artgen.cli.options import flattened
from artgen.cli.words import Words, sized, told
from artgen.settings import (
    Blend,
    Canvas,
    Compute,
    Frames,
    Mask,
    Model,
    Output,
    Prompt,
    Report,
    Sampling,
    Series,
    Size,
    Source,
    Sweep,
)


@flattened
def inpaint(
    source: Source,
    prompt: Prompt,
    mask: Mask,
    blend: Blend,
    series: Series,
    sweep: Sweep,
    sampling: Sampling,
    canvas: Canvas,
    size: Size,
    model: Model,
    compute: Compute,
    output: Output,
    frames: Frames,
    report: Report,
    words: Words = None,
) -> None:
    """Repaint the part of a picture that a mask marks white; the rest stays byte for byte.

    artgen inpaint input.png --mask mask.png "a hat"
    """
    from artgen.requests import Inpaint

    pictures, prompt = told(words, source, prompt)
    groups = (source, prompt, mask, blend, sampling, sized(canvas, size), model, compute)
    draw(Inpaint, groups, series, sweep, Delivery(output, frames, report), pictures=pictures)
