"""Test batches whose folder, ledger or images somebody removes, replaces or locks while they run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import run
from typer.testing import Result

from artgen.cli.progress_batch import BatchReporter

LINES = "".join(f"a fox {number} --seed {number}\n" for number in range(1, 5))
LEDGER = Path("out/artgen-ledger")


def remove_folder() -> None:
    _remove_at_once(Path("out"))


def remove_ledger_folder() -> None:
    _remove_at_once(LEDGER)


def _remove_at_once(folder: Path) -> None:
    """Remove a folder. `rmtree` alone fails if a worker creates a file meanwhile."""
    removed = Path("removed")
    folder.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def remove_ledger_file() -> None:
    (LEDGER / "jobs.jsonl").unlink()


def empty_ledger_file() -> None:
    (LEDGER / "jobs.jsonl").write_bytes(b"")


def replace_ledger_file() -> None:
    (LEDGER / "jobs.jsonl").unlink()
    (LEDGER / "jobs.jsonl").write_text('{"plan": 1, "done": 0, "shard": "jobs"}\n')


def remove_images() -> None:
    for path in Path("out").glob("*.png"):
        path.unlink()


REMOVALS = (
    remove_folder, remove_ledger_folder, remove_ledger_file, empty_ledger_file, replace_ledger_file, remove_images
)  # fmt: skip


def run_and_remove(
    monkeypatch: pytest.MonkeyPatch, remove: Callable[[], None], after: int, *arguments: str
) -> tuple[Result, int]:
    """Run a batch, and call `remove` after some images. Return the result and the number of images after the run."""
    advance = BatchReporter.advance
    finished = 0

    def advance_and_remove(self: BatchReporter) -> None:
        nonlocal finished
        finished += 1
        if finished == after:
            remove()
        advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(BatchReporter, "advance", advance_and_remove)
        result = run("batch", "p.txt", *arguments, code=None)
    return result, len(list(Path("out").glob("*.png")))


def status() -> dict[str, int]:
    loaded: dict[str, int] = json.loads(run("batch", "status", "out", "--json").stdout)
    return loaded


def check_state(result: Result, num_images: int) -> None:
    """Check that the exit code, the status and the ledger agree with the images."""
    progress = status()
    assert (progress["done"], progress["failed"], progress["left"]) == (num_images, 4 - num_images, 0), progress
    assert result.exit_code == (0 if num_images == 4 else 7), result.output
    if num_images < 4:
        assert f"{4 - num_images} of 4 images failed." in result.stderr
        assert "was removed after it was generated." in result.stderr
    lines = [json.loads(line) for line in (LEDGER / "jobs.jsonl").read_text().splitlines()]
    assert len({line["job"] for line in lines if "job" in line}) == 4


def check_next_run(*arguments: str) -> None:
    """Check that the same command completes the batch, and that no image is generated twice."""
    run("batch", "p.txt", *arguments)
    assert sorted(path.name for path in Path("out").glob("*.png")) == [
        f"0000{number}-{number}-a-fox-{number}.png" for number in range(1, 5)
    ]
    assert (status()["done"], status()["failed"]) == (4, 0)
    assert "4 intact, 0 changed, 0 missing" in run("batch", "verify", "out").stderr


@pytest.mark.parametrize("after", [2, 4])
@pytest.mark.parametrize("remove", REMOVALS)
def test_every_image_is_there_or_counted_as_failed_after_a_removal(
    sd1: str, monkeypatch: pytest.MonkeyPatch, remove: Callable[[], None], after: int
) -> None:
    Path("p.txt").write_text(LINES)
    arguments = ("-m", sd1, "--steps", "1", "-o", "out/", "--batch-size", "1")
    result, num_images = run_and_remove(monkeypatch, remove, after, *arguments)
    if remove not in (remove_folder, remove_images):
        assert num_images == 4
    check_state(result, num_images)
    check_next_run(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize("remove", [remove_folder, replace_ledger_file])
def test_workers_restore_the_ledger_after_a_removal(
    sd1: str, monkeypatch: pytest.MonkeyPatch, remove: Callable[[], None]
) -> None:
    Path("p.txt").write_text(LINES)
    arguments = ("-m", sd1, "--steps", "1", "-o", "out/", "--batch-size", "1", "--workers", "2")
    result, num_images = run_and_remove(monkeypatch, remove, 2, *arguments)
    check_state(result, num_images)
    check_next_run(*arguments)


@pytest.mark.parametrize("name", ["out", "out/artgen-ledger"])
def test_folder_replaced_by_a_file_stops_the_batch(sd1: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def replace() -> None:
        Path(name).rename("moved")
        Path(name).write_text("not a folder")

    Path("p.txt").write_text(LINES)
    arguments = ("-m", sd1, "--steps", "1", "-o", "out/", "--batch-size", "1")
    result, _ = run_and_remove(monkeypatch, replace, 2, *arguments)
    assert result.exit_code == 74
    assert "not generated." in result.stderr
    Path(name).unlink()
    Path("moved").rename(name)
    check_next_run(*arguments)
