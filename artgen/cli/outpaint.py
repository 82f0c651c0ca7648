"""`artgen outpaint`."""

from artgen.cli.drawing import Delivery, draw
from artgen.cli.options import flattened
from artgen.cli.words import Words, told
from artgen.settings import (
    Blend,
    Compute,
    Expansion,
    Frames,
    Model,
    Output,
    Prompt,
    Report,
    Sampling,
    Series,
    Source,
    Sweep,
)


@flattened
def outpaint(
    source: Source,
    prompt: Prompt,
    expansion: Expansion,
    blend: Blend,
    series: Series,
    sweep: Sweep,
    sampling: Sampling,
    model: Model,
    compute: Compute,
    output: Output,
    frames: Frames,
    report: Report,
    words: Words = None,
) -> None:
    """Extend a picture beyond its edges; the picture itself stays byte for byte.

    artgen outpaint input.png --expand 64 "a meadow"
    """
    from artgen.requests import Outpaint

    pictures, prompt = told(words, source, prompt)
    groups = (source, prompt, expansion, blend, sampling, model, compute)
    draw(Outpaint, groups, series, sweep, Delivery(output, frames, report), pictures=pictures)
