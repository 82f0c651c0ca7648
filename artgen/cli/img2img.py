"""`artgen img2img`."""

from artgen.cli.drawing import draw, read_prompt, sized
from artgen.cli.options import flattened
from artgen.settings import Canvas, Compute, Model, Output, Prompt, Report, Sampling, Series, Size, Source


@flattened
def img2img(
    source: Source,
    prompt: Prompt,
    series: Series,
    sampling: Sampling,
    canvas: Canvas,
    size: Size,
    model: Model,
    compute: Compute,
    output: Output,
    report: Report,
) -> None:
    """Redraw a picture, guided by words.

    artgen img2img input.png "a blue fox" --strength 0.5
    """
    from artgen.requests import Img2Img

    prompt = read_prompt(prompt)
    canvas = sized(canvas, size)
    draw(lambda seed: Img2Img.of(source, prompt, sampling, canvas, model, compute, seed=seed), series, output, report)
