"""Define the command `artgen prompt`."""

import io
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from artgen.cli.console import print_note, print_result
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import read_prompt
from artgen.events import note_listener
from artgen.spec.settings import LoraSettings, PromptSettings, SeedSettings, StepsSettings
from artgen.system.counts import counted
from artgen.system.terminal import is_terminal, printable

if TYPE_CHECKING:
    from artgen.jobs.prompt_explanation import ExplainedText, PromptReport, TextChunk

MIN_TABLE_COLUMNS = 60
MAX_STEP_RANGES = 10


def _declare_json() -> type:
    from artgen.jobs.prompt_explanation import Explanation

    return Explanation


OUTPUT = JsonOutput(_declare_json, is_list=False)


@OUTPUT
@flatten_settings
def prompt(
    settings: PromptSettings,
    steps: StepsSettings,
    seed: SeedSettings,
    model: LoraSettings,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Explain how a prompt is read.

    No image is generated. The command prints the choices of wildcards and variants, the LoRAs and embeddings, and the
    weight and the tokens of each part of the prompt in each range of steps. Models are not downloaded.

    artgen prompt "a (red:1.3) fox, [day:night:0.5]"
    artgen prompt "a {red|blue} fox" --seed 7
    """
    from artgen.api.prompt_report import report_prompt
    from artgen.spec.requests import Txt2Img

    settings = read_prompt(settings)
    report = report_prompt(Txt2Img.from_settings(settings, steps, seed, model), note_listener(print_note))
    for note in report.notes:
        print_note(note)
    if as_json:
        OUTPUT.print(report.explanation())
        return
    for line in _facts(report):
        print_result(line)
    for label, texts in (("prompt", report.prompt), ("negative prompt", report.negative_prompt)):
        for line in _table(label, texts) if is_terminal(sys.stdout) else _lines(label, texts):
            print_result(line)


def _facts(report: "PromptReport") -> Iterator[str]:
    request, expansion = report.request, report.expansion
    if report.model:
        yield f"model: {report.model}"
    yield f"syntax: {request.prompt_weights}, {counted(request.steps or 1, 'step')}"
    if expansion.choices:
        yield f"seed: {request.seed}"
    for name, values in (
        ("style", expansion.styles),
        ("choice", expansion.choices),
        ("LoRA", request.lora),
        ("embedding", request.embedding),
    ):
        for value in values:
            yield f"{name}: {value}"
    for name, template, text in (
        ("prompt", expansion.template, request.prompt),
        ("negative prompt", expansion.negative_template, request.negative_prompt),
    ):
        if template:
            yield f"{name} as typed: {template}"
            yield f"{name} as used: {text}"


def _steps(text: "ExplainedText") -> str:
    ranges = [f"{first}-{last}" if last > first else f"{first}" for first, last in text.steps[:MAX_STEP_RANGES]]
    if len(text.steps) > MAX_STEP_RANGES:
        ranges[-1] = "..."
    shown = ", ".join(ranges)
    return shown if (text.part, text.part_weight) == (1, 1) else f"{shown}, part {text.part} ({text.part_weight:g})"


def _tokens(chunks: "tuple[TextChunk, ...]") -> str:
    counts = " + ".join(f"{chunk.count}" for chunk in chunks)
    return f"{counts} of {chunks[0].limit}"


def _lines(label: str, texts: "tuple[ExplainedText, ...]") -> Iterator[str]:
    """Yield the lines that explain a prompt, for a pipe."""
    for text in texts:
        yield f"{label}, steps {_steps(text)}:"
        for piece in text.texts:
            yield "  BREAK" if piece is None else f"  {piece.weight:<6.4g} {piece.text}"
        for name, chunks in text.chunks.items():
            yield f"  tokens of {name}: {_tokens(chunks)}"


def _table(label: str, texts: "tuple[ExplainedText, ...]") -> Iterator[str]:
    """Yield the lines of a table that explains a prompt, for a terminal."""
    if not texts:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(label), title_justify="left")
    for name in ("steps", "weight", "text", "tokens"):
        table.add_column(name, justify="right" if name == "weight" else "left", overflow="fold")
    for text in texts:
        tokens = "\n".join(f"{name}: {_tokens(chunks)}" for name, chunks in text.chunks.items())
        for number, piece in enumerate(text.texts):
            weight, shown = ("", "BREAK") if piece is None else (f"{piece.weight:.4g}", printable(piece.text))
            first = number == 0
            table.add_row(
                _steps(text) if first else "", weight, Text(shown), tokens if first else "",
                end_section=number == len(text.texts) - 1,
            )  # fmt: skip
    width = max(shutil.get_terminal_size((100, 24)).columns, MIN_TABLE_COLUMNS)
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    yield from console.file.getvalue().splitlines()  # type: ignore[attr-defined]
