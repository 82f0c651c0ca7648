"""Define the command `artgen train`."""

import os
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

import typer

from artgen.api import engine_checks
from artgen.cli import report_dataset
from artgen.cli.console import print_note, print_path
from artgen.cli.interrupts import EXIT_INTERRUPTED, DeferredSigint
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import flatten_settings
from artgen.cli.reporter import Reporter
from artgen.errors import ArtgenError, UsageError
from artgen.spec.settings import (
    MAX_SEED,
    TRAINING_GROUPS,
    CheckpointSettings,
    DatasetSettings,
    DeviceSettings,
    LoraTrainingSettings,
    LossSettings,
    ModelRef,
    OptimizerSettings,
)
from artgen.system import process
from artgen.system.counts import counted

if TYPE_CHECKING:
    from artgen.engine.training.run import Finished
    from artgen.jobs.training_plan import TrainingPlan

Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        help="The result: a .safetensors file for a LoRA, otherwise a model folder. A folder for a LoRA ends with / "
        "or exists; the LoRA has the name of the image folder. The folder NAME-training/ next to it contains "
        "checkpoints, samples.png, loss.csv, datasheet.md, and TensorBoard files if TensorBoard is installed.",
        rich_help_panel="Output",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Overwrite an existing result, and train from the start.", rich_help_panel="Output"
    ),
]
SeedOption = Annotated[
    int,
    typer.Option("-s", "--seed", help="Random seed of the training.", min=0, max=MAX_SEED,
                 rich_help_panel="Optimizer"),
]  # fmt: skip


class TrainingFields(TypedDict):
    """Define the fields of a training for `--json` besides its settings.

    Attributes:
        path: path of the result. With `--dry-run`, the path that the result would have.
        steps: number of steps of the training; None with `--dry-run`.
        loss: loss of the training; None with `--dry-run`, and if no step was necessary.
        data: content of `datasheet.json`; None without `--dry-run`, because the training writes the file.
        seed: random seed.
        dtype: precision of the computation.
        resolution: side of a square with the largest area of an image, in pixels.
        model: base model; None for a training from random weights.
        model_hash: SHA-256 of the base model. Missing for a training from random weights.
        unet: arguments of the new `UNet2DModel`. Only for a training from random weights.
        noise_schedule: configuration of the new scheduler. Only for a training from random weights.
        images: SHA-256 of each image.
        captions: caption of each image. Missing for a training from random weights.
    """

    path: str
    steps: int | None
    loss: float | None
    data: dict[str, Any] | None
    seed: int
    dtype: str
    resolution: int
    model: str | None
    model_hash: NotRequired[str]
    unet: NotRequired[dict[str, Any]]
    noise_schedule: NotRequired[dict[str, Any]]
    images: list[str]
    captions: NotRequired[list[str]]


def _training_schema() -> dict[str, Any]:
    from artgen.spec.json_schema import group_schema, object_schema

    settings = group_schema(*TRAINING_GROUPS)["properties"]
    own = object_schema(TrainingFields)
    return own | {"properties": settings | own["properties"]}


OUTPUT = JsonOutput(_training_schema, is_list=False)


@OUTPUT
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
        bool, typer.Option("--dry-run", help="Validate and print the plan without training.", rich_help_panel="Report")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON record instead of the path.", rich_help_panel="Report")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print only errors to stderr.", rich_help_panel="Report")
    ] = False,
) -> None:
    """Train a LoRA or a model on a folder of images.

    --mode selects what is trained: a LoRA, all weights of a model, its autoencoder, or a new pixel-space model.

    Ctrl-C saves a checkpoint. --resume continues, bit-identical to an uninterrupted run. Trainable weights are fp32;
    --dtype is the precision of the computation (auto: bf16 on GPUs that support bf16). On several GPUs, run
    `accelerate launch -m artgen train ...`.

    artgen train images/ -o my-style.safetensors --trigger mystyle
    artgen train images/ -o my-style.safetensors --dry-run
    artgen train images/ -o my-style.safetensors --resume
    """
    from artgen.dataset import datasheet
    from artgen.jobs import training_plan

    if dataset.folder is None:
        raise UsageError(
            "Cannot run train: the folder of images is missing.", "artgen train images/ -o my-style.safetensors"
        )
    settings = training_plan.TrainingSettings(dataset, lora, optimizer, loss, checkpoints, compute, seed)
    quiet = quiet or not _is_main_process()
    with Reporter(quiet) as reporter, report_dataset.print_dataset_errors():
        plan = training_plan.create_training_plan(
            settings, model, output, overwrite=overwrite, download=not dry_run, listener=reporter
        )
    if not quiet:
        _print_plan(plan)
    if dry_run:
        engine_checks.check_model(plan.base_model)
        if as_json:
            data = datasheet.datasheet_record(plan.dataset, {})
            OUTPUT.print(
                {"path": plan.paths.result, "steps": None, "loss": None, "data": data, **plan.settings_record()}
            )
        return
    finished = _run_training(plan, quiet)
    if finished is not None and as_json:
        result = {"path": finished.path, "steps": finished.steps, "loss": finished.loss, "data": None}
        OUTPUT.print({**result, **plan.settings_record()})
    elif finished is not None:  # only the main process has a result
        print_path(finished.path)


def _is_main_process() -> bool:
    """Return whether this process prints: it is the only process, or the first process of a launcher."""
    return os.environ.get("RANK", "0") == "0"


def _print_plan(plan: "TrainingPlan") -> None:
    settings, dataset = plan.settings, plan.dataset
    report_dataset.print_dataset_report(dataset, plan.image_sizes)
    target = {"lora": f"a LoRA of rank {settings.training.rank} ({settings.training.target})", "full": "all weights",
            "vae": f"the autoencoder ({settings.training.target})",
            "scratch": "a new pixel-space model from random weights"}[settings.mode]  # fmt: skip
    optimizer = settings.optimizer
    batch_size = (optimizer.train_batch_size or 1) * optimizer.gradient_accumulation_steps
    of_model = "" if plan.base_model is None else f" of {plan.base_model.short_name}"
    same_area = "" if plan.base_model is None else ", or the same area"
    print_note(
        f"Training {target}{of_model} on {counted(len(dataset.images), 'image')} of "
        f"{plan.resolution}x{plan.resolution} pixels{same_area}."
    )
    if plan.base_model is None:
        channels = "-".join(map(str, plan.unet_config["block_out_channels"]))
        print_note(f"Network: a UNet with {channels} channels, 1000 timesteps (DDPM).")
    print_note(
        f"{counted(plan.num_steps, 'step')}, batch size {batch_size}, learning rate {optimizer.learning_rate:g} "
        f"({optimizer.lr_scheduler}), seed {settings.seed}."
    )
    print_note(f"Result: '{plan.paths.result}'. Checkpoints: '{plan.paths.training_dir}'.")


def _run_training(plan: "TrainingPlan", quiet: bool) -> "Finished | None":
    from artgen.cli.progress_training import TrainingProgressTable

    with Reporter(quiet), process.paused_gc():
        from artgen.engine.training import run
    finished: Finished | None = None
    with DeferredSigint() as interrupts, TrainingProgressTable(plan, quiet=quiet) as table:
        interrupts.set_exit_at_once(True)  # until the model is loaded
        try:
            for event in run.train(plan, listener=table.on_loading, should_stop=lambda: interrupts.interrupted):
                interrupts.set_exit_at_once(False)
                table.on_training_event(event)
                if isinstance(event, run.Finished):
                    finished = event
        except KeyboardInterrupt:
            raise InterruptedTraining(plan) from None
    return finished


class InterruptedTraining(ArtgenError):
    """Report that Ctrl-C was pressed and a checkpoint was saved."""

    exit_code = EXIT_INTERRUPTED

    def __init__(self, plan: "TrainingPlan") -> None:
        newest = plan.paths.newest_checkpoint()
        super().__init__(
            f"Interrupted after {newest.name}." if newest else "Interrupted.",
            "Run the same command with --resume to continue." if newest else "",
        )
