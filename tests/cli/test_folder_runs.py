"""Test commands over folders: which files they read, options, and damaged images."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from PIL import Image

from artgen.cli.main import load_command
from artgen.images import iter_images
from artgen.outputs import encode_without_metadata
from artgen.outputs.animation import encode_animation, encode_png_frames
from artgen.queue.ledger import Ledger
from artgen.queue.ledger_lines import JobRecord
from artgen.spec.settings import FramesSettings, OutputSettings, ReportSettings, RunSettings, options_of

FAST = ("--steps", "1", "--seed", "7")
FOLDER_COMMANDS = ("img2img", "inpaint", "outpaint", "denoise", "upscale")


@pytest.fixture(autouse=True)
def _photos() -> None:
    Path("ph/sub").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "sub/c.webp"):
        Image.new("RGB", (32, 32), "orange").save(f"ph/{name}")
    mask = Image.new("L", (32, 32))
    mask.paste(255, (0, 0, 9, 9))
    mask.save("mask.png")


def inputs(*arguments: str) -> list[str]:
    """Return the input images that a dry run lists."""
    lines = run(*arguments, "--dry-run", "--json", "-q").stdout.splitlines()
    return [json.loads(line)["where"] for line in lines]


PHOTOS = ["ph/a.png", "ph/b.jpg", "ph/sub/c.webp"]


def command_arguments(command: str, model: str) -> tuple[str, ...]:
    """Return the arguments of a fast run of a command, without the input images."""
    own = {"inpaint": ("--mask", "mask.png"), "outpaint": ("--expand", "8"), "denoise": ()}
    if command == "denoise":
        return ("--method", "tv")
    if command == "upscale":
        return ("--by", "1.5")
    arguments = (*FAST, "-m", model, *own.get(command, ("--strength", "1")))
    return arguments if command != "batch" else (*arguments, "--task", "img2img")


@pytest.mark.parametrize("command", [*FOLDER_COMMANDS, "batch"])
def test_second_run_does_not_read_the_results_of_the_first(sd1: str, command: str) -> None:
    arguments = (command, "ph/", *command_arguments(command, sd1), "-o", "ph/out/")
    assert len(run(*arguments).stdout.splitlines()) == 3
    again = run(*arguments)
    assert again.stdout == ""
    assert "Skipped in 'ph': 3 images in the output folder." in again.stderr
    assert "3 done, 0 to generate" in again.stderr


@pytest.mark.parametrize(
    ("folder", "output"),
    [
        ("ph", "ph/out"),
        ("ph/", "ph/out/"),
        ("./ph", "ph/sub/../out/"),
        ("ph/../ph", "ph/out"),
        ("link", "ph/out/"),
        ("ph", "link/out/"),
        ("ph", "out-link/"),
        (".", "ph/out/"),
        ("ph", "ph/out/{stem}-{seed}.png"),
        ("ph", "ph/out/{seed}/{stem}.png"),
    ],
)
def test_output_folder_is_recognized_under_every_name(folder: str, output: str) -> None:
    Path("ph/out/7").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save("ph/out/x.png")
    Image.new("RGB", (32, 32)).save("ph/out/7/y.png")
    Path("link").symlink_to("ph")
    Path("out-link").symlink_to("ph/out")
    Path("mask.png").unlink()
    found = inputs("denoise", folder, "--method", "tv", "-o", output)
    assert sorted(Path(name).resolve().relative_to(Path("ph").resolve()).as_posix() for name in found) == [
        "a.png", "b.jpg", "sub/c.webp"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "output", ["ph/{stem}-new.png", "./{stem}-new.png", "ph/new/../{stem}-new.png", "link/{stem}-new.png"]
)
def test_results_in_the_input_folder_are_not_read(output: str) -> None:
    Path("link").symlink_to("ph")
    arguments = ("denoise", "ph", "--method", "tv", "-o", output)
    run(*arguments, "--limit", "2")
    run(*arguments)
    assert inputs(*arguments) == []
    again = run(*arguments)
    assert again.stdout == ""
    assert len(list(Path().rglob("*-new.png"))) == 3


def test_results_of_other_runs_are_read() -> None:
    run("denoise", "ph/a.png", "ph/b.jpg", "--method", "tv", "-o", "ph/earlier/")
    assert inputs("denoise", "ph", "--method", "tv", "-o", "ph/out/") == [
        "ph/a.png", "ph/b.jpg", "ph/earlier/a.png", "ph/earlier/b.png", "ph/sub/c.webp"
    ]  # fmt: skip


def test_masks_in_the_input_folder_are_not_read(sd1: str) -> None:
    Path("ph/masks/sub").mkdir(parents=True)
    for name in ("a.png", "b.png", "sub/c.png"):
        Path(f"ph/masks/{name}").write_bytes(Path("mask.png").read_bytes())
    arguments = ("inpaint", "ph", "-m", sd1, *FAST, "-o", "out/")
    assert inputs(*arguments, "--mask", "ph/masks") == PHOTOS
    Path("ph/m.png").write_bytes(Path("mask.png").read_bytes())
    result = run(*arguments, "--mask", "ph/m.png", "--dry-run")
    assert "Skipped in 'ph': 1 mask." in result.stderr


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp", "gif"])
def test_derived_images_are_skipped_unless_the_folder_contains_no_others(suffix: str) -> None:
    image = Image.effect_noise((300, 300), 90).convert("RGB")
    frames = [image.rotate(angle) for angle in (0, 90, 180)]
    Path("ph/steps").mkdir()
    for name, data in encode_png_frames(frames).items():
        Path("ph/steps", name).write_bytes(data)
    data = encode_animation(frames, "gif", None) if suffix == "gif" else encode_without_metadata(image, suffix)
    Path(f"ph/sheet.{suffix}").write_bytes(data)
    Path("ph/frames.webp").write_bytes(encode_animation(frames, "webp", None))
    notes: list[str] = []
    assert [str(path) for path, _ in iter_images([Path("ph")], on_note=notes.append)] == PHOTOS
    assert notes == ["Skipped in 'ph': 5 frames, sheets or maps."]
    assert len(list(iter_images([Path("ph/steps")]))) == 3
    assert [path for path, _ in iter_images([Path("ph/frames.webp")])] == [Path("ph/frames.webp")]


def test_sheets_and_frames_of_commands_are_not_read(sd1: str) -> None:
    run("txt2img", "a fox", "-m", sd1, "--sweep", "steps=1,2", "-o", "sw/")
    names = [f"sw/{path.name}" for path in sorted(Path("sw").glob("0000*.png"))]
    assert inputs("denoise", "sw", "--method", "tv", "-o", "out/") == names
    run("txt2img", "a fox", "-m", sd1, *FAST, "-o", "fr/", "--frames", "fr/{stem}.gif")
    assert inputs("denoise", "fr", "--method", "tv", "-o", "out/") == ["fr/00001-7-a-fox.png"]
    run("sheet", "ph", "-o", "ph/sheet.jpg")
    run("anomaly", "ph", "--map", "ph/maps/", "-q")
    run("noise", "ph/a.png", "--steps", "2", "-o", "ph/noise.png")
    assert inputs("denoise", "ph", "--method", "tv", "-o", "out/") == PHOTOS


def test_special_files_and_linked_folders_are_skipped_with_a_note() -> None:
    os.mkfifo("ph/pipe.png")
    Path("other").mkdir()
    Path("ph/link").symlink_to("../other")
    Path("ph/.hidden.png").write_bytes(b"")
    Path("ph/.git").mkdir()
    result = run("denoise", "ph", "--method", "tv", "-o", "out/")
    assert "Skipped in 'ph': 1 linked folder, 1 pipe or device." in result.stderr
    assert len(result.stdout.splitlines()) == 3


def test_folder_without_other_images_is_refused() -> None:
    Path("only/out").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save("only/out/a.png")
    result = run("denoise", "only", "--method", "tv", "-o", "only/out/", code=3)
    assert "'only' contains no images, except 1 image in the output folder." in result.stderr


def test_removed_ledger_in_the_input_folder_does_not_stop_the_list() -> None:
    Ledger(Path("ph")).write("ab", JobRecord("done", "missing.png"))
    assert inputs("denoise", "ph", "--method", "tv", "-o", "ph/{stem}-x.png") == PHOTOS


def damage(name: str) -> None:
    Path(name).write_bytes(Path("ph/a.png").read_bytes()[:60])


@pytest.mark.parametrize("command", [*FOLDER_COMMANDS, "batch"])
def test_damaged_image_does_not_stop_the_others_with_keep_going(sd1: str, command: str) -> None:
    damage("ph/broken.png")
    arguments = (command, "ph", *command_arguments(command, sd1), "-o", "out/")
    stopped = run(*arguments, code=3)
    assert "add --keep-going to generate the others" in stopped.stderr
    assert not Path("out").exists()
    result = run(*arguments, "--keep-going", code=7)
    assert len(result.stdout.splitlines()) == 3
    assert "1 of 4 images failed." in result.stderr
    assert run("batch", "status", "out").stdout.splitlines()[0] == "3 done, 1 failed, 0 left of 4"
    Image.new("RGB", (32, 32)).save("ph/broken.png")
    run(*arguments, "--keep-going")
    assert run("batch", "status", "out").stdout.splitlines()[0] == "4 done, 0 failed, 0 left of 4"


def test_image_without_mask_or_with_an_unreadable_prompt_does_not_stop_the_others(sd1: str) -> None:
    Path("masks/sub").mkdir(parents=True)
    for name in ("a.png", "sub/c.png"):
        Path(f"masks/{name}").write_bytes(Path("mask.png").read_bytes())
    Path("ph/a.txt").write_bytes(b"\xff\xfe")
    arguments = ("inpaint", "ph", "-m", sd1, *FAST, "--mask", "masks", "-o", "out/")
    stopped = run(*arguments, code=3)
    assert stopped.stderr.count("error: ") == 2
    result = run(*arguments, "--keep-going", code=7)
    assert result.stdout == "out/sub/c.png\n"
    assert "2 of 3 images failed." in result.stderr


def test_all_images_damaged_is_a_failure_with_keep_going() -> None:
    Path("bad").mkdir()
    damage("bad/a.png")
    damage("bad/b.png")
    run("denoise", "bad", "--method", "tv", "-o", "out/", code=3)
    result = run("denoise", "bad", "--method", "tv", "-o", "out/", "--keep-going", code=7)
    assert "2 of 2 images failed." in result.stderr
    assert run("batch", "status", "out").stdout.splitlines()[0] == "0 done, 2 failed, 0 left of 2"


def test_invalid_combination_does_not_stop_the_others_with_keep_going(sd1: str) -> None:
    arguments = ("txt2img", "a fox", "-m", sd1, "--seed", "3", "--sweep", "steps=0,1", "-o", "sw/")
    assert "add --keep-going" in run(*arguments, code=2).stderr
    result = run(*arguments, "--keep-going", code=7)
    assert "sw/sheet.png" in result.stdout
    rows = Path("sw/sweep.csv").read_text().splitlines()
    assert rows[1].startswith(",0,")
    assert "steps must be" in rows[1]
    assert rows[2].endswith(",1,")
    run("txt2img", "a fox", "-m", sd1, "--seed", "3", "--sweep", "steps=0,0", "-o", "s0/", "--keep-going", code=7)


def test_settings_of_folder_runs_have_no_silent_effect_on_one_image() -> None:
    result = run("denoise", "ph/a.png", "--method", "tv", "--keep-going", "--limit", "1", "-o", "x.png")
    assert "--limit, --keep-going have no effect on a single image." in result.stderr


def test_several_seeds_run_as_a_batch_in_several_processes(sd1: str) -> None:
    arguments = ("txt2img", "a fox", "-m", sd1, "--steps", "1", "--best-of", "2", "--seed", "3")
    parts = [run(*arguments, "--count", "3", "--shard", f"{part}/2", "-o", "out/").stdout for part in (0, 1)]
    assert [line[:9] for line in "".join(parts).splitlines()] == ["out/00001", "out/00003", "out/00002"]
    result = run(*arguments, "--shard", "1/2", "-o", "one.png")
    assert "--shard has no effect on a single image." in result.stderr


def option_names(command: str) -> set[str]:
    loaded: Any = load_command(command)
    if command == "batch":
        loaded = loaded.commands["run"]
    return {parameter.name for parameter in loaded.params if parameter.param_type_name == "option"}


def test_folder_runs_and_batch_accept_the_same_options() -> None:
    batch = option_names("batch")
    groups = (RunSettings, OutputSettings, FramesSettings, ReportSettings)
    for command in FOLDER_COMMANDS:
        options = option_names(command)
        saved = [group for group in groups if group is not FramesSettings or command != "upscale"]
        shared = {name for group in saved for name in options_of(group)}
        assert options - {"sweep", "reference", "compare", "preview"} <= batch, command
        assert shared <= options, command
    assert "keep_going" in option_names("txt2img")


@pytest.mark.parametrize("command", [("denoise", "loop"), ("batch", "loop.yaml")])
def test_loop_of_links_is_refused(command: tuple[str, str]) -> None:
    Path(command[1]).symlink_to(command[1])
    result = run(*command, code=3)
    assert result.stderr.count("error: ") == 1
    assert command[1] in result.stderr


@pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="the system has no /proc/kmsg")
def test_file_of_the_kernel_in_a_folder_does_not_block() -> None:
    Path("ph/k.png").symlink_to("/proc/kmsg")
    result = run("denoise", "ph", "--method", "tv", "-o", "out/", "--keep-going", code=None)
    assert result.exit_code in (0, 7)
    assert len(list(Path("out").rglob("*.png"))) == 3
