"""`artgen img2img`."""

from artgen.cli.drawing import Delivery, draw
from artgen.cli.options import flattened
from artgen.cli.words import Words, sized, told
from artgen.settings import (
    Canvas,
    Compute,
    Frames,
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
def img2img(
    source: Source,
    prompt: Prompt,
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
    """Redraw a picture, guided by words.

    artgen img2img input.png "a blue fox" --strength 0.5
    """
    from artgen.requests import Img2Img

    pictures, prompt = told(words, source, prompt)
    groups = (source, prompt, sampling, sized(canvas, size), model, compute)
    draw(Img2Img, groups, series, sweep, Delivery(output, frames, report), pictures=pictures)
