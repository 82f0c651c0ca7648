"""Test the written gallery: its data, its updates and the commands of the images."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from command_line import run
from gallery_images import save_image
from PIL import Image

import artgen
from artgen.api.gallery import create_gallery
from artgen.errors import InputFileError, OutputError, UsageError
from artgen.gallery_site.data import record_key
from artgen.image_history.database import open_history
from artgen.image_history.entry import create_entry
from artgen.images.derived import derived_save_args
from artgen.images.text_mask import pack_mask


def data_of(folder: str, kind: str) -> list[dict[str, Any]]:
    """Return the data of a gallery, as the page receives them."""
    found: list[dict[str, Any]] = []
    for path in sorted(Path(folder, "gallery/data").glob(f"{kind}-*.js")):
        match = re.fullmatch(r'gallery\.receive\("\w+", \d+, (.*)\);\n', path.read_text("ascii"))
        assert match
        found += json.loads(match[1])
    return found


def test_a_gallery_contains_images_with_and_without_records_and_damaged_files() -> None:
    parent = save_image("in/a #1 ü%20'\".png", "a <b>red</b> fox", time=1, seed=2**63, lora=["style.safetensors:0.8"])
    save_image("in/sub/blue.png", "a blue fox", time=2, task="img2img", image="a.png", image_sha256=parent)
    save_image("in/plain.png", "", time=3)
    Path("in/damaged.png").write_bytes(Path("in/plain.png").read_bytes()[:90])
    result = artgen.gallery("in", "site", title="Mine")
    assert (result.images, result.new, result.path) == (4, 4, Path("site/index.html"))
    assert list(result.damaged) == [Path("in/damaged.png")]
    images = {each["name"]: each for each in data_of("site", "entries")}
    details = {each["id"]: each for each in data_of("site", "details")}
    fox = images["a #1 ü%20'\".png"]
    assert fox["seed"] == str(2**63)
    assert (fox["id"], fox["loras"], fox["prompt"]) == (parent[:16], ["style.safetensors"], "a <b>red</b> fox")
    link = details[fox["id"]]["image"]
    assert Path("site", unquote(link)).resolve() == Path("in/a #1 ü%20'\".png").resolve()
    assert "#" not in link
    assert shlex.split(details[fox["id"]]["replay"]) == ["artgen", "replay", "in/a #1 ü%20'\".png"]
    assert [each["id"] for each in images["blue.png"]["parents"]] == [fox["id"]]
    assert "damaged" in images["damaged.png"]["note"]
    assert "thumbnail" not in images["damaged.png"]
    assert json.loads(Path("site/gallery/data/config.js").read_text()[len("gallery.start(") : -3])["title"] == "Mine"
    written = b"".join(path.read_bytes() for path in Path("site").rglob("*") if path.is_file())
    assert str(Path.cwd()).encode() not in written


def test_an_update_reads_only_changed_images_and_removes_old_thumbnails() -> None:
    for number in range(3):
        save_image(f"in/{number}.png", f"image {number}", time=number)
    assert artgen.gallery("in", "in/site").new == 3
    kept = Path("in/site/gallery/thumbnails/notes.txt")
    kept.write_text("of the user")
    before = {path.name: path.stat().st_mtime_ns for path in Path("in/site/gallery/thumbnails").iterdir()}
    Path("in/2.png").unlink()
    save_image("in/1.png", "another image", time=9)
    result = artgen.gallery("in", "in/site")
    assert (result.images, result.new, result.removed) == (2, 1, 1)
    after = {path.name: path.stat().st_mtime_ns for path in Path("in/site/gallery/thumbnails").iterdir()}
    assert len(after) == 3
    assert len(after.items() & before.items()) == 2  # the thumbnail of image 0, and the file of the user
    Path("in/site/gallery/state.json").write_text('{"version": 1, "files": {"x": []}}')
    assert artgen.gallery("in", "in/site").new == 2


def test_copies_of_an_image_are_counted_once_and_read_once() -> None:
    save_image("in/a.png", "image a")
    shutil.copy2("in/a.png", "in/b.png")
    notes: list[str] = []
    counts = []
    for removed in ("", "in/a.png", "in/b.png"):
        if removed:
            Path(removed).unlink()
            save_image("in/c.png", "image c")
        for _ in range(2):
            result = create_gallery([Path("in")], Path("in/site"), on_note=notes.append)
            counts.append((result.images, result.new, result.removed))
    assert counts == [(1, 1, 0), (1, 0, 0), (2, 1, 0), (2, 0, 0), (1, 0, 1), (1, 0, 0)]
    assert "Skipped in 'in': 2 images of the gallery." in notes


def test_masks_and_frames_are_shown() -> None:
    mask = Image.new("L", (96, 64))
    mask.paste(255, (10, 10, 50, 50))
    save_image("in/fox.png", "a fox", mask_data=f"key:{pack_mask(mask)}")
    save_image("in/other.png", "another fox", mask_data="key:damaged")
    Image.new("RGB", (8, 8)).save("in/fox-frames.gif", **derived_save_args("gif"))
    Image.new("RGB", (8, 8)).save("in/other.gif")
    artgen.gallery("in", "site", copy=True)
    names = [each["name"] for each in data_of("site", "entries")]
    details = dict(zip(names, data_of("site", "details"), strict=True))
    assert "mask" not in details["other.png"]
    assert "frames" not in details["other.png"]
    shown = Image.open(Path("site", details["fox.png"]["mask"])).convert("L")
    assert (shown.size, shown.getpixel((30, 30)), shown.getpixel((80, 30))) == ((96, 64), 255, 0)
    assert Path("site", details["fox.png"]["frames"]).read_bytes() == Path("in/fox-frames.gif").read_bytes()
    artgen.gallery(["in/other.png"], "site")
    assert not list(Path("site/gallery/masks").iterdir())


def test_the_thumbnails_of_another_gallery_are_skipped_and_a_replay_command_has_no_control_characters() -> None:
    save_image("in/a\x15.png", "a fox")
    assert artgen.gallery("in", "in/first").images == artgen.gallery("in", "in/second").images == 1
    assert "replay" not in data_of("in/second", "details")[0]


def test_copies_are_in_the_gallery_and_a_link_is_not_followed() -> None:
    save_image("in/a.png", "a fox")
    artgen.gallery(["in/a.png"], "site", copy=True)
    details = data_of("site", "details")[0]
    assert Path("site", details["image"]).read_bytes() == Path("in/a.png").read_bytes()
    assert details["replay"] == "artgen replay a.png"
    Path("private").mkdir()
    Path("private/0123456789abcdef.webp").write_text("private")
    Path("site/gallery/masks").symlink_to(Path("private").absolute())
    artgen.gallery("in", "site")
    assert not list(Path("site/images").iterdir())
    assert Path("private/0123456789abcdef.webp").exists()


def test_invalid_calls_are_refused() -> None:
    save_image("in/a.png", "a fox")
    before = sorted(Path("in").iterdir())
    for arguments, error, text in (
        (("in", "in"), OutputError, "not of a gallery"),
        (("in", "in/a.png"), OutputError, "not a folder"),
        (("missing", "site"), InputFileError, "does not exist"),
        ((None, "site"), UsageError, "either images"),
        (([], "site"), UsageError, "empty"),
    ):
        with pytest.raises(error, match=text):
            artgen.gallery(*arguments)
    with pytest.raises(InputFileError, match="no image"):
        artgen.gallery(history=True)
    assert sorted(Path("in").iterdir()) == before
    assert not Path("site").exists()
    assert "outputs" in run("gallery", code=3).stderr
    for output in ("", "-", "page.html"):
        run("gallery", "in", "-o", output, code=2)
    run("gallery", "in", "--history", code=2)


def test_the_history_gives_ratings_tags_and_images() -> None:
    digest = save_image("in/a.png", "a fox")
    with open_history() as history:
        entry = create_entry(Path("in/a.png"), digest, {"prompt": "a fox"}, (96, 64))
        number = history.add(entry, 1)
        history.set_rating([number], 4)
        history.add_tags([number], ["best"])
    artgen.gallery("in", "site")
    assert [(each["rating"], each["tags"]) for each in data_of("site", "entries")] == [(4, ["best"])]
    assert json.loads(run("gallery", "--history", "--json", "-o", "all").stdout)["images"] == 1


def test_a_copied_image_has_the_key_of_the_parent_record() -> None:
    values = {"task": "txt2img", "prompt": "a fox", "seed": 7, "mask_data": "x"}
    save_image(
        "in/large.png", "", task="upscale", parent_record=json.dumps(values), image="fox.png", image_sha256="0" * 64
    )
    artgen.gallery("in", "site")
    parent = data_of("site", "entries")[0]["parents"][0]
    assert parent["key"] == record_key({name: values[name] for name in ("seed", "prompt", "task")}) != ""
