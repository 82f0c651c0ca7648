"""Define the row that compares commands in the worker with commands in ordinary processes."""

from harness import OUT, Row, Variant
from workspace import ARTGEN, PROMPT, Workspace, artgen_command

THROUGH_WORKER = "artgen through the worker"


def rows(workspace: Workspace) -> list[Row]:
    command = ("txt2img", PROMPT, "--seed", 0, "--steps", 2, "-g", 3, "-m", "tiny", "-o", f"{OUT}/", "--quiet")
    ordinary = artgen_command("artgen in a new process", *command)
    runtime = workspace.scratch / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    environment = ("env", f"XDG_RUNTIME_DIR={runtime}")
    return [
        Row(
            "worker", "A command through the worker: `txt2img`, bundled model, 2 steps, 128x128, fp32",
            (ordinary, Variant(THROUGH_WORKER, (*environment, "ARTGEN_WORKER=on", *ordinary.command))),
            ("wall", "cpu"), rounds=9, cleanup=(*environment, *ARTGEN, "worker", "stop"),
            note="The first command, which is not measured, starts the worker. The CPU time is that of the client.",
        )
    ]  # fmt: skip
