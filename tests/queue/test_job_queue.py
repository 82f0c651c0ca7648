"""Test batch runs: reproducible, resumable after a crash, and shared between processes."""

import json
import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import batches
import pytest
import torch
from batches import create_entries, image_hashes, run_batch
from diffusers import UNet2DConditionModel
from PIL import Image, ImageChops

from artgen import replay
from artgen.engine import generate
from artgen.engine.loading import pipeline_cache
from artgen.errors import DeviceLostError, OutputError, UsageError
from artgen.jobs.batch_size import AutoTuneBatchSize, JobGroup, parse_batch_size
from artgen.outputs import Destination
from artgen.queue import prompt_files
from artgen.queue.entries import Entry
from artgen.queue.job_queue import JobFilter, in_process_runner, parse_shard
from artgen.queue.job_runner import MAX_PENDING_SAVES
from artgen.queue.locks import JobLocks
from artgen.queue.planner import Planner
from artgen.spec.records import to_record


@pytest.fixture
def model(models: dict[str, Path]) -> Path:
    return models["sd1"]


@pytest.fixture(scope="module")
def reference_folder(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an uninterrupted run of 40 jobs. Tests must not change the folder."""
    folder = tmp_path_factory.mktemp("reference")
    _, results = run_batch(batches.build_plan(folder, models["sd1"], create_entries(40)))
    assert [result.record.state for result in results if result.record] == ["done"] * 40
    return folder


@pytest.fixture
def reference(reference_folder: Path) -> dict[str, str]:
    """Return the image hashes of the uninterrupted run."""
    return image_hashes(reference_folder)


def ledger_lines(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for path in folder.rglob("*.jsonl") for line in path.read_bytes().splitlines() if line]
    return [line for line in lines if "job" in line]


@pytest.mark.slow
def test_batch_killed_ten_times_equals_uninterrupted(
    model: Path, reference: dict[str, str], reference_folder: Path
) -> None:
    folder = Path("killed")
    plan = batches.build_plan(folder, model, create_entries(40))
    completed: list[int] = []
    # A quarter of the complete run on this machine, so that some of the ten processes finish images.
    max_seconds = batches.batch_seconds(reference_folder) / 4
    for _ in batches.kill_at_random_times(lambda: discard(run_batch(plan)), times=10, max_seconds=max_seconds):
        images = image_hashes(folder)
        assert images.items() <= reference.items()  # no partial file has a final name
        completed.append(len(images))
    assert 0 < completed[0] < 40 or completed[-1] > 0
    run_batch(plan)
    assert image_hashes(folder) == reference
    recorded = [line["job"] for line in ledger_lines(folder)]
    assert len(recorded) <= 40 + 10  # each kill repeats at most one job
    assert set(recorded) == {job.fingerprint for job in plan.jobs}


def discard(_: object) -> None:
    pass


def test_slow_disk_limits_the_images_in_memory(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = batches.build_plan(Path("out"), model, create_entries(12))
    generated: list[Any] = []
    generated_before_save: list[int] = []
    generate_jobs, save = generate.generate_jobs, Destination.save

    def counting_generate_jobs(*arguments: Any, **options: Any) -> Iterator[Any]:
        for outcome in generate_jobs(*arguments, **options):
            generated.append(outcome)
            yield outcome

    def slow_save(self: Destination, *arguments: Any, **options: Any) -> Path:
        count = 0
        while not generated_before_save and count < len(generated):  # the first save waits until generation stops
            count = len(generated)
            time.sleep(1)
        generated_before_save.append(count)
        return save(self, *arguments, **options)

    monkeypatch.setattr(generate, "generate_jobs", counting_generate_jobs)
    monkeypatch.setattr(Destination, "save", slow_save)
    _, results = run_batch(plan)
    # With batch size 1, one more image can wait, and one is in generation.
    assert 1 <= generated_before_save[0] <= MAX_PENDING_SAVES + 2
    assert [result.record.state for result in results if result.record] == ["done"] * 12
    assert len(image_hashes(Path("out"))) == 12


def test_second_run_generates_only_missing_images(model: Path) -> None:
    plan = batches.build_plan(Path("out"), model, create_entries(4))
    run_batch(plan)
    before = image_hashes(Path("out"))
    state, results = run_batch(plan)
    assert (state.num_completed, state.pending, results) == (4, [], [])
    first, *_ = sorted(Path("out").glob("*.png"))
    first.unlink()
    _, results = run_batch(plan)
    assert [result.record.file for result in results if result.record] == [first.name]
    assert image_hashes(Path("out")) == before


def test_changed_line_is_a_new_job(model: Path) -> None:
    entries = create_entries(4)
    run_batch(batches.build_plan(Path("out"), model, entries))
    entries[1] = Entry("prompts.txt", 2, {**entries[1].setting_values, "steps": 3})
    state, results = run_batch(batches.build_plan(Path("out"), model, entries))
    assert state.num_completed == 3
    assert len(results) == 1
    assert len(image_hashes(Path("out"))) == 5


@pytest.mark.parametrize("batch_size", ["4", "auto"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_images_do_not_depend_on_batch_size_and_order_except_rounding(
    model: Path, batch_size: str, shuffle: bool
) -> None:
    entries = create_entries(12)
    run_batch(batches.build_plan(Path("one"), model, entries))
    other = batches.build_plan(Path("other"), model, entries)
    run_batch(other, batch_size=batch_size, job_filter=JobFilter(shuffle=shuffle))
    names = sorted(path.name for path in Path("one").glob("*.png"))
    assert names == sorted(path.name for path in Path("other").glob("*.png"))
    for name in names:
        with Image.open(Path("one", name)) as first, Image.open(Path("other", name)) as second:
            extrema = ImageChops.difference(first, second).getextrema()
        assert max(high for _, high in extrema) <= 1


def test_images_do_not_depend_on_the_order_of_jobs(model: Path) -> None:
    entries = create_entries(8)
    run_batch(batches.build_plan(Path("one"), model, entries))
    run_batch(batches.build_plan(Path("other"), model, entries), job_filter=JobFilter(shuffle=True))
    assert image_hashes(Path("one")) == image_hashes(Path("other"))


def test_shards_are_disjoint_and_complete(model: Path) -> None:
    entries = create_entries(10)
    run_batch(batches.build_plan(Path("one"), model, entries))
    for shard in range(3):
        plan = batches.build_plan(Path("parts"), model, entries)
        run_batch(plan, in_process_runner(Path("parts"), f"-{shard}of3"), job_filter=JobFilter(shard=(shard, 3)))
    assert image_hashes(Path("one")) == image_hashes(Path("parts"))
    assert len(ledger_lines(Path("parts"))) == 10


@pytest.mark.parametrize("text", ["3/3", "1", "-1/2", "a/b", "0/0"])
def test_invalid_shard_is_rejected(text: str) -> None:
    with pytest.raises(UsageError):
        parse_shard(text)


def test_limited_run_sorts_jobs_by_group(model: Path) -> None:
    plan = batches.build_plan(Path("out"), model, create_entries(6))
    state, _ = run_batch(plan, job_filter=JobFilter(limit=3))
    assert [job.number for job in state.pending] == [1, 3, 2]  # sorted by group
    state, _ = run_batch(plan)
    assert state.num_completed == 3


def test_failed_job_does_not_stop_others_and_can_be_retried(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = batches.build_plan(Path("out"), model, create_entries(5))
    produces_nan = [True]
    forward = UNet2DConditionModel.forward
    calls = [0]

    def forward_with_nan(self: Any, *arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        result = forward(self, *arguments, **options)
        if produces_nan[0] and calls[0] == 1:
            result[0].fill_(torch.nan)
        return result

    pipeline_cache.clear_cache()  # hooks of other tests can have an attribute `forward` in the cached UNet
    monkeypatch.setattr(UNet2DConditionModel, "forward", forward_with_nan)
    _, results = run_batch(plan)
    states = [result.record.state for result in results if result.record]
    assert sorted(states) == ["done"] * 4 + ["failed"]
    failed = next(result for result in results if result.record and result.record.state == "failed")
    assert failed.record is not None
    assert failed.record.exit_code == 9
    assert all(result.record.time == round(result.record.time, 3) for result in results if result.record)
    produces_nan[0] = False
    state, results = run_batch(plan)
    assert (state.num_completed, len(state.failed), results) == (4, 1, [])
    state, results = run_batch(plan, job_filter=JobFilter(retry_failed=True))
    assert [result.record.state for result in results if result.record] == ["done"]
    assert len(image_hashes(Path("out"))) == 5


def test_bug_in_one_job_does_not_fail_its_batch(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from artgen.engine.sampling import passes

    plan = batches.build_plan(Path("out"), model, [Entry("p", i, {"prompt": f"fox {i}", "steps": 1}) for i in range(4)])
    run_passes = passes.run_passes

    def run_with_bug(jobs: Any, *arguments: Any) -> Any:
        if any(job.request.prompt == "fox 2" for job in jobs):
            raise ZeroDivisionError("division by zero")
        return run_passes(jobs, *arguments)

    monkeypatch.setattr("artgen.engine.batch_runner.run_passes", run_with_bug)
    _, results = run_batch(plan, batch_size="4")
    records = [result.record for result in results if result.record]
    assert sorted(record.state for record in records) == ["done"] * 3 + ["failed"]
    assert [record.error for record in records if record.state == "failed"] == ["ZeroDivisionError: division by zero"]


def test_lost_gpu_stops_the_batch_without_failed_jobs(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from artgen.engine.sampling import passes

    plan = batches.build_plan(Path("out"), model, create_entries(5))
    run_passes, calls = passes.run_passes, []

    def run_on_lost_gpu(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) > 2:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with ...")
        return run_passes(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr("artgen.engine.batch_runner.run_passes", run_on_lost_gpu)
        with pytest.raises(DeviceLostError, match=r"illegal memory access was encountered"):
            run_batch(plan)
    state, results = run_batch(plan)
    assert (state.num_completed, state.failed) == (2, [])
    assert [result.record.state for result in results if result.record] == ["done"] * 3


def test_reduced_batch_size_after_out_of_memory_is_reused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from artgen.engine.sampling import passes

    entries = [Entry("p", i, {"prompt": f"fox {i}", "seed": str(i), "steps": 1}) for i in range(8)]
    plan = batches.build_plan(
        Path("out"), model, [*entries, *[Entry("p", 9, {**entries[0].setting_values, "size": "16x16"})] * 4]
    )
    run_passes, calls = passes.run_passes, []

    def run_with_little_memory(jobs: Any, batch_size: int, *arguments: Any) -> Any:
        calls.append((batch_size, jobs[0].size[0]))
        if batch_size * jobs[0].width > 2 * 32:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return run_passes(jobs, batch_size, *arguments)

    monkeypatch.setattr("artgen.engine.batch_runner.run_passes", run_with_little_memory)
    _, results = run_batch(plan, batch_size="4")
    assert [result.record.state for result in results if result.record] == ["done"] * 12
    assert calls == [(4, 32), *[(2, 32)] * 4, (4, 16)], "the reduction applies to later batches of the same size only"


def test_input_image_damaged_after_planning_fails_only_its_job(model: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (32, 32), "red").save(name)
    entries = [
        Entry("p", i, {"task": "img2img", "image": Path(n), "steps": 2}) for i, n in enumerate(("a.png", "b.png"))
    ]
    plan = batches.build_plan(Path("out"), model, entries)
    Path("a.png").write_bytes(b"not an image")
    _, results = run_batch(plan)
    exit_codes = {result.record.where: result.record.exit_code for result in results if result.record}
    assert exit_codes == {"p": 3, "p:1": 0}


def test_full_disk_stops_the_batch_without_loss(model: Path, reference: dict[str, str], reference_folder: Path) -> None:
    folder = Path("full")
    plan = batches.build_plan(folder, model, create_entries(40))

    def work() -> None:
        size = max(path.stat().st_size for path in reference_folder.glob("*.png"))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size * 2, size * 2))  # the ledger soon exceeds the limit
        with pytest.raises(OutputError):
            run_batch(plan)

    _, status = os.waitpid(batches.fork(work), 0)
    assert status == 0
    assert 0 < len(image_hashes(folder)) < 40
    assert image_hashes(folder).items() <= reference.items()
    run_batch(plan)
    assert image_hashes(folder) == reference


def test_two_processes_share_a_folder(model: Path, reference: dict[str, str]) -> None:
    folder = Path("both")
    plan = batches.build_plan(folder, model, create_entries(40))
    pids = [batches.fork(lambda: discard(run_batch(plan))) for _ in range(2)]
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    assert image_hashes(folder) == reference
    assert len(ledger_lines(folder)) == 40


@pytest.mark.slow
def test_jobs_of_a_killed_process_are_run_by_another(model: Path, reference: dict[str, str]) -> None:
    folder = Path("shared")
    plan = batches.build_plan(folder, model, create_entries(40))

    def hold_lock() -> None:
        locks = JobLocks(folder)
        assert locks.acquire(plan.jobs[0].fingerprint)
        time.sleep(60)

    holder = batches.fork(hold_lock)
    while not (folder / "artgen-ledger" / "claims").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    other = batches.fork(lambda: discard(run_batch(plan)))
    while len(image_hashes(folder)) < 39:
        time.sleep(0.05)
    assert os.waitpid(other, os.WNOHANG)[0] == 0  # waits for the locked job
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    assert os.waitpid(other, 0)[1] == 0
    assert image_hashes(folder) == reference


def test_auto_batch_size_grows_while_it_is_faster() -> None:
    policy = AutoTuneBatchSize()
    seconds_per_image = {1: 1.0, 2: 0.6, 4: 0.4, 8: 0.39, 16: 0.1}
    sizes: list[int] = []
    for _ in range(6):
        sizes.append(policy.next_batch_size(JobGroup(0, 400, 400, 8)))
        policy.record_timing(0, sizes[-1], seconds_per_image[sizes[-1]])
    assert sizes == [1, 2, 4, 8, 4, 4]
    assert policy.next_batch_size(JobGroup(1, 400, 400, 8)) == 1
    with pytest.raises(UsageError):
        parse_batch_size("many")


def test_replay_reproduces_images_of_lines_with_every_option(model: Path) -> None:
    """Plan 1000 lines, generate some lines of every task, and replay the images from their metadata."""
    Image.effect_noise((40, 48), 90).convert("RGB").save("in.png")
    Image.new("L", (40, 48), 0).save("mask.png")
    with Image.open("mask.png") as mask:
        mask.paste(255, (4, 4, 30, 30))
        mask.save("mask.png")
    rng = random.Random(3)
    Path("p.txt").write_text("".join(f"{prompt_line(number, rng)}\n" for number in range(1000)))
    plan = Planner(Path("out"), {"model": str(model)}).build_plan(prompt_files.read_prompt_file(Path("p.txt")))
    assert not plan.line_errors, [(each.location, each.error) for each in plan.line_errors[:3]]
    assert len(plan.jobs) == 1000
    plan.jobs[:] = plan.jobs[::97]
    _, results = run_batch(plan)
    for job, result in zip(
        sorted(plan.jobs, key=lambda j: j.fingerprint), sorted(results, key=lambda r: r.fingerprint), strict=True
    ):
        assert result.record is not None
        assert result.record.state == "done", result.message
        path = Path("out", result.record.file)
        replayed = replay(path, model=str(model))
        with Image.open(path) as image:
            assert replayed.image.tobytes() == image.tobytes(), job.location
        assert to_record(replayed.request) == to_record(job.request)


def prompt_line(number: int, rng: random.Random) -> str:
    """Return a line of a prompt file with options of every kind."""
    task = ("txt2img", "img2img", "inpaint", "outpaint")[number % 4]
    tokens = [
        f"a red fox's {number}th #{number} snow, (white:1.2)",
        "--task",
        task,
        "--seed",
        str(rng.randrange(2**32)),
    ]
    tokens += ["-n", "'blue house'", "--steps", str(rng.randint(2, 4)), "-g", f"{rng.uniform(0, 9):.2f}"]
    tokens += ["--scheduler", rng.choice(["euler", "'Euler a'", "dpmpp_2m", "DDIMScheduler"])]
    tokens += ["--long-prompt", rng.choice(["truncate", "chunk"]), "--dtype", "fp32", "--device", "cpu"]
    tokens += rng.choice([[], ["--vae-tiling"], ["--no-safety-checker"], ["--offline"]])
    if task == "txt2img":
        tokens += rng.choice([["--size", "32x48"], ["-W", "40"], []])
    else:
        tokens += ["-i", "in.png", "--strength", f"{rng.uniform(0.5, 1):.2f}", "--background", "'#102030'"]
    if task == "img2img":
        tokens += rng.choice([["--size", "48x32"], []])
    if task == "inpaint":
        tokens += ["--mask", "mask.png", *rng.choice([[], ["--invert-mask"]])]
    if task == "outpaint":
        tokens += rng.choice([["--expand", "left=7,top=3"], ["--target-size", "64x56"]])
    if task in ("inpaint", "outpaint"):
        tokens += rng.choice([["--feather", "3"], ["--no-keep-original"], []])
    return " ".join(tokens)
