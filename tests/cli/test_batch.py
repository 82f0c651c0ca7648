"""Batches, sweeps and contact sheets as people and scripts use them."""

import csv
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import FAST, run, save_inputs
from PIL import Image
from pseudo_terminal import artgen

from artgen.images import load_image
from artgen.system import hardware

LINES = "a red fox --seed 7\na blue cat --seed 8 --steps 3\n"


@pytest.fixture(autouse=True)
def _inputs() -> None:
    save_inputs()
    Path("p.txt").write_text(LINES)


def names(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*.*") if "ledger" not in str(path))


def test_a_file_is_drawn_once(sd1: str) -> None:
    result = run("batch", "p.txt", "-m", sd1, "--steps", "2")
    assert result.stdout.splitlines() == ["outputs/p/00001-7-a-red-fox.png", "outputs/p/00002-8-a-blue-cat.png"]
    assert result.stderr.startswith("2 pictures in outputs/p\n")
    again = run("batch", "p.txt", "-m", sd1, "--steps", "2")
    assert again.stdout == ""
    assert "2 done, 0 to draw" in again.stderr
    single = run("txt2img", "a red fox", "-m", sd1, *FAST, "-o", "one.png")
    assert single.exit_code == 0
    assert np.array_equal(np.asarray(Image.open("one.png")), np.asarray(Image.open("outputs/p/00001-7-a-red-fox.png")))


def test_prompts_come_through_stdin_and_records_go_to_stdout(sd1: str) -> None:
    result = run("batch", "-", "-o", "out", "-m", sd1, "--steps", "2", "--json", "-q", input=LINES)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(r["prompt"], r["steps"], r["seed"]) for r in records] == [("a red fox", 2, 7), ("a blue cat", 3, 8)]
    assert result.stderr == ""
    # What was printed is itself a batch, of the same pictures; only a local model's folder is not told.
    Path("again.jsonl").write_text("".join(json.dumps({**record, "model": sd1}) + "\n" for record in records))
    run("batch", "again.jsonl", "-o", "again", "-q")
    for record, name in zip(records, names("again"), strict=True):
        assert np.array_equal(np.asarray(Image.open(record["file"])), np.asarray(Image.open(f"again/{name}")))


def test_dry_run_lists_what_is_left_with_its_line(sd1: str) -> None:
    run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", "--limit", "1")
    result = run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", "--dry-run")
    assert result.stdout.startswith("p.txt:2  task=txt2img  prompt=a blue cat  seed=8  steps=3")
    assert len(result.stdout.splitlines()) == 1
    assert "2 pictures in out, 1 done, 1 to draw, about" in result.stderr
    assert len(names("out")) == 1
    listed = json.loads(run("batch", "p.txt", "-m", sd1, "-o", "new/", "--dry-run", "--json").stdout.splitlines()[0])
    assert (listed["where"], listed["seed"], listed["width"]) == ("p.txt:1", 7, 32)
    assert not Path("new").exists() or not names("new")


def test_mistakes_stop_everything_unless_told_to_keep_going(sd1: str) -> None:
    Path("p.txt").write_text(f"{LINES}x --steps 0\n")
    result = run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", code=2)
    assert "p.txt:3: steps must be 1 to 1,000, not 0." in result.stderr
    assert "1 of 3 jobs are wrong; nothing was drawn" in result.stderr
    result = run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", "--keep-going")
    assert len(result.stdout.splitlines()) == 2


def test_failures_are_told_at_the_end_with_exit_code_7(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (32, 32)).save("gone.png")
    Path("p.txt").write_text("fine --seed 1\nx --task img2img -i gone.png\n")
    run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", "--limit", "1")

    looked: list[Path] = []

    def twice(path: Path, **more: Any) -> Any:
        """The picture is there when the batch is planned, and gone when it is to be drawn from."""
        looked.append(path)
        if len(looked) == 2:
            path.unlink()
        return load_image(path, **more)

    with monkeypatch.context() as patch:
        patch.setattr("artgen.images.load_image", twice)
        result = run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", code=7)
    assert "p.txt:2: 'gone.png' does not exist" in result.stderr
    assert "\\n" not in result.stderr
    assert "1 of 2 pictures failed" in result.stderr
    Image.new("RGB", (32, 32)).save("gone.png")
    result = run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", code=7)
    assert "1 failed before (--retry-failed), 0 to draw" in result.stderr
    run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", "--retry-failed")


def test_status_and_verify(sd1: str) -> None:
    run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", "--limit", "1")
    assert run("batch", "status", "out").stdout.splitlines()[0] == "1 done, 0 failed, 1 left of 2"
    run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/")
    told = json.loads(run("batch", "status", "out", "--json").stdout)
    assert (told["done"], told["left"], told["total"]) == (2, 0, 2)
    assert "2 sound, 0 changed, 0 missing" in run("batch", "verify", "out").stderr
    first, second = names("out")
    Path("out", first).unlink()
    result = run("batch", "verify", "out", code=3)
    assert result.stdout == f"missing: out/{first}\n"
    Path("out", second).write_bytes(b"x")
    assert f"changed: out/{second}" in run("batch", "verify", "out", code=5).stdout
    assert "holds no batch" in run("batch", "status", ".", code=3).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none.txt",), "none.txt"),
        (("p.txt", "-o", "one.png"), "one file"),
        (("p.txt", "--overwrite"), "replaces no picture"),
        (("p.txt", "--shard", "2/2"), "--shard"),
        (("p.txt", "--batch-size", "0"), "batch_size"),
        (("p.txt", "-i", "in.png"), "from FILE"),
        (("p.txt", "--ray", "127.0.0.1:1"), "No Ray cluster answers"),
        (("p.txt", "--ray", "nonsense"), "host:port"),
    ],
)
def test_what_cannot_be_a_batch_is_refused(words: tuple[str, ...], said: str) -> None:
    result = run("batch", *words, code=3 if "none" in words[0] else 2)
    assert said in result.stderr
    assert not Path("outputs").exists() or not names("outputs")


def test_an_empty_file_has_nothing_to_draw() -> None:
    Path("p.txt").write_text("# only a comment\n")
    assert "nothing to draw" in run("batch", "p.txt", code=2).stderr


def test_a_template_names_the_pictures(sd1: str) -> None:
    run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/{steps}/{seed}.webp")
    assert names("out") == ["2/7.webp", "3/8.webp"]


def test_a_folder_of_pictures_keeps_names_and_sub_folders(sd1: str) -> None:
    Path("photos/sub").mkdir(parents=True)
    Image.new("RGB", (32, 40), "red").save("photos/my fox.png")
    Image.new("RGB", (40, 32), "blue").save("photos/sub/b.jpg")
    Path("photos/sub/b.txt").write_text("a blue fox")
    result = run("img2img", "photos", "an oil painting", "-m", sd1, *FAST, "-o", "out/", "--json", "-q")
    assert names("out") == ["my fox.png", "sub/b.png"]
    assert [json.loads(line)["prompt"] for line in result.stdout.splitlines()] == ["an oil painting", "a blue fox"]
    assert Image.open("out/my fox.png").size == (32, 40)
    run("img2img", "photos/my fox.png", "photos/sub/b.jpg", "-m", sd1, *FAST, "-o", "two/")
    assert names("two") == ["b.png", "my fox.png"]
    Path("masks/sub").mkdir(parents=True)
    for name, size in (("my fox.png", (32, 40)), ("sub/b.png", (40, 32))):
        mask = Image.new("L", size)
        mask.paste(255, (0, 0, 9, 9))
        mask.save(f"masks/{name}")
    run("inpaint", "photos", "--mask", "masks", "-m", sd1, *FAST, "-o", "in/")
    assert names("in") == ["my fox.png", "sub/b.png"]
    before, after = np.asarray(Image.open("photos/my fox.png")), np.asarray(Image.open("in/my fox.png"))
    assert np.array_equal(before[9:], after[9:])


def test_words_of_a_picture_task(sd1: str) -> None:
    assert "none.png" in run("img2img", "in.png", "none.png", "-m", sd1, code=3).stderr
    assert "given already" in run("img2img", "in.png", "a", "b", "-m", sd1, code=2).stderr
    record = json.loads(run("img2img", "-i", "in.png", "a fox", "-m", sd1, "--dry-run", "--json").stdout)
    assert (record["image"], record["prompt"]) == ("in.png", "a fox")


def test_a_sweep_draws_every_combination_and_a_sheet(sd1: str) -> None:
    words = (
        "txt2img",
        "a fox",
        "-m",
        sd1,
        "--steps",
        "2",
        "--sweep",
        "guidance=1:5:2",
        "--sweep",
        "scheduler=euler,ddim",
    )
    result = run(*words, "-o", "sw/")
    assert len(result.stdout.splitlines()) == 7
    assert result.stdout.splitlines()[-1] == "sw/sheet.png"
    rows = list(csv.DictReader(Path("sw/sweep.csv").read_text().splitlines()))
    assert [(row["guidance_scale"], row["scheduler"]) for row in rows] == [
        (g, s) for g in ("1", "3", "5") for s in ("euler", "ddim")
    ]
    records = [json.loads(run("info", "--json", f"sw/{row['file']}").stdout) for row in rows]
    assert len({record["seed"] for record in records}) == 1
    assert [record["guidance_scale"] for record in records] == [1, 1, 3, 3, 5, 5]
    wide, high = Image.open("sw/sheet.png").size
    assert wide < high  # two columns, three rows
    assert "6 done, 0 to draw" in run(*words, "-o", "sw/").stderr
    many = run(
        "img2img", "in.png", "-m", sd1, "--steps", "2", "--sweep", "strength=0.5,1", "--seed", "1,5", "-o", "s2/"
    )
    assert len(many.stdout.splitlines()) == 5
    assert "cannot be swept" in run("txt2img", "x", "--sweep", "output=a,b", code=2).stderr


def test_a_sheet_of_any_pictures(sd1: str) -> None:
    run("txt2img", "a fox", "-m", sd1, *FAST, "--count", "3")
    files = [f"outputs/{name}" for name in names("outputs")]
    assert run("sheet", *files, "in.png", "--columns", "2", "--rows", "1", "--cell", "64").stdout.splitlines() == [
        "sheet.png",
        "sheet-2.png",
    ]
    assert "exists already" in run("sheet", *files, code=74).stderr
    Path("sheet.png").unlink()
    words = ("sheet", *files, "in.png", "--columns", "2", "--rows", "1")
    assert "sheet-2.png" in run(*words, code=74).stderr
    assert not Path("sheet.png").exists(), "no page is written where another cannot be"
    run("sheet", "outputs", "--label", "seed,steps", "--overwrite")
    assert "There is no setting" in run("sheet", *files, "--label", "nope", "-o", "x.png", code=2).stderr
    assert "p.txt" in run("sheet", "p.txt", "-o", "y.png", code=3).stderr


@pytest.mark.parametrize("words", [("sheet", "-o"), ("reconstruct", "-o"), ("denoise", "--compare")], ids=" ".join)
def test_where_a_sheet_cannot_go_is_said_before_a_picture_is_read(words: tuple[str, str]) -> None:
    command, option = words
    assert "A sheet is a .png" in run(command, "in.png", option, "sheet.gif", code=2).stderr
    Path("torn.png").write_bytes(Path("in.png").read_bytes()[:60])
    assert "'in.png' exists already" in run(command, "torn.png", option, "in.png", code=74).stderr


def test_control_c_leaves_a_batch_that_goes_on_where_it_stopped(sd1: str) -> None:
    Path("p.txt").write_text("".join(f"fox {i} --seed {i} --steps 40\n" for i in range(40)))
    words = ("batch", "p.txt", "-m", sd1, "-o", "out/")
    process = artgen(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith(b"out/")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"the same command goes on from here" in said
    done = len(names("out"))
    assert 1 <= done < 40
    time.sleep(0.1)
    run(*words, "-q")
    assert len(names("out")) == 40
    assert "40 sound" in run("batch", "verify", "out").stderr


def test_a_ray_cluster_draws_the_same_pictures(sd1: str) -> None:
    run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "one/", "-q")
    process = artgen(
        "batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "two/", "--ray", "local", stderr=subprocess.PIPE
    )
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert names("one") == names("two")
    for name in names("one"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()


def test_lines_with_names_of_their_own_go_on_too(sd1: str) -> None:
    Path("p.txt").write_text("a red fox --seed 7 --count 2 --output fox.png\na cat --seed 8 -o pets/cat.png\n")
    words = ("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/")
    run(*words, "--limit", "1")
    run(*words)
    assert names("out") == ["fox-1.png", "fox.png", "pets/cat.png"]
    assert "3 done, 0 to draw" in run(*words).stderr
    Path("out/dog.png").write_bytes(b"not the batch's")
    Path("p.txt").write_text("a dog --output dog.png\n")
    assert "'out/dog.png' exists already" in run(*words, code=74).stderr


def test_ray_that_does_not_start_is_told(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def slow(**_: object) -> None:
        raise Exception("The current node timed out during startup.")  # as ray._private.node has it

    monkeypatch.setattr(ray, "init", slow)
    done = run("batch", "p.txt", "-m", sd1, "-o", "out/", "--ray", "local", code=2)
    assert "Ray could not start here: The current node timed out" in done.stderr


KILLS_ACTORS = """
import os, signal, sys

def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("poison.png"):
        os.kill(os.getpid(), signal.SIGKILL)

if any("default_worker" in word for word in sys.orig_argv):
    sys.addaudithook(hook)
"""
"""What every new Python process runs first: a Ray worker that opens `poison.png` dies."""


def test_a_job_that_kills_ray_s_actors_is_left_alone(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (32, 32), "red").save("poison.png")
    Path("p.txt").write_text("a fox --seed 1\n--task img2img -i poison.png --seed 2\na cat --seed 3\n")
    Path("first").mkdir()
    Path("first/sitecustomize.py").write_text(KILLS_ACTORS)
    monkeypatch.setenv("PYTHONPATH", str(Path("first").resolve()))
    words = ("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", "--ray", "local")
    process = artgen(*words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    _, said = process.communicate(timeout=400)
    assert process.returncode == 7, said
    assert b"p.txt:2: Drawing this killed its process 3 times" in said
    assert len(names("out")) == 2


def test_workers_and_one_named_gpu_are_refused_before_anything_loads(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cuda_device_count", lambda: 2)
    for arguments, said in (
        (
            ("--device", "cuda:1"),
            "each process a GPU of its own, and --device cuda:1 names one for all.",
        ),
        (("--device", "cuda:1", "--dry-run"), "CUDA_VISIBLE_DEVICES=0,2 chooses among GPUs."),
    ):
        assert said in run("batch", "p.txt", "-m", sd1, "--workers", "2", *arguments, code=2).stderr
    assert run("batch", "p.txt", "-m", sd1, "--workers", "2", "--device", "cuda", "--dry-run").exit_code == 0
    assert run("batch", "p.txt", "-m", sd1, "--device", "cuda:1", "--dry-run").exit_code == 0
