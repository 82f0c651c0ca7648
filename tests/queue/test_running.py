"""Running a batch: exact, resumable after any crash, shared between processes."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import batches
import pytest
import torch
from batches import draw, entries, hashes
from diffusers import UNet2DConditionModel
from PIL import Image, ImageChops

from artgen import replay
from artgen.engine import generate
from artgen.errors import DeviceLostError, OutputError, UsageError
from artgen.jobs.batch_size import AutoTuneBatchSize, JobGroup, parse_batch_size
from artgen.outputs import Destination
from artgen.queue import prompt_files
from artgen.queue.entries import Entry
from artgen.queue.job_queue import JobFilter, in_process_runner, parse_shard, pending_jobs
from artgen.queue.job_runner import MAX_PENDING_SAVES
from artgen.queue.ledger import JobRecord, Ledger
from artgen.queue.locks import JobLocks
from artgen.queue.planner import Planner
from artgen.queue.process_pool import pin_to_device, worker_pool_runner
from artgen.spec.records import to_record
from artgen.system import hardware


@pytest.fixture
def model(models: dict[str, Path]) -> Path:
    return models["sd1"]


@pytest.fixture
def whole(model: Path) -> dict[str, str]:
    """The hashes of an uninterrupted run of forty."""
    made = batches.plan(Path("whole"), model, entries(40))
    _, results = draw(made)
    assert [result.record.state for result in results if result.record] == ["done"] * 40
    return hashes(Path("whole"))


def lines(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for path in folder.rglob("*.jsonl") for line in path.read_bytes().splitlines() if line]
    return [line for line in found if "job" in line]


def test_a_batch_that_was_killed_ten_times_ends_as_if_it_had_not_been(model: Path, whole: dict[str, str]) -> None:
    folder = Path("killed")
    made = batches.plan(folder, model, entries(40))
    done: list[int] = []
    # A quarter of the whole, however fast the machine is now, so that some of the ten draw something.
    longest = batches.seconds(Path("whole")) / 4
    for _ in batches.killed_at_random(lambda: void(draw(made)), times=10, longest=longest):
        finals = hashes(folder)
        assert finals.items() <= whole.items()  # no partial file under a final name
        done.append(len(finals))
    assert 0 < done[0] < 40 or done[-1] > 0
    draw(made)
    assert hashes(folder) == whole
    announced = [line["job"] for line in lines(folder)]
    assert len(announced) <= 40 + 10  # at most one redone for each kill
    assert set(announced) == {job.fingerprint for job in made.jobs}


def void(_: object) -> None:
    pass


def test_pictures_do_not_pile_up_before_a_slow_disk(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = batches.plan(Path("out"), model, entries(12))
    drawn: list[Any] = []
    ahead: list[int] = []
    draw_them, save = generate.generate_jobs, Destination.save

    def counted(*words: Any, **more: Any) -> Iterator[Any]:
        for outcome in draw_them(*words, **more):
            drawn.append(outcome)
            yield outcome

    def slow(self: Destination, *words: Any, **more: Any) -> Path:
        seen = 0
        while not ahead and seen < len(drawn):  # the first picture, until drawing comes to a stop
            seen = len(drawn)
            time.sleep(1)
        ahead.append(seen)
        return save(self, *words, **more)

    monkeypatch.setattr(generate, "generate_jobs", counted)
    monkeypatch.setattr(Destination, "save", slow)
    _, results = draw(made)
    assert 1 <= ahead[0] <= MAX_PENDING_SAVES + 2  # one a device batch: one more may wait, and one is being drawn
    assert [result.record.state for result in results if result.record] == ["done"] * 12
    assert len(hashes(Path("out"))) == 12


def test_running_again_draws_only_what_is_not_there(model: Path) -> None:
    made = batches.plan(Path("out"), model, entries(4))
    draw(made)
    before = hashes(Path("out"))
    counted, results = draw(made)
    assert (counted.num_completed, counted.pending, results) == (4, [], [])
    first, *_ = sorted(Path("out").glob("*.png"))
    first.unlink()
    _, results = draw(made)
    assert [result.record.file for result in results if result.record] == [first.name]
    assert hashes(Path("out")) == before


def test_a_changed_line_is_a_new_job_and_the_others_stay(model: Path) -> None:
    found = entries(4)
    draw(batches.plan(Path("out"), model, found))
    found[1] = Entry("prompts.txt", 2, {**found[1].setting_values, "steps": 3})
    counted, results = draw(batches.plan(Path("out"), model, found))
    assert counted.num_completed == 3
    assert len(results) == 1
    assert len(hashes(Path("out"))) == 5


@pytest.mark.parametrize("batch_size", ["4", "auto"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_of_any_size_and_order_draw_the_same_pictures(model: Path, batch_size: str, shuffle: bool) -> None:
    found = entries(12)
    one, other = batches.plan(Path("one"), model, found), batches.plan(Path("other"), model, found)
    draw(one)
    draw(other, batch_size=batch_size, selection=JobFilter(shuffle=shuffle))
    names = sorted(path.name for path in Path("one").glob("*.png"))
    assert names == sorted(path.name for path in Path("other").glob("*.png"))
    for name in names:
        with Image.open(Path("one", name)) as first, Image.open(Path("other", name)) as second:
            extrema = ImageChops.difference(first, second).getextrema()
        assert max(high for _, high in extrema) <= 1


def test_order_alone_changes_no_bit(model: Path) -> None:
    found = entries(8)
    draw(batches.plan(Path("one"), model, found))
    draw(batches.plan(Path("other"), model, found), selection=JobFilter(shuffle=True))
    assert hashes(Path("one")) == hashes(Path("other"))


def test_shards_are_the_whole_and_share_nothing(model: Path) -> None:
    found = entries(10)
    draw(batches.plan(Path("one"), model, found))
    for shard in range(3):
        made = batches.plan(Path("parts"), model, found)
        draw(made, in_process_runner(Path("parts"), f"-{shard}of3"), selection=JobFilter(shard=(shard, 3)))
    assert hashes(Path("one")) == hashes(Path("parts"))
    assert len(lines(Path("parts"))) == 10


@pytest.mark.parametrize("text", ["3/3", "1", "-1/2", "a/b", "0/0"])
def test_a_wrong_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_shard(text)


def test_limit_and_groups(model: Path) -> None:
    made = batches.plan(Path("out"), model, entries(6))
    counted, _ = draw(made, selection=JobFilter(limit=3))
    assert [job.number for job in counted.pending] == [1, 3, 2]  # one shape after the other
    counted, _ = draw(made)
    assert counted.num_completed == 3


def test_a_job_that_fails_stops_no_other_and_is_tried_again_when_asked(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = batches.plan(Path("out"), model, entries(5))
    spoiling = [True]
    forward = UNet2DConditionModel.forward
    calls = [0]

    def spoilt(self: Any, *arguments: Any, **more: Any) -> Any:
        calls[0] += 1
        result = forward(self, *arguments, **more)
        if spoiling[0] and calls[0] == 1:
            result[0].fill_(torch.nan)
        return result

    monkeypatch.setattr(UNet2DConditionModel, "forward", spoilt)
    _, results = draw(made)
    states = [result.record.state for result in results if result.record]
    assert sorted(states) == ["done"] * 4 + ["failed"]
    failed = next(result for result in results if result.record and result.record.state == "failed")
    assert failed.record is not None
    assert failed.record.exit_code == 9
    assert all(r.record.time == round(r.record.time, 3) for r in results if r.record)
    spoiling[0] = False
    counted, results = draw(made)
    assert (counted.num_completed, len(counted.failed), results) == (4, 1, [])
    counted, results = draw(made, selection=JobFilter(retry_failed=True))
    assert [result.record.state for result in results if result.record] == ["done"]
    assert len(hashes(Path("out"))) == 5


def test_a_bug_in_one_job_of_a_batch_takes_no_other_with_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from artgen.engine.sampling import pipeline_call

    made = batches.plan(Path("out"), model, [Entry("p", i, {"prompt": f"fox {i}", "steps": 1}) for i in range(4)])
    drawn = pipeline_call.run_pipeline

    def trips(jobs: Any, *arguments: Any) -> Any:
        if any(job.request.prompt == "fox 2" for job in jobs):
            raise ZeroDivisionError("division by zero")
        return drawn(jobs, *arguments)

    monkeypatch.setattr("artgen.engine.generate.draw_batch", trips)
    _, results = draw(made, batch_size="4")
    records = [result.record for result in results if result.record]
    assert sorted(record.state for record in records) == ["done"] * 3 + ["failed"]
    assert [record.error for record in records if record.state == "failed"] == ["ZeroDivisionError: division by zero"]


def test_a_gpu_that_answers_no_more_ends_the_batch_and_fails_no_picture(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from artgen.engine.sampling import pipeline_call

    made = batches.plan(Path("out"), model, entries(5))
    drawn, calls = pipeline_call.run_pipeline, []

    def lost(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) > 2:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with ...")
        return drawn(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr("artgen.engine.generate.draw_batch", lost)
        with pytest.raises(DeviceLostError, match=r"illegal memory access was encountered$"):
            draw(made)
    counted, results = draw(made)
    assert (counted.num_completed, counted.failed) == (2, [])
    assert [result.record.state for result in results if result.record] == ["done"] * 3


def test_what_running_out_of_memory_taught_holds_for_the_next_device_batches(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from artgen.engine.sampling import pipeline_call

    found = [Entry("p", i, {"prompt": f"fox {i}", "seed": str(i), "steps": 1}) for i in range(8)]
    made = batches.plan(
        Path("out"), model, [*found, *[Entry("p", 9, {**found[0].setting_values, "size": "16x16"})] * 4]
    )
    drawn, asked = pipeline_call.run_pipeline, []

    def short(jobs: Any, rows: int, *arguments: Any) -> Any:
        asked.append((rows, jobs[0].size[0]))
        if rows * jobs[0].width > 2 * 32:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return drawn(jobs, rows, *arguments)

    monkeypatch.setattr("artgen.engine.generate.draw_batch", short)
    _, results = draw(made, batch_size="4")
    assert [result.record.state for result in results if result.record] == ["done"] * 12
    assert asked == [(4, 32), *[(2, 32)] * 4, (4, 16)], "tried once, and smaller ones are tried as they are"


def test_a_picture_that_breaks_after_planning_fails_alone(model: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (32, 32), "red").save(name)
    found = [Entry("p", i, {"task": "img2img", "image": Path(n), "steps": 2}) for i, n in enumerate(("a.png", "b.png"))]
    made = batches.plan(Path("out"), model, found)
    Path("a.png").write_bytes(b"no picture any more")
    _, results = draw(made)
    states = {result.record.where: result.record.exit_code for result in results if result.record}
    assert states == {"p": 3, "p:1": 0}


def test_a_full_disk_stops_the_batch_and_loses_nothing(model: Path, whole: dict[str, str]) -> None:
    folder = Path("full")
    made = batches.plan(folder, model, entries(40))

    def work() -> None:
        size = max(path.stat().st_size for path in Path("whole").glob("*.png"))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size * 2, size * 2))  # the ledger outgrows it soon
        with pytest.raises(OutputError):
            draw(made)

    _, status = os.waitpid(batches.child(work), 0)
    assert status == 0
    assert 0 < len(hashes(folder)) < 40
    assert hashes(folder).items() <= whole.items()
    draw(made)
    assert hashes(folder) == whole


def test_two_coordinators_share_a_folder(model: Path, whole: dict[str, str]) -> None:
    folder = Path("both")
    made = batches.plan(folder, model, entries(40))
    children = [batches.child(lambda: void(draw(made))) for _ in range(2)]
    for number in children:
        assert os.waitpid(number, 0)[1] == 0
    assert hashes(folder) == whole
    assert len(lines(folder)) == 40


def test_what_a_dead_coordinator_had_is_taken_over(model: Path, whole: dict[str, str]) -> None:
    folder = Path("heir")
    made = batches.plan(folder, model, entries(40))

    def stuck() -> None:
        claims = JobLocks(folder)
        assert claims.acquire(made.jobs[0].fingerprint)
        time.sleep(60)

    holder = batches.child(stuck)
    while not (folder / "artgen-ledger" / "claims").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    heir = batches.child(lambda: void(draw(made)))
    while len(hashes(folder)) < 39:
        time.sleep(0.05)
    assert os.waitpid(heir, os.WNOHANG)[0] == 0  # waits for the one that is claimed
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    assert os.waitpid(heir, 0)[1] == 0
    assert hashes(folder) == whole


def test_a_worker_that_cannot_begin_is_not_taken_for_a_picture_that_kills(model: Path) -> None:
    Path("p.txt").write_text("a fox --seed 1\na cat --seed 2\n")
    words = ["artgen", "batch", "p.txt", "-m", str(model), "-o", "out/", "--workers", "2"]
    # Without the usual guard, a new process runs the program again instead of what it is for.
    Path("unguarded.py").write_text(f"import sys\nsys.argv = {words!r}\nfrom artgen.cli.main import run\nrun()\n")
    ran = subprocess.run([sys.executable, "unguarded.py"], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 1
    assert "error: A worker died before it began (exit code 1)." in ran.stderr
    counted = pending_jobs(
        batches.plan(Path("out"), model, prompt_files.read_prompt_file(Path("p.txt"))).jobs,
        Ledger(Path("out")),
        JobFilter(),
    )
    assert (len(counted.pending), counted.failed) == (2, []), "no picture is to blame"


def test_workers_draw_the_same_pictures(model: Path) -> None:
    found = entries(8)
    draw(batches.plan(Path("one"), model, found))
    _, results = draw(batches.plan(Path("two"), model, found), worker_pool_runner(Path("two"), 2))
    assert len(results) == 8
    assert hashes(Path("one")) == hashes(Path("two"))


def first_in_children(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Lets every new Python process run a program first."""
    Path("first").mkdir()
    Path("first/sitecustomize.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(Path("first").resolve()))


KILLS = """
import os, signal, sys

def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("poison.png"):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
"""
"""What every new Python process runs first: the one that opens `poison.png` dies."""


def test_a_job_that_kills_its_worker_is_found_and_left_alone(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a.png", "b.png", "poison.png", "c.png", "d.png"]
    for name in names:
        Image.new("RGB", (32, 32), "red").save(name)
    found = [Entry(name, 0, {"task": "img2img", "image": Path(name), "steps": 2}) for name in names]
    made = batches.plan(Path("out"), model, found)
    first_in_children(monkeypatch, KILLS)
    _, results = draw(made, worker_pool_runner(Path("out"), 2), batch_size="2")
    records = {result.record.where or "": result.record for result in results if result.record}
    assert records["poison.png"].state == "failed"
    assert "SIGKILL" in records["poison.png"].error
    assert {where for where, record in records.items() if record.state == "done"} == set(names) - {"poison.png"}
    counted, again = draw(made)
    assert (counted.num_completed, len(counted.failed), again) == (4, 1, [])


LOST = """
import sys

if "spawn_main" in " ".join(sys.orig_argv):
    import pathlib
    import artgen.engine.generate as generate
    draw = generate.draw_batch

    def lost(jobs, *arguments):
        try:
            pathlib.Path("lost").touch(exist_ok=False)
        except FileExistsError:
            return draw(jobs, *arguments)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    generate.draw_batch = lost
"""


def test_a_worker_whose_gpu_answers_no_more_is_replaced(
    model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made = batches.plan(Path("out"), model, entries(6))
    first_in_children(monkeypatch, LOST)
    _, results = draw(made, worker_pool_runner(Path("out"), 2))
    assert Path("lost").exists()
    assert [result.record.state for result in results if result.record] == ["done"] * 6
    said = capfd.readouterr().err
    assert "The GPU is lost for this process: CUDA error: an illegal memory access" in said
    assert "Traceback" not in said


DEAD = """
import multiprocessing, sys

if "spawn_main" in " ".join(sys.orig_argv):
    import artgen.engine.generate as generate
    draw = generate.draw_batch

    def lost(*arguments):
        if multiprocessing.current_process().name in NAMES:
            raise RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")
        return draw(*arguments)

    generate.draw_batch = lost
"""


def test_a_gpu_that_stays_dead_is_left_alone_and_takes_no_picture_with_it(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = batches.plan(Path("out"), model, entries(6))
    first_in_children(monkeypatch, f"NAMES = ['artgen-worker-0']\n{DEAD}")
    _, results = draw(made, worker_pool_runner(Path("out"), 2))
    assert [result.record.state for result in results if result.record] == ["done"] * 6


def test_without_any_gpu_left_the_batch_ends_and_fails_no_picture(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = batches.plan(Path("out"), model, entries(6))
    with monkeypatch.context() as patched:
        first_in_children(patched, f"NAMES = ['artgen-worker-0', 'artgen-worker-1']\n{DEAD}")
        with pytest.raises(DeviceLostError, match="No GPU answers any more"):
            draw(made, worker_pool_runner(Path("out"), 2))
    counted, results = draw(made)
    assert (counted.num_completed, counted.failed) == (0, [])
    assert [result.record.state for result in results if result.record] == ["done"] * 6


@pytest.mark.parametrize(("visible", "mine"), [("", "1"), ("4,7", "7"), ("GPU-5c,GPU-8e,GPU-9f", "GPU-5c")])
def test_a_worker_sees_its_own_gpu_alone(monkeypatch: pytest.MonkeyPatch, visible: str, mine: str) -> None:
    """The fourth of four, of which each second or third has the same GPU."""

    def asked() -> int:
        raise AssertionError("the driver reads the variable once, when it is first asked")

    monkeypatch.setattr(hardware, "cuda_device_count", asked)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    pin_to_device(3, 4, num_devices=2)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == mine


class TestLedger:
    """The ledger by itself."""

    def test_a_line_cut_short_is_passed_over_and_the_next_begins_anew(self) -> None:
        ledger = Ledger(Path("out"))
        ledger.write("aa", JobRecord("failed", error="x"))
        ledger.close()
        with ledger.path.open("ab") as file:
            file.write(b'{"job": "bb", "sta')
        again = Ledger(Path("out"))
        again.write("cc", JobRecord("failed", error="ünïcode \ud800"))
        again.close()
        third = Ledger(Path("out"))
        third.refresh()
        assert set(third.records) == {"aa", "cc"}

    def test_done_needs_the_file(self) -> None:
        ledger = Ledger(Path("out"))
        ledger.write("aa", JobRecord("done", "a.png", "00"))
        assert ledger.completed("aa") is None
        assert ledger.completed_keys() == set()
        Path("out/a.png").write_bytes(b"")
        assert ledger.completed("aa") is not None
        assert ledger.completed_keys() == {"aa"}

    def test_what_others_add_is_seen(self) -> None:
        one, other = Ledger(Path("out")), Ledger(Path("out"), "-1of2")
        one.write("aa", JobRecord("failed"))
        other.refresh()
        other.write("bb", JobRecord("failed"))
        third = Ledger(Path("out"))
        third.refresh()
        assert set(other.records) == set(third.records) == {"aa", "bb"}
        one.write("cc", JobRecord("failed"))
        third.refresh()
        assert "cc" in third.records

    def test_claims_are_exclusive_and_die_with_their_process(self) -> None:
        key = "0" * 63 + "1"
        other = "f" * 64

        def take() -> None:
            assert JobLocks(Path("out")).acquire(key)
            time.sleep(60)

        holder = batches.child(take)
        claims = JobLocks(Path("out"))
        for _ in range(500):
            if not claims.acquire(key):
                break
            claims.release(key)
            time.sleep(0.01)
        assert not claims.acquire(key)
        assert claims.acquire(other)
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        assert claims.acquire(key)


def test_batches_grow_while_it_pays() -> None:
    sizes = AutoTuneBatchSize()
    seconds = {1: 1.0, 2: 0.6, 4: 0.4, 8: 0.39, 16: 0.1}
    asked = []
    for _ in range(6):
        asked.append(sizes.next_batch_size(JobGroup(0, 400, 400, 8)))
        sizes.record_timing(0, asked[-1], seconds[asked[-1]])
    assert asked == [1, 2, 4, 8, 4, 4]
    assert sizes.next_batch_size(JobGroup(1, 400, 400, 8)) == 1
    with pytest.raises(UsageError):
        parse_batch_size("many")


def test_a_thousand_lines_with_every_option_come_back_from_their_pictures(model: Path) -> None:
    """Plan, picture, metadata, replay: the same pixels; every line is planned, some of every task are drawn."""
    Image.effect_noise((40, 48), 90).convert("RGB").save("in.png")
    Image.new("L", (40, 48), 0).save("mask.png")
    with Image.open("mask.png") as mask:
        mask.paste(255, (4, 4, 30, 30))
        mask.save("mask.png")
    chance = random.Random(3)
    Path("p.txt").write_text("".join(f"{line(number, chance)}\n" for number in range(1000)))
    made = Planner(Path("out"), {"model": str(model)}).build_plan(prompt_files.read_prompt_file(Path("p.txt")))
    assert not made.line_errors, [(mistake.location, mistake.error) for mistake in made.line_errors[:3]]
    assert len(made.jobs) == 1000
    made.jobs[:] = made.jobs[::97]
    _, results = draw(made)
    for job, result in zip(
        sorted(made.jobs, key=lambda j: j.fingerprint), sorted(results, key=lambda r: r.fingerprint), strict=True
    ):
        assert result.record is not None
        assert result.record.state == "done", result.message
        path = Path("out", result.record.file)
        again = replay(path, {"model": str(model)})
        with Image.open(path) as picture:
            assert again.image.tobytes() == picture.tobytes(), job.location
        assert to_record(again.request) == to_record(job.request)


def line(number: int, chance: random.Random) -> str:
    """A line of a prompt file with an option of every kind."""
    task = ("txt2img", "img2img", "inpaint", "outpaint")[number % 4]
    words = [
        f"a red fox's {number}th #{number} snow, (white:1.2)",
        "--task",
        task,
        "--seed",
        str(chance.randrange(2**32)),
    ]
    words += ["-n", "'blue house'", "--steps", str(chance.randint(2, 4)), "-g", f"{chance.uniform(0, 9):.2f}"]
    words += ["--scheduler", chance.choice(["euler", "'Euler a'", "dpmpp_2m", "DDIMScheduler"])]
    words += ["--long-prompt", chance.choice(["truncate", "chunk"]), "--dtype", "fp32", "--device", "cpu"]
    words += chance.choice([[], ["--vae-tiling"], ["--no-safety-checker"], ["--offline"]])
    if task == "txt2img":
        words += chance.choice([["--size", "32x48"], ["-W", "40"], []])
    else:
        words += ["-i", "in.png", "--strength", f"{chance.uniform(0.5, 1):.2f}", "--background", "'#102030'"]
    if task == "img2img":
        words += chance.choice([["--size", "48x32"], []])
    if task == "inpaint":
        words += ["--mask", "mask.png", *chance.choice([[], ["--invert-mask"]])]
    if task == "outpaint":
        words += chance.choice([["--expand", "left=7,top=3"], ["--target-size", "64x56"]])
    if task in ("inpaint", "outpaint"):
        words += chance.choice([["--feather", "3"], ["--no-keep-original"], []])
    return " ".join(words)
