"""`artgen train`."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from artgen.cli import report_dataset
from artgen.cli.console import Reporter, print_json, print_note, print_result
from artgen.cli.interrupts import EXIT_INTERRUPTED, DeferredSigint
from artgen.cli.options import flatten_settings
from artgen.errors import ArtgenError, UsageError
from artgen.spec.settings import (
    MAX_SEED,
    CheckpointSettings,
    DatasetSettings,
    DeviceSettings,
    LoraTrainingSettings,
    LossSettings,
    ModelRef,
    OptimizerSettings,
)

if TYPE_CHECKING:
    from artgen.engine.training.run import Finished
    from artgen.jobs.training_plan import TrainingPlan

Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        help="The result: a .safetensors file for a LoRA, else a model folder. Beside it NAME-training/ holds "
        "checkpoints, samples.png, loss.csv, TensorBoard's files where it is installed, and datasheet.md.",
        rich_help_panel="Output",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Begin again where there is a result.", rich_help_panel="Output")
]
SeedOption = Annotated[
    int,
    typer.Option("-s", "--seed", help="Decides everything that is drawn at random.", min=0, max=MAX_SEED,
                 rich_help_panel="Optimizer"),
]  # fmt: skip


@flatten_settings
def train(
    dataset: DatasetSettings,
    lora: LoraTrainingSettings,
    optimizer: OptimizerSettings,
    loss: LossSettings,
    checkpoints: CheckpointSettings,
    model: ModelRef,
    compute: DeviceSettings,
    output: Output = None,
    overwrite: Overwrite = False,
    seed: SeedOption = 0,
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
    from artgen.dataset import datasheet
    from artgen.jobs import training_plan

    if dataset.folder is None:
        raise UsageError("train needs a folder of pictures.", "artgen train pictures/ -o my-style.safetensors")
    settings = training_plan.TrainingSettings(dataset, lora, optimizer, loss, checkpoints, compute, seed)
    quiet = quiet or not _is_main_process()
    with Reporter(quiet) as reporter, report_dataset.print_dataset_errors():
        plan = training_plan.create_training_plan(settings, model, output, overwrite=overwrite, listener=reporter)
    if not quiet:
        _print_plan(plan)
    if dry_run:
        if as_json:
            print_json({**plan.settings_record(), "data": datasheet.datasheet_record(plan.dataset, {})})
        return
    finished = _run_training(plan, quiet)
    if finished is not None and as_json:
        print_json(
            {"path": str(finished.path), "steps": finished.steps, "loss": finished.loss, **plan.settings_record()}
        )
    elif finished is not None:  # None in all but the first of several processes
        print_result(str(finished.path))


def _is_main_process() -> bool:
    """Whether this is the only process, or the first of those that a launcher started: that one speaks."""
    return os.environ.get("RANK", "0") == "0"


def _print_plan(plan: "TrainingPlan") -> None:
    settings, pictures = plan.settings, plan.dataset
    report_dataset.print_dataset_report(pictures, plan.image_sizes)
    what = {"lora": f"a LoRA of rank {settings.training.rank} ({settings.training.target})", "full": "all weights",
            "vae": f"the autoencoder ({settings.training.target})"}[settings.mode]  # fmt: skip
    optimisation = settings.optimizer
    batch = optimisation.train_batch_size * optimisation.gradient_accumulation_steps
    print_note(
        f"{len(pictures.images)} pictures at {plan.resolution}x{plan.resolution} or that area, for {what} of "
        f"{plan.model.short_name}"
    )
    print_note(
        f"{optimisation.train_steps} steps of {batch} pictures, learning rate {optimisation.learning_rate:g} "
        f"({optimisation.lr_scheduler}), seed {settings.seed}"
    )
    print_note(f"result: {plan.paths.result}, and {plan.paths.training_dir}")


def _run_training(plan: "TrainingPlan", quiet: bool) -> "Finished | None":
    from artgen.cli.progress_training import TrainingProgressTable
    from artgen.engine.training import run

    finished: Finished | None = None
    with DeferredSigint() as interrupts, TrainingProgressTable(plan, quiet=quiet) as table:
        try:
            for happening in run.train(plan, listener=table.on_loading, should_stop=lambda: interrupts.interrupted):
                table.on_training_event(happening)
                if isinstance(happening, run.Finished):
                    finished = happening
        except KeyboardInterrupt:
            raise InterruptedTraining(plan) from None
    return finished


class InterruptedTraining(ArtgenError):
    """Ctrl-C was pressed, and a checkpoint saved."""

    exit_code = EXIT_INTERRUPTED

    def __init__(self, plan: "TrainingPlan") -> None:
        newest = plan.paths.newest_checkpoint()
        super().__init__(
            f"Interrupted after {newest.name}." if newest else "Interrupted.",
            "The same command with --resume goes on." if newest else "",
        )
