"""`artgen inpaint`."""

from artgen.cli.drawing import draw, read_prompt, sized
from artgen.cli.options import flattened
from artgen.settings import Blend, Canvas, Compute, Mask, Model, Output, Prompt, Report, Sampling, Series, Size, Source


@flattened
def inpaint(
    source: Source,
    prompt: Prompt,
    mask: Mask,
    blend: Blend,
    series: Series,
    sampling: Sampling,
    canvas: Canvas,
    size: Size,
    model: Model,
    compute: Compute,
    output: Output,
    report: Report,
) -> None:
    """Repaint the part of a picture that a mask marks white; the rest stays byte for byte.

    artgen inpaint input.png --mask mask.png "a hat"
    """
    from artgen.requests import Inpaint

    prompt = read_prompt(prompt)
    canvas = sized(canvas, size)
    groups = (source, prompt, mask, blend, sampling, canvas, model, compute)
    draw(lambda seed: Inpaint.of(*groups, seed=seed), series, output, report)
