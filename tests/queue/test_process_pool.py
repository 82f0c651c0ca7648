"""Test the workers of a batch: equal images, crashed workers, and lost GPUs."""

import os
import subprocess
import sys
from pathlib import Path

import batches
import pytest
from batches import create_entries, image_hashes, run_batch
from PIL import Image

from artgen.errors import DeviceLostError
from artgen.queue import prompt_files
from artgen.queue.entries import Entry
from artgen.queue.job_queue import JobFilter, pending_jobs
from artgen.queue.ledger import Ledger
from artgen.queue.process_pool import pin_to_device, worker_pool_runner
from artgen.system import hardware


@pytest.fixture
def model(models: dict[str, Path]) -> Path:
    return models["sd1"]


def test_worker_that_cannot_start_fails_no_job(model: Path) -> None:
    Path("p.txt").write_text("a fox --seed 1\na cat --seed 2\n")
    arguments = ["artgen", "batch", "p.txt", "-m", str(model), "-o", "out/", "--workers", "2"]
    # Without `if __name__ == "__main__"`, a new process runs the program instead of the worker.
    Path("unguarded.py").write_text(f"import sys\nsys.argv = {arguments!r}\nfrom artgen.cli.main import run\nrun()\n")
    completed = subprocess.run([sys.executable, "unguarded.py"], capture_output=True, text=True, timeout=300)
    assert completed.returncode == 1
    assert "Cannot start a worker: the process exited (exit code 1)." in completed.stderr
    state = pending_jobs(
        batches.build_plan(Path("out"), model, prompt_files.read_prompt_file(Path("p.txt"))).jobs,
        Ledger(Path("out")),
        JobFilter(),
    )
    assert (len(state.pending), state.failed) == (2, [])


def test_workers_generate_the_same_images(model: Path) -> None:
    entries = create_entries(8)
    run_batch(batches.build_plan(Path("one"), model, entries))
    _, results = run_batch(batches.build_plan(Path("two"), model, entries), worker_pool_runner(Path("two"), 2))
    assert len(results) == 8
    assert image_hashes(Path("one")) == image_hashes(Path("two"))


def run_first_in_children(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Make every new Python process run a program at its start."""
    Path("first").mkdir()
    Path("first/sitecustomize.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path("first").resolve()), *sys.path]))


KILL_ON_OPEN = """
import os, signal, sys

def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("poison.png"):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
"""
"""Program that kills the process when it opens `poison.png`."""


@pytest.mark.slow
def test_job_that_crashes_its_worker_fails_after_retries(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a.png", "b.png", "poison.png", "c.png", "d.png"]
    for name in names:
        Image.new("RGB", (32, 32), "red").save(name)
    entries = [Entry(name, 0, {"task": "img2img", "image": Path(name), "steps": 2}) for name in names]
    plan = batches.build_plan(Path("out"), model, entries)
    run_first_in_children(monkeypatch, KILL_ON_OPEN)
    _, results = run_batch(plan, worker_pool_runner(Path("out"), 2), batch_size="2")
    records = {result.record.where or "": result.record for result in results if result.record}
    assert records["poison.png"].state == "failed"
    assert "SIGKILL" in records["poison.png"].error
    assert {where for where, record in records.items() if record.state == "done"} == set(names) - {"poison.png"}
    state, results = run_batch(plan)
    assert (state.num_completed, len(state.failed), results) == (4, 1, [])


LOST_ONCE = """
import sys

if "spawn_main" in " ".join(sys.orig_argv):
    import pathlib
    from artgen.engine import batch_runner
    run_passes = batch_runner.run_passes

    def lost(jobs, *arguments):
        try:
            pathlib.Path("lost").touch(exist_ok=False)
        except FileExistsError:
            return run_passes(jobs, *arguments)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    batch_runner.run_passes = lost
"""


@pytest.mark.slow
def test_worker_with_a_lost_gpu_is_replaced(
    model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = batches.build_plan(Path("out"), model, create_entries(6))
    run_first_in_children(monkeypatch, LOST_ONCE)
    _, results = run_batch(plan, worker_pool_runner(Path("out"), 2))
    assert Path("lost").exists()
    assert [result.record.state for result in results if result.record] == ["done"] * 6
    stderr = capfd.readouterr().err
    assert "The GPU is lost for this process: CUDA error: an illegal memory access" in stderr
    assert "Traceback" not in stderr


LOST_ALWAYS = """
import multiprocessing, sys

if "spawn_main" in " ".join(sys.orig_argv):
    from artgen.engine import batch_runner
    run_passes = batch_runner.run_passes

    def lost(*arguments):
        if multiprocessing.current_process().name in NAMES:
            raise RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")
        return run_passes(*arguments)

    batch_runner.run_passes = lost
"""


@pytest.mark.slow
def test_permanently_lost_gpu_fails_no_job(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = batches.build_plan(Path("out"), model, create_entries(6))
    run_first_in_children(monkeypatch, f"NAMES = ['artgen-worker-0']\n{LOST_ALWAYS}")
    _, results = run_batch(plan, worker_pool_runner(Path("out"), 2))
    assert [result.record.state for result in results if result.record] == ["done"] * 6


@pytest.mark.slow
def test_loss_of_all_gpus_stops_the_batch_without_failed_jobs(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = batches.build_plan(Path("out"), model, create_entries(6))
    with monkeypatch.context() as patched:
        run_first_in_children(patched, f"NAMES = ['artgen-worker-0', 'artgen-worker-1']\n{LOST_ALWAYS}")
        with pytest.raises(DeviceLostError, match="all GPUs are lost"):
            run_batch(plan, worker_pool_runner(Path("out"), 2))
    state, results = run_batch(plan)
    assert (state.num_completed, state.failed) == (0, [])
    assert [result.record.state for result in results if result.record] == ["done"] * 6


@pytest.mark.parametrize(("visible", "expected"), [("", "1"), ("4,7", "7"), ("GPU-5c,GPU-8e,GPU-9f", "GPU-5c")])
def test_worker_sees_only_its_own_gpu(monkeypatch: pytest.MonkeyPatch, visible: str, expected: str) -> None:
    """Pin the last of four workers, which share two or three GPUs."""

    def fail() -> int:
        raise AssertionError("the driver reads the variable only at the first query")

    monkeypatch.setattr(hardware, "cuda_device_count", fail)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    pin_to_device(3, 4, num_devices=2)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == expected
