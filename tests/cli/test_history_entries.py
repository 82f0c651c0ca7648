"""Test that each command enters its images in the history, and that the history can be rebuilt from the images."""

import hashlib
import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import FAST, run, save_inputs
from isolated_command import modules_after
from PIL import Image, PngImagePlugin

import artgen
from artgen.image_history import recording
from artgen.image_history.connection import history_path
from artgen.image_history.database import open_existing_history, open_history
from artgen.image_history.entry import HistoryEntry
from artgen.image_history.scan import scan
from artgen.images import load_image

TINY = ("-m", "tiny", *FAST)
SMALL = (*TINY, "--size", "64x64")


@pytest.fixture(autouse=True)
def _close_history() -> None:
    recording._writer.reset()


def entries() -> list[HistoryEntry]:
    history = open_existing_history()
    if history is None:
        return []
    with history:
        return list(history.all())


def delete_history() -> None:
    recording._writer.reset()
    shutil.rmtree(history_path().parent)


def generate_images() -> None:
    """Generate images with each task, each format and each source of a command."""
    save_inputs()
    run("txt2img", "a red fox", *SMALL, "-o", "fox.png")
    run("txt2img", "a fox, 80% \u96ea", *SMALL, "--count", "2", "-o", "two.jpg")
    run("txt2img", "a red fox", *SMALL, "--hires", "2", "--hires-steps", "4", "-o", "large.webp")
    run("txt2img", "x" * 40_000, "--long-prompt", "truncate", *SMALL, "-o", "long.jpg", code=0)
    run("img2img", "fox.png", "a cat", *TINY, "-o", "cat.png")
    run("inpaint", "in.png", "a cat", "--mask", "mask.png", *TINY, "-o", "in/painted.png")
    run("outpaint", "fox.png", "a cat", "--expand", "right=32", *TINY, "-o", "wide.png")
    run("denoise", "fox.png", "--method", "tv", "--sigma", "10", "-o", "clean.png")
    run("upscale", "fox.png", "-o", "big.png")
    run("replay", "fox.png", "--set", "seed=8", "-o", "again.png")
    run("variations", "fox.png", "--count", "1", "-o", "varied.png")
    Path("prompts.txt").write_text("a dog\na cow --metadata none\na pig --no-history\na hen --metadata minimal\n")
    run("batch", "prompts.txt", *SMALL[:-2], "-o", "batch/")
    run("txt2img", "a barn", *SMALL, "--sweep", "steps=1,2", "-o", "sweep/")
    artgen.txt2img("a horse", model="tiny", steps=1, width=64, height=64).save("api/horse.png", metadata="full")


def test_rebuilt_history_equals_the_original() -> None:
    generate_images()
    written = {path.absolute() for suffix in ("png", "jpg", "webp") for path in Path().rglob(f"*.{suffix}")}
    excluded = {"in.png", "mask.png", "00002-7-a-cow.png", "00003-7-a-pig.png", "sheet.png"}
    original = entries()
    assert {each.path for each in original} == {path for path in written if path.name not in excluded}
    by_name = {each.path.name: each for each in original}
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in written}
    for entry in original:
        name = entry.path.name
        assert entry.sha256 == digests[name]
        with Image.open(entry.path) as image:
            assert (entry.width, entry.height) == image.size
        assert entry.seconds is not None, name
        assert 0 <= entry.seconds < 600
        assert entry.record["artgen"] == artgen.__version__
        assert (entry.prompt == "") == (name in ("clean.png", "big.png", "00004-7-a-hen.png")), name
    parents = {name: each.parent for name, each in by_name.items() if each.parent}
    expected = dict.fromkeys(("cat.png", "wide.png", "clean.png", "big.png", "varied.png"), digests["fox.png"])
    assert parents == {**expected, "painted.png": digests["in.png"]}
    assert by_name["large.webp"].width == 128
    assert [by_name["again.png"].seed, by_name["two-1.jpg"].model, by_name["cat.png"].task] == [8, "tiny", "img2img"]
    with open_history() as history:
        thumbnails = {each.sha256: history.thumbnail(each.id) for each in original}
        history.set_rating([1], 5)
        history.add_tags([1], ["best"])
    delete_history()
    Path("batch/00003-7-a-pig.png").unlink()  # a scan would enter it
    result = scan([Path()])
    assert (result.added, result.without_metadata, result.skipped) == (len(original), 3, ())
    rebuilt = entries()
    assert rebuilt == original
    with open_history() as history:
        for entry in rebuilt:
            thumbnail = history.thumbnail(entry.id)
            assert thumbnail is not None
            assert entry.path.suffix != ".png" or thumbnail == thumbnails[entry.sha256], entry.path
    again = scan([Path()])
    assert (again.added, again.unchanged, again.num_files) == (0, len(original), result.num_files)


def write_image_of_other_tool(name: str, key: str, text: str, time: int) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text(key, text)
    Image.new("RGB", (40, 30), "blue").save(name, pnginfo=info, compress_level=time % 9)
    os.utime(name, (time, time))


def test_scan_reads_other_tools_and_finds_moved_files() -> None:
    parameters = (
        "a castle <lora:Style:0.7>\nNegative prompt: fog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, "
        "Size: 40x30, Model hash: 6ce0161689, Model: v1-5"
    )
    write_image_of_other_tool("photos-a.png", "parameters", parameters, 10)
    graph = (
        '{"3":{"class_type":"KSampler","inputs":{"seed":9,"steps":4,"cfg":7,"sampler_name":"euler","scheduler":"normal",'
        '"denoise":1,"model":["4",0],"positive":["6",0],"negative":["7",0],"latent_image":["5",0]}},'
        '"4":{"class_type":"CheckpointLoaderSimple","inputs":{"ckpt_name":"sd15.safetensors"}},'
        '"5":{"class_type":"EmptyLatentImage","inputs":{"width":40,"height":30,"batch_size":1}},'
        '"6":{"class_type":"CLIPTextEncode","inputs":{"text":"a tower","clip":["4",1]}},'
        '"7":{"class_type":"CLIPTextEncode","inputs":{"text":"","clip":["4",1]}},'
        '"8":{"class_type":"SaveImage","inputs":{"images":["3",0]}}}'
    )
    write_image_of_other_tool("photos-b.png", "prompt", graph, 20)
    Path("broken.png").write_bytes(Path("photos-a.png").read_bytes()[:60])
    Image.new("RGB", (8, 8)).save("plain.png")
    progress: list[tuple[int, int]] = []
    result = scan([Path(), Path("photos-a.png")], lambda done, total: progress.append((done, total)))
    assert (result.added, result.without_metadata, [each.path.name for each in result.skipped]) == (
        2,
        1,
        ["broken.png"],
    )
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
    castle, tower = entries()
    assert (castle.task, castle.prompt, castle.seed, castle.model) == ("txt2img", "a castle", 5, "v1-5")
    assert (castle.negative_prompt, castle.model_hash, castle.record["lora"]) == ("fog", "6ce0161689", ["Style:0.7"])
    assert castle.made_utc == "1970-01-01T00:00:10.000000Z"
    assert (tower.prompt, tower.seed, tower.record["steps"]) == ("a tower", 9, 4)

    with open_history() as history:
        history.set_rating([1], 4)
        history.add_tags([1, 2], ["old"])
    Path("moved").mkdir()
    Path("photos-a.png").rename("moved/c.png")
    shutil.copy2("photos-b.png", "moved/d.png")  # a copy does not change the entry
    result = scan([Path("moved")])
    assert (result.moved, result.copies, result.added) == (1, 1, 0)
    path = Path("moved/c.png").absolute()
    assert entries() == [replace(castle, path=path, rating=4, tags=("old",)), replace(tower, tags=("old",))]


def test_scan_replaces_a_damaged_history_and_keeps_its_marks() -> None:
    for number in range(3):
        write_image_of_other_tool(f"{number}.png", "parameters", f"fox {number}\nSteps: 20, Sampler: Euler", number)
    scan([Path()])
    with open_history() as history:
        history.set_rating([1, 2], 4)
        history.add_tags([2, 3], ["best"])
    expected = entries()
    path = history_path()
    pages = path.read_bytes()
    last_text = pages.rindex(b"fox 2")
    page_start = last_text // 4096 * 4096
    path.write_bytes(pages[:page_start] + b"\xff" * 4096 + pages[page_start + 4096 :])

    def interrupt(number: int, _: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan([Path()], interrupt)  # the damaged history remains, so that no mark is lost
    result = scan([Path()])
    assert (result.added, result.damaged) == (3, path.with_name("history.db.damaged-1"))
    assert result.num_marks == 3
    assert entries() == expected
    assert not list(path.parent.glob("*.new*"))
    path.write_bytes(b"x" * 5000)
    result = scan([Path()])
    assert (result.damaged, result.num_marks) == (path.with_name("history.db.damaged-2"), 0)
    assert entries() == [replace(each, rating=None, tags=()) for each in expected]


def test_image_without_metadata_or_history_is_not_entered() -> None:
    save_inputs()
    run("denoise", "in.png", "--method", "tv", "--sigma", "10", "--metadata", "none", "-o", "a.png")
    run("denoise", "in.png", "--method", "tv", "--sigma", "10", "--no-history", "-o", "b.png")
    run("config", "set", "history", "off")
    run("denoise", "in.png", "--method", "tv", "--sigma", "10", "-o", "c.png")
    artgen.denoise("in.png", method="tv", sigma="10").save("d.png")
    assert not history_path().exists()
    artgen.denoise("in.png", method="tv", sigma="10").save("e.png", history=True)
    run("config", "set", "history", "on")
    artgen.denoise("in.png", method="tv", sigma="10").save("f.png", history=False)
    run("denoise", "in.png", "--method", "tv", "--sigma", "12", "-o", "g.png")
    run("denoise", "in.png", "--method", "tv", "--sigma", "11", "-o", "-")
    assert [each.path.name for each in entries()] == ["e.png", "g.png"]


def test_damaged_history_gives_one_note_per_command() -> None:
    save_inputs()
    history_path().parent.mkdir(parents=True)
    history_path().write_bytes(b"x" * 5000)
    Path("prompts.txt").write_text("in.png\nin.png --sigma 12\n")
    result = run("denoise", "in.png", "--method", "tv", "--sigma", "9", "-o", "a.png")
    assert result.stderr.count("not entered in the history") == 1
    recording._writer.reset()
    Path("photos").mkdir()
    for number in range(3):
        Image.effect_noise((32, 32), 10 + number).convert("RGB").save(f"photos/{number}.png")
    result = run("denoise", "photos/", "--method", "tv", "--sigma", "9", "-o", "out/")
    assert result.stderr.count("not entered in the history") == 1
    assert len(list(Path("out").glob("*.png"))) == 3
    assert load_image(Path("a.png")).image.size == (33, 47)
    recording._writer.reset()
    assert "not entered" not in run("denoise", "in.png", "--method", "tv", "--sigma", "9", "-q", "-o", "b.png").stderr


def test_a_process_uses_a_new_history_after_the_file_was_deleted_or_repaired() -> None:
    save_inputs()

    def save(name: str, sigma: int) -> None:
        artgen.denoise("in.png", method="tv", sigma=str(sigma)).save(name)

    save("a.png", 9)
    history_path().parent.rename("moved")
    save("b.png", 10)
    assert [each.path.name for each in entries()] == ["b.png"]
    with open_history(Path("moved/history.db").absolute()) as moved:
        assert [each.path.name for each in moved.all()] == ["a.png"]
    delete_history()
    history_path().parent.mkdir()
    history_path().write_bytes(b"x" * 5000)
    save("c.png", 11)
    scan([Path("b.png")])
    save("d.png", 12)
    assert [each.path.name for each in entries()] == ["b.png", "d.png"]


def test_locked_history_does_not_delay_or_fail_a_command() -> None:
    save_inputs()
    open_history().close()
    locking = sqlite3.connect(history_path(), isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    result = run("denoise", "in.png", "--method", "tv", "--sigma", "9", "-o", "a.png")
    assert "is locked by another process" in result.stderr
    locking.execute("ROLLBACK")
    locking.close()
    assert Path("a.png").is_file()
    assert entries() == []
    assert scan([Path("a.png")]).added == 1
    assert entries()[0].task == "denoise"


@pytest.mark.slow
def test_worker_processes_enter_their_images_and_print_one_note() -> None:
    Path("prompts.txt").write_text("a dog\na cow\na pig\na hen\n")
    history_path().parent.mkdir(parents=True)
    history_path().write_bytes(b"x" * 5000)
    result = run("batch", "prompts.txt", *TINY, "-o", "batch/", "--workers", "2")
    assert result.stderr.count("not entered in the history") == 1
    shutil.rmtree("batch")
    delete_history()
    run("batch", "prompts.txt", *TINY, "-o", "batch/", "--workers", "2")
    found = {each.path.name: each for each in entries()}
    assert sorted(found) == sorted(path.name for path in Path("batch").glob("*.png"))
    assert len(found) == 4
    assert all(each.seconds for each in found.values())


@pytest.mark.parametrize("arguments", [("txt2img", "--help"), ("txt2img", "x", "--steps", "0"), ("schedulers",)])
def test_commands_that_save_no_image_do_not_import_sqlite(arguments: tuple[str, ...]) -> None:
    assert modules_after(*arguments, watched=("sqlite3",))[1] == []
