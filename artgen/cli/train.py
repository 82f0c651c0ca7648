"""`artgen train`."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from artgen.cli import training_report
from artgen.cli.interrupts import INTERRUPTED, Interrupts
from artgen.cli.options import flattened
from artgen.cli.reporting import Reporter, emit, emit_json, note
from artgen.errors import ArtgenError, UsageError
from artgen.settings import MAX_SEED, Data, Learning, Loss, Optimisation, Place, Progress, Weights

if TYPE_CHECKING:
    from artgen.engine.training.run import Finished
    from artgen.training.plans import Plan

Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        help="The result: a .safetensors file for a LoRA, else a model folder. Beside it NAME-training/ holds "
        "checkpoints, samples.png, loss.csv, loss.png, TensorBoard's files where it is installed, and datasheet.md.",
        rich_help_panel="Output",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Begin again where there is a result.", rich_help_panel="Output")
]
Chance = Annotated[
    int,
    typer.Option("-s", "--seed", help="Decides everything that is drawn at random.", min=0, max=MAX_SEED,
                 rich_help_panel="Optimisation"),
]  # fmt: skip


@flattened
def train(
    data: Data,
    learning: Learning,
    optimisation: Optimisation,
    loss: Loss,
    progress: Progress,
    model: Weights,
    compute: Place,
    output: Output = None,
    overwrite: Overwrite = False,
    seed: Chance = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan, train nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON record of the result, not its path.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only errors on stderr.")] = False,
) -> None:
    """Teach a model your own pictures: a LoRA, all of its weights, or its autoencoder.

    Ctrl-C saves; --resume goes on exactly. What learns is kept in fp32; --dtype is that of the computation (auto on a
    GPU: bf16 where it has it). On several GPUs: accelerate launch -m artgen train ...

    artgen train pictures/ -o my-style.safetensors --trigger mystyle
    """
    from artgen.training import datasheet, plans

    if data.folder is None:
        raise UsageError("train needs a folder of pictures.", "artgen train pictures/ -o my-style.safetensors")
    settings = plans.Settings(data, learning, optimisation, loss, progress, compute, seed)
    quiet = quiet or not _first_process()
    with Reporter(quiet) as reporter, training_report.mistakes_told():
        plan = plans.plan(settings, model, output, overwrite=overwrite, listener=reporter)
    if not quiet:
        _tell(plan)
    if dry_run:
        if as_json:
            emit_json({**plan.record(), "data": datasheet.facts(plan.pictures, {})})
        return
    finished = _run(plan, quiet)
    if finished is not None and as_json:
        emit_json({"path": str(finished.path), "steps": finished.steps, "loss": finished.loss, **plan.record()})
    elif finished is not None:  # None in all but the first of several processes
        emit(str(finished.path))


def _first_process() -> bool:
    """Whether this is the only process, or the first of those that a launcher started: that one speaks."""
    return os.environ.get("RANK", "0") == "0"


def _tell(plan: "Plan") -> None:
    settings, pictures = plan.settings, plan.pictures
    training_report.tell(pictures, plan.sizes)
    what = {"lora": f"a LoRA of rank {settings.learning.rank} ({settings.learning.target})", "full": "all weights",
            "autoencoder": f"the autoencoder ({settings.learning.target})"}[settings.kind]  # fmt: skip
    optimisation = settings.optimisation
    batch = optimisation.train_batch_size * optimisation.gradient_accumulation_steps
    note(
        f"{len(pictures.examples)} pictures at {plan.resolution}x{plan.resolution} or that area, for {what} of "
        f"{plan.model.label}"
    )
    note(
        f"{optimisation.train_steps} steps of {batch} pictures, learning rate {optimisation.learning_rate:g} "
        f"({optimisation.lr_scheduler}), seed {settings.seed}"
    )
    note(f"result: {plan.layout.result}, and {plan.layout.folder}")


def _run(plan: "Plan", quiet: bool) -> "Finished | None":
    from artgen.cli.training_progress import Table
    from artgen.engine.training import run

    finished: Finished | None = None
    with Interrupts() as interrupts, Table(plan, quiet=quiet) as table:
        try:
            for happening in run.train(plan, listener=table.listen, stop=lambda: interrupts.asked):
                table.show(happening)
                if isinstance(happening, run.Finished):
                    finished = happening
        except KeyboardInterrupt:
            raise InterruptedTraining(plan) from None
    return finished


class InterruptedTraining(ArtgenError):
    """Ctrl-C was pressed, and a checkpoint saved."""

    exit_code = INTERRUPTED

    def __init__(self, plan: "Plan") -> None:
        newest = plan.layout.newest()
        super().__init__(
            f"Interrupted after {newest.name}." if newest else "Interrupted.",
            "The same command with --resume goes on." if newest else "",
        )
