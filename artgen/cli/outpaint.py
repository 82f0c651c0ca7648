"""`artgen outpaint`."""

from artgen.cli.drawing import draw, read_prompt
from artgen.cli.options import flattened
from artgen.settings import Blend, Compute, Expansion, Model, Output, Prompt, Report, Sampling, Series, Source


@flattened
def outpaint(
    source: Source,
    prompt: Prompt,
    expansion: Expansion,
    blend: Blend,
    series: Series,
    sampling: Sampling,
    model: Model,
    compute: Compute,
    output: Output,
    report: Report,
) -> None:
    """Extend a picture beyond its edges; the picture itself stays byte for byte.

    artgen outpaint input.png --expand 64 "a meadow"
    """
    from artgen.requests import Outpaint

    prompt = read_prompt(prompt)
    groups = (source, prompt, expansion, blend, sampling, model, compute)
    draw(lambda seed: Outpaint.of(*groups, seed=seed), series, output, report)
