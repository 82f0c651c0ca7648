"""Test batches, sweeps and contact sheets on the command line."""

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


def test_completed_jobs_are_not_generated_again(sd1: str) -> None:
    result = run("batch", "p.txt", "-m", sd1, "--steps", "2")
    assert result.stdout.splitlines() == ["outputs/p/00001-7-a-red-fox.png", "outputs/p/00002-8-a-blue-cat.png"]
    assert result.stderr.startswith("2 images in 'outputs/p'.\n")
    again = run("batch", "p.txt", "-m", sd1, "--steps", "2")
    assert again.stdout == ""
    assert "2 done, 0 to generate" in again.stderr
    single = run("txt2img", "a red fox", "-m", sd1, *FAST, "-o", "one.png")
    assert single.exit_code == 0
    assert np.array_equal(np.asarray(Image.open("one.png")), np.asarray(Image.open("outputs/p/00001-7-a-red-fox.png")))


def test_json_output_of_a_batch_is_a_prompt_file_for_the_same_images(sd1: str) -> None:
    result = run("batch", "-", "-o", "out", "-m", sd1, "--steps", "2", "--json", "-q", input=LINES)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(r["prompt"], r["steps"], r["seed"]) for r in records] == [("a red fox", 2, 7), ("a blue cat", 3, 8)]
    assert result.stderr == ""
    Path("again.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    run("batch", "again.jsonl", "-o", "again", "-q")  # the model is found by its recorded hash
    for record, name in zip(records, names("again"), strict=True):
        assert np.array_equal(np.asarray(Image.open(record["file"])), np.asarray(Image.open(f"again/{name}")))


def test_dry_run_lists_pending_jobs_with_their_locations(sd1: str) -> None:
    run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", "--limit", "1")
    result = run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", "--dry-run")
    assert result.stdout.startswith(
        "p.txt:2  task=txt2img  prompt=a blue cat  prompt_weights=a1111  long_prompt=chunk  seed=8  steps=3"
    )
    assert len(result.stdout.splitlines()) == 1
    assert "2 images in 'out', 1 done, 1 to generate, about" in result.stderr
    assert len(names("out")) == 1
    listed = json.loads(run("batch", "p.txt", "-m", sd1, "-o", "new/", "--dry-run", "--json").stdout.splitlines()[0])
    assert (listed["where"], listed["seed"], listed["width"]) == ("p.txt:1", 7, 32)
    assert not Path("new").exists() or not names("new")


def test_invalid_lines_abort_the_batch_unless_keep_going_is_set(sd1: str) -> None:
    Path("p.txt").write_text(f"{LINES}x --steps 0\n")
    result = run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", code=2)
    assert "p.txt:3: steps must be 1 to 1,000, not 0." in result.stderr
    assert "1 of 3 jobs cannot run. No image was generated." in result.stderr
    arguments = ("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", "--keep-going")
    result = run(*arguments, code=7)
    assert len(result.stdout.splitlines()) == 2
    assert "1 of 3 images failed." in result.stderr
    assert run("batch", "status", "out").stdout.splitlines()[0] == "2 done, 1 failed, 0 left of 3"
    assert '"where": "p.txt:3"' in Path("out/artgen-ledger/jobs.jsonl").read_text()
    assert "1 of 3 images failed." in run(*arguments, code=7).stderr
    assert run(*arguments, "--dry-run", code=7).stdout == ""
    Path("p.txt").write_text(f"{LINES}x --steps 1 --seed 9\n")
    run(*arguments)
    assert run("batch", "status", "out").stdout.splitlines()[0] == "3 done, 0 failed, 0 left of 3"


def test_batch_with_failures_exits_with_code_7(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (32, 32)).save("gone.png")
    Path("p.txt").write_text("fine --seed 1\nx --task img2img -i gone.png\n")
    run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", "--limit", "1")

    loaded: list[Path] = []

    def load_then_delete(path: Path, **kwargs: Any) -> Any:
        """Load the image while the batch is planned, and delete it before the job runs."""
        loaded.append(path)
        if len(loaded) == 2:
            path.unlink()
        return load_image(path, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("artgen.images.load_image", load_then_delete)
        result = run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", code=7)
    assert "p.txt:2: 'gone.png' does not exist" in result.stderr
    assert "\\n" not in result.stderr
    assert "1 of 2 images failed" in result.stderr
    Image.new("RGB", (32, 32)).save("gone.png")
    result = run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", code=7)
    assert "1 failed before (--retry-failed), 0 to generate" in result.stderr
    run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", "--retry-failed")


def test_status_and_verify_report_completed_changed_and_missing_images(sd1: str) -> None:
    run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", "--limit", "1")
    assert run("batch", "status", "out").stdout.splitlines()[0] == "1 done, 0 failed, 1 left of 2"
    run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/")
    status = json.loads(run("batch", "status", "out", "--json").stdout)
    assert (status["done"], status["left"], status["total"]) == (2, 0, 2)
    assert "2 intact, 0 changed, 0 missing" in run("batch", "verify", "out").stderr
    first, second = names("out")
    Path("out", first).unlink()
    result = run("batch", "verify", "out", code=3)
    assert result.stdout == f"missing: out/{first}\n"
    Path("out", second).write_bytes(b"x")
    assert f"changed: out/{second}" in run("batch", "verify", "out", code=5).stdout
    assert "does not contain a batch" in run("batch", "status", ".", code=3).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.txt",), "none.txt"),
        (("p.txt", "-o", "one.png"), "one file"),
        (("p.txt", "--overwrite"), "does not overwrite"),
        (("p.txt", "--shard", "2/2"), "--shard"),
        (("p.txt", "--batch-size", "0"), "batch size"),
        (("p.txt", "-i", "in.png"), "Cannot combine artgen batch with --image"),
        (("p.txt", "--ray", "127.0.0.1:1"), "Ray"),
        (("p.txt", "--ray", "nonsense"), "host:port"),
    ],
)
def test_invalid_batch_options_are_rejected(arguments: tuple[str, ...], message: str) -> None:
    result = run("batch", *arguments, code=3 if "none" in arguments[0] else 2)
    assert message in result.stderr
    assert not Path("outputs").exists() or not names("outputs")


def test_prompt_file_without_prompts_is_rejected() -> None:
    Path("p.txt").write_text("# only a comment\n")
    assert "contains no jobs" in run("batch", "p.txt", code=2).stderr


def test_output_template_defines_file_names(sd1: str) -> None:
    run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/{steps}/{seed}.webp")
    assert names("out") == ["2/7.webp", "3/8.webp"]


def test_folder_input_preserves_names_and_subfolders(sd1: str) -> None:
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


def test_positional_arguments_are_images_and_one_prompt(sd1: str) -> None:
    assert "none.png" in run("img2img", "in.png", "none.png", "-m", sd1, code=3).stderr
    assert "already set" in run("img2img", "in.png", "a", "b", "-m", sd1, code=2).stderr
    record = json.loads(run("img2img", "-i", "in.png", "a fox", "-m", sd1, "--dry-run", "--json").stdout)
    assert (record["image"], record["prompt"]) == ("in.png", "a fox")


def test_sweep_generates_every_combination_and_a_contact_sheet(sd1: str) -> None:
    arguments = (
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
    result = run(*arguments, "-o", "sw/")
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
    assert "6 done, 0 to generate" in run(*arguments, "-o", "sw/").stderr
    many = run(
        "img2img", "in.png", "-m", sd1, "--steps", "2", "--sweep", "strength=0.5,1", "--seed", "1,5", "-o", "s2/"
    )
    assert len(many.stdout.splitlines()) == 5
    assert "Cannot sweep" in run("txt2img", "x", "--sweep", "output=a,b", code=2).stderr


def test_sheet_arranges_images_on_pages(sd1: str) -> None:
    run("txt2img", "a fox", "-m", sd1, *FAST, "--count", "3")
    files = [f"outputs/{name}" for name in names("outputs")]
    assert run("sheet", *files, "in.png", "--columns", "2", "--rows", "1", "--cell", "64").stdout.splitlines() == [
        "sheet.png",
        "sheet-2.png",
    ]
    assert "exists already" in run("sheet", *files, code=74).stderr
    Path("sheet.png").unlink()
    arguments = ("sheet", *files, "in.png", "--columns", "2", "--rows", "1")
    assert "sheet-2.png" in run(*arguments, code=74).stderr
    assert not Path("sheet.png").exists(), "all pages are checked before the first one is written"
    run("sheet", "outputs", "--label", "seed,steps", "--overwrite")
    assert "Unknown setting: 'nope'" in run("sheet", *files, "--label", "nope", "-o", "x.png", code=2).stderr
    assert "p.txt" in run("sheet", "p.txt", "-o", "y.png", code=3).stderr


def test_sheet_repeats_an_image_as_a_texture() -> None:
    Image.effect_noise((40, 30), 80).convert("RGB").save("tile.png")
    run("sheet", "tile.png", "--repeat", "3x2", "-o", "wall.png")
    page, tile = np.asarray(Image.open("wall.png").convert("RGB")), np.asarray(Image.open("tile.png"))
    wall = np.tile(tile, (2, 3, 1))
    top, left = (page.shape[0] - 60) // 2, (page.shape[1] - 120) // 2
    assert (page[top : top + 60, left : left + 120] == wall).all()
    for text in ("0x2", "3", "17x1", "axb"):
        assert "repeat must be COLUMNSxROWS" in run("sheet", "tile.png", "--repeat", text, code=2).stderr
    run("sheet", "tile.png", "tile.png", "--repeat", "2x2", "--cell", "64", "-o", "two.png")


@pytest.mark.parametrize(("command", "option"), [("sheet", "-o"), ("reconstruct", "-o"), ("denoise", "--compare")])
def test_sheet_path_is_checked_before_images_are_read(command: str, option: str) -> None:
    assert ".png" in run(command, "in.png", option, "sheet.gif", code=2).stderr
    Path("torn.png").write_bytes(Path("in.png").read_bytes()[:60])
    assert "'in.png' exists already" in run(command, "torn.png", option, "in.png", code=74).stderr


@pytest.mark.slow
def test_interrupted_batch_continues_with_the_same_command(sd1: str) -> None:
    Path("p.txt").write_text("".join(f"fox {i} --seed {i} --steps 40\n" for i in range(40)))
    arguments = ("batch", "p.txt", "-m", sd1, "-o", "out/")
    process = artgen(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith(b"out/")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Run the same command again to continue." in stderr
    done = len(names("out"))
    assert 1 <= done < 40
    time.sleep(0.1)
    run(*arguments, "-q")
    assert len(names("out")) == 40
    assert "40 intact" in run("batch", "verify", "out").stderr


@pytest.mark.slow
def test_images_of_a_ray_cluster_equal_those_of_one_process(sd1: str) -> None:
    run("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "one/", "-q")
    process = artgen(
        "batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "two/", "--ray", "local", stderr=subprocess.PIPE
    )
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert names("one") == names("two")
    for name in names("one"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()


def test_batch_with_explicit_file_names_can_be_continued(sd1: str) -> None:
    Path("p.txt").write_text("a red fox --seed 7 --count 2 --output fox.png\na cat --seed 8 -o pets/cat.png\n")
    arguments = ("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/")
    run(*arguments, "--limit", "1")
    run(*arguments)
    assert names("out") == ["fox-1.png", "fox.png", "pets/cat.png"]
    assert "3 done, 0 to generate" in run(*arguments).stderr
    Path("out/dog.png").write_bytes(b"another file")
    Path("p.txt").write_text("a dog --output dog.png\n")
    assert "'out/dog.png' exists already" in run(*arguments, code=74).stderr


def test_ray_startup_error_is_reported(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def time_out(**_: object) -> None:
        raise Exception("The current node timed out during startup.")  # the message of ray._private.node

    monkeypatch.setattr(ray, "init", time_out)
    done = run("batch", "p.txt", "-m", sd1, "-o", "out/", "--ray", "local", code=2)
    assert "The current node timed out during startup." in done.stderr


KILLS_ACTORS = """
import os, signal, sys

def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("poison.png"):
        os.kill(os.getpid(), signal.SIGKILL)

if any("default_worker" in word for word in sys.orig_argv):
    sys.addaudithook(hook)
"""
"""Code of a `sitecustomize` module that kills each Ray worker that opens `poison.png`."""


@pytest.mark.slow
def test_job_that_crashes_ray_actors_is_skipped(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (32, 32), "red").save("poison.png")
    Path("p.txt").write_text("a fox --seed 1\n--task img2img -i poison.png --seed 2\na cat --seed 3\n")
    Path("first").mkdir()
    Path("first/sitecustomize.py").write_text(KILLS_ACTORS)
    monkeypatch.setenv("PYTHONPATH", str(Path("first").resolve()))
    arguments = ("batch", "p.txt", "-m", sd1, "--steps", "2", "-o", "out/", "--ray", "local")
    process = artgen(*arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    _, stderr = process.communicate(timeout=400)
    assert process.returncode == 7, stderr
    assert b"p.txt:2: " in stderr
    assert b"3 times" in stderr
    assert len(names("out")) == 2


def test_several_workers_on_one_selected_gpu_are_rejected(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cuda_device_count", lambda: 2)
    for arguments, message in (
        (("--device", "cuda:1"), "Cannot combine --workers with --device cuda:1"),
        (("--device", "cuda:1", "--dry-run"), "CUDA_VISIBLE_DEVICES=0,2"),
    ):
        assert message in run("batch", "p.txt", "-m", sd1, "--workers", "2", *arguments, code=2).stderr
    assert run("batch", "p.txt", "-m", sd1, "--workers", "2", "--device", "cuda", "--dry-run").exit_code == 0
    assert run("batch", "p.txt", "-m", sd1, "--device", "cuda:1", "--dry-run").exit_code == 0
