"""`artgen txt2img`."""

from artgen.cli.drawing import Delivery, draw
from artgen.cli.options import flattened
from artgen.cli.words import read_prompt, sized
from artgen.errors import UsageError
from artgen.settings import Canvas, Compute, Frames, Model, Output, Prompt, Report, Sampling, Series, Size, Sweep


@flattened
def txt2img(
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
) -> None:
    """Draw a picture from words.

    artgen txt2img "a red fox in the snow" --steps 30
    """
    from artgen.requests import Txt2Img

    prompt = read_prompt(prompt)
    if not prompt.prompt.strip() and not any(text.startswith("prompt=") for text in sweep.sweep):
        raise UsageError("txt2img needs a prompt.", 'artgen txt2img "a red fox in the snow"')
    groups = (prompt, sampling, sized(canvas, size), model, compute)
    draw(Txt2Img, groups, series, sweep, Delivery(output, frames, report))
