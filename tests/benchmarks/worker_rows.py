"""Define the row that compares commands in the worker with commands in ordinary processes."""

from dataclasses import replace

from harness import OUT, Row, Variant
from workspace import ARTGEN, PROMPT, Workspace, artgen_command

SECOND_COMMAND = "artgen through the worker"


def rows(workspace: Workspace) -> list[Row]:
    command = ("txt2img", PROMPT, "--seed", 0, "--steps", 2, "-g", 3, "-m", "tiny", "-o", f"{OUT}/", "--quiet")
    ordinary = artgen_command("artgen in a new process", *command)
    return [
        Row(
            "worker", "A command through the worker: `txt2img`, bundled model, 2 steps, 128x128, fp32",
            (ordinary, through_worker(workspace, replace(ordinary, name=SECOND_COMMAND))),
            ("wall", "cpu"), rounds=9, note="The CPU time is that of the process that the user starts.",
            cleanup=stop_worker(workspace),
        )
    ]  # fmt: skip


def through_worker(workspace: Workspace, variant: Variant) -> Variant:
    """Return a command that uses the worker of this benchmark run. The first command starts the worker."""
    return replace(variant, command=("env", "ARTGEN_WORKER=on", _runtime_folder(workspace), *variant.command))


def stop_worker(workspace: Workspace) -> tuple[str, ...]:
    """Return the command that ends the worker of this benchmark run."""
    return ("env", _runtime_folder(workspace), *ARTGEN, "worker", "stop")


def _runtime_folder(workspace: Workspace) -> str:
    """Return the environment variable for the folder of the worker's socket."""
    folder = workspace.scratch / "runtime"
    folder.mkdir(mode=0o700, exist_ok=True)
    return f"XDG_RUNTIME_DIR={folder}"
