"""Test batches whose ledger is removed or damaged between two runs of the same command."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import run
from PIL import Image

LEDGER = Path("out/artgen-ledger")
LINES = "a fox --seed 1\na fox\na fox\na car --seed 1 --steps 2 --negative-prompt blur\n"
COMMANDS = {
    "batch": ("batch", "p.txt", "--steps", "1"),
    "names": ("batch", "p.txt", "--steps", "1", "-o", "out/{steps}/{prompt}.png"),
    "webp": ("batch", "p.txt", "--steps", "1", "-o", "out/", "--format", "webp"),
    "sweep": ("txt2img", "a fox", "--sweep", "steps=1,2", "--sweep", "guidance=1,3"),
    "img2img": ("img2img", "ph", "a fox", "--steps", "1", "--strength", "1"),
    "seeds": ("img2img", "ph", "--steps", "2", "--seed", "1,2", "--format", "jpeg"),
    "inpaint": ("inpaint", "ph", "--mask", "mask.png", "--steps", "1", "--seed", "7"),
    "outpaint": ("outpaint", "ph", "--expand", "8", "--steps", "6", "--fast", "cache"),
    "tv": ("denoise", "ph", "--method", "tv"),
    "sigma": ("denoise", "ph", "--method", "nlm", "--sigma", "12.50"),
    "factor": ("denoise", "ph", "--method", "tv", "--sigma", "auto*1.3"),
}


@pytest.fixture(autouse=True)
def _inputs() -> None:
    Path("p.txt").write_text(LINES)
    Path("ph/sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "sub/b.png", "c.png", "d.png")):
        Image.effect_noise((32, 32), 20 + 10 * number).convert("RGB").save(f"ph/{name}")
    mask = Image.new("L", (32, 32))
    mask.paste(255, (0, 0, 9, 9))
    mask.save("mask.png")


def images() -> dict[Path, bytes]:
    """Return the content of each image of the batch."""
    paths = (path for path in Path("out").rglob("*") if path.suffix in (".png", ".jpg", ".webp"))
    return {path: path.read_bytes() for path in sorted(paths) if not path.name.startswith("sheet")}


def status() -> tuple[int, int, int]:
    loaded = json.loads(run("batch", "status", "out", "--json").stdout)
    return loaded["done"], loaded["failed"], loaded["left"]


def arguments(name: str, model: str) -> tuple[str, ...]:
    command = COMMANDS[name]
    output = () if "-o" in command else ("-o", "out/")
    return (*command, *output, *(() if command[0] == "denoise" else ("-m", model)))


@pytest.mark.parametrize("name", COMMANDS)
def test_images_of_a_removed_ledger_are_recognized(sd1: str, name: str) -> None:
    command = arguments(name, sd1)
    run(*command)
    first = images()
    assert len(first) in (4, 8)
    shutil.rmtree(LEDGER)
    again = run(*command)
    assert again.stdout.replace("out/sheet.png\n", "") == ""
    note = f"The ledger was missing: {len(first)} images of an earlier run were found by their records."
    assert again.stderr.count(note) == 1
    assert images() == first
    assert status() == (len(first), 0, 0)
    shutil.rmtree(LEDGER)
    removed = list(first)[1::2]
    for path in removed:
        path.unlink()
    run(*command, "--dry-run")
    assert not LEDGER.exists()
    assert sorted(run(*command).stdout.split()) == sorted(
        [*map(str, removed), *(["out/sheet.png"] if name == "sweep" else [])]
    )
    assert images() == first
    assert f"{len(first)} intact, 0 changed, 0 missing" in run("batch", "verify", "out").stderr


@pytest.mark.parametrize("change", ["other setting", "other image", "truncated", "other model", "no record"])
def test_images_with_another_record_are_not_recognized(sd1: str, change: str, models: dict[str, Path]) -> None:
    command = ("batch", "p.txt", "--steps", "1", "-o", "out/")
    run(*command, "-m", sd1)
    first = images()
    shutil.rmtree(LEDGER)
    path, other, *_ = first
    model, num_found = sd1, 3
    if change == "other setting":
        command, num_found = (*command, "--guidance-scale", "2"), 0
    elif change == "other model":
        model, num_found = str(models["sdxl"]), 0
    elif change == "other image":
        path.write_bytes(first[other])
    elif change == "truncated":
        path.write_bytes(first[path][: len(first[path]) // 2])
    else:
        Image.new("RGB", Image.open(path).size).save(path)
    before = images()
    again = run(*command, "-m", model)
    generated = [Path(line) for line in again.stdout.split()]
    assert len(generated) == 4 - num_found
    assert {key: value for key, value in images().items() if key not in generated} == before
    if num_found:
        assert generated == [path.with_name(f"{path.stem}-1.png")]
        assert images()[generated[0]] == first[path]
        assert "1 existing file has a name of this batch, but not the record of its image." in again.stderr
    assert run(*command, "-m", model).stdout == ""


@pytest.mark.parametrize("level", ["none", "minimal"])
def test_images_without_a_full_record_get_a_note(sd1: str, level: str) -> None:
    command = ("batch", "p.txt", "--steps", "1", "-o", "out/", "-m", sd1, "--metadata", level)
    run(*command)
    shutil.rmtree(LEDGER)
    Path("p.txt").write_text(LINES.splitlines()[0])
    again = run(*command)
    assert again.stdout == "out/00001-1-a-fox-1.png\n"
    assert "1 existing file has a name of this batch, but not the record of its image." in again.stderr


@pytest.mark.parametrize("text", ["", "{\n", "[]\n" * 3])
def test_images_of_an_empty_or_damaged_ledger_are_recognized(sd1: str, text: str) -> None:
    command = ("batch", "p.txt", "--steps", "1", "-o", "out/", "-m", sd1)
    run(*command)
    first = images()
    (LEDGER / "jobs.jsonl").write_text(text)
    reason = "damaged" if text else "missing"
    assert f"The ledger was {reason}: 4 images" in run(*command).stderr
    assert images() == first
    assert status() == (4, 0, 0)


def test_links_and_folders_with_a_name_of_the_batch_are_not_recognized(sd1: str) -> None:
    command = ("batch", "p.txt", "--steps", "1", "-o", "out/", "-m", sd1)
    run(*command)
    path, other, *_ = images()
    shutil.rmtree(LEDGER)
    path.rename("elsewhere.png")
    path.symlink_to(Path("elsewhere.png").absolute())
    other.unlink()
    other.mkdir()
    again = run(*command)
    assert "2 existing files have a name of this batch" in again.stderr
    assert len(again.stdout.split()) == 2
