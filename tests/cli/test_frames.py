"""`--frames` as people use it: what is written, what is refused."""

import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import FAST, run, save_inputs
from PIL import Image, ImageSequence

from artgen.outputs.animation import encode_animation, quantize_frame

FRAMED = ("txt2img", "a fox", "--steps", "4", "--seed", "7", "-m")


@pytest.fixture(autouse=True)
def _inputs() -> None:
    save_inputs()


def _frames(path: Path) -> list[Any]:
    with Image.open(path) as file:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(file)]


def test_a_gif_ends_in_the_picture_and_leaves_it_as_it_is(sd1: str) -> None:
    run(*FRAMED, sd1, "-o", "plain.png")
    out = run(*FRAMED, sd1, "-o", "fox.png", "--frames", "fox.gif")
    assert out.stdout.splitlines() == ["fox.png", "fox.gif"]
    assert Path("plain.png").read_bytes() == Path("fox.png").read_bytes()
    found = _frames(Path("fox.gif"))
    assert len(found) == 4
    expected = quantize_frame(Image.open("fox.png")).convert("RGB")
    assert np.array_equal(found[-1], np.asarray(expected))


def test_a_folder_holds_the_frames_exactly(sd1: str) -> None:
    out = run(*FRAMED, sd1, "-o", "fox.png", "--frames", "frames/", "--frames-show", "xt", "--json", "-q")
    assert json.loads(out.stdout)["frames"] == "frames"
    assert sorted(path.name for path in Path("frames").iterdir()) == [f"{n:04}.png" for n in range(1, 6)]
    assert np.array_equal(np.asarray(Image.open("frames/0005.png")), np.asarray(Image.open("fox.png")))


def test_webp_and_mp4(sd1: str) -> None:
    run(*FRAMED, sd1, "-o", "a.png", "--frames", "a.webp")
    assert len(_frames(Path("a.webp"))) >= 2, "equal frames are one"
    av = pytest.importorskip("av")
    run("img2img", "in.png", "-m", sd1, *FAST, "--strength", "1", "-o", "b.png", "--frames", "b.mp4", "--fps", "2")
    with av.open("b.mp4") as file:
        *_, last = (frame.to_ndarray(format="rgb24") for frame in file.decode(video=0))
    assert last.shape == (48, 34, 3), "sides are even"
    shown, picture = (image.convert("L") for image in (Image.fromarray(last[:47, :33]), Image.open("b.png")))
    assert np.abs(np.asarray(shown, int) - np.asarray(picture)).mean() < 3, "colours come at half the size"


def test_every_task_saves_frames(sd1: str) -> None:
    for words in (
        ("img2img", "in.png", "--include-noising"),
        ("inpaint", "in.png", "--mask", "mask.png", "a fox"),
        ("outpaint", "in.png", "--expand", "left=7", "--include-noising"),
    ):
        run(*words, "-m", sd1, "--steps", "4", "--seed", "7", "-o", "x.png", "--frames", "x.gif", "--overwrite")
        assert Image.open("x.gif").size == Image.open("x.png").size
        assert Image.open("x.gif").n_frames >= 2
    run("replay", "x.png", "--set", f"model={sd1}", "-o", "again.png", "--frames", "again/", "--frame-interval", "2")
    assert np.array_equal(np.asarray(Image.open("again/0003.png")), np.asarray(Image.open("x.png")))


def test_several_pictures_have_frames_each(sd1: str) -> None:
    for made, names in (
        ("{seed}.gif", ["7.gif", "8.gif"]),
        ("all/", ["7-a-fox", "8-a-fox"]),
        ("{stem}.webp", ["7-a-fox.webp", "8-a-fox.webp"]),
    ):
        run(*FRAMED, sd1, "-c", "2", "-o", "out/{seed}-{prompt}.png", "--frames", made, "--overwrite")
        folder = Path(made) if made.endswith("/") else Path()
        assert all((folder / name).exists() for name in names)
    stderr = run(*FRAMED, sd1, "-c", "2", "--frames", "one.gif", code=2).stderr
    assert "several images" in stderr
    assert "{stem}.gif" in stderr


def test_batches_and_sweeps_save_frames_and_draw_the_same(sd1: str) -> None:
    Path("prompts.txt").write_text("a fox --seed 1\na cat\n")
    run("batch", "prompts.txt", "-m", sd1, "--steps", "3", "-o", "plain/")
    run("batch", "prompts.txt", "-m", sd1, "--steps", "3", "-o", "framed/", "--frames", "frames/")
    names = sorted(path.name for path in Path("plain").glob("*.png"))
    assert len(names) == 2
    for name in names:
        assert Path("plain", name).read_bytes() == Path("framed", name).read_bytes()
        last = Image.open(Path("frames", Path(name).stem, "0003.png"))
        assert np.array_equal(np.asarray(last), np.asarray(Image.open(Path("framed", name))))
    run("txt2img", "a fox", "-m", sd1, "--sweep", "steps=2,3", "-o", "plainly/")
    run("txt2img", "a fox", "-m", sd1, "--sweep", "steps=2,3", "-o", "swept/", "--frames", "swept/{stem}.gif")
    assert sorted(p.read_bytes() for p in Path("plainly").glob("0*.png")) == sorted(
        p.read_bytes() for p in Path("swept").glob("0*.png")
    )
    assert sorted(Image.open(path).n_frames for path in Path("swept").glob("*.gif")) == [2, 3]


def test_workers_save_frames_and_draw_the_same(sd1: str) -> None:
    lines = [f"a fox --seed {seed} --output {folder}/fox.png" for seed, folder in enumerate("abcd")]
    Path("prompts.txt").write_text("\n".join(lines))
    words = ("batch", "prompts.txt", "-m", sd1, "--steps", "3")
    framed = (*words, "-o", "framed/", "--frames", "frames/", "--workers", "2")
    run(*words, "-o", "plain/")
    records = [json.loads(line) for line in run(*framed, "--json").stdout.splitlines()]
    assert len({record["frames"] for record in records}) == 4, "pictures of one name have frames of several"
    for record in records:
        picture = Path(record["file"])
        assert picture.read_bytes() == Path("plain", *picture.parts[1:]).read_bytes()
        last = Image.open(Path(record["frames"], "0003.png"))
        assert np.array_equal(np.asarray(last), np.asarray(Image.open(picture)))
    assert "4 done, 0 to draw" in run(*framed).stderr
    assert len(list(Path("frames").iterdir())) == 4


def test_a_folder_that_somebody_else_makes_meanwhile_is_left_to_them(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def rename_after_another_process(source: Path, target: Path) -> Path:
        if target.name == "fox":
            target.mkdir()
            (target / "0001.png").write_bytes(b"theirs")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", rename_after_another_process)
    printed = run(*FRAMED, sd1, "-o", "fox.png", "--frames", "frames/{stem}/", "--json").stdout
    assert json.loads(printed)["frames"] == "frames/fox-1"
    assert [path.read_bytes() for path in Path("frames/fox").iterdir()] == [b"theirs"]
    assert len(list(Path("frames").iterdir())) == 2, "nothing unfinished is left"


def test_what_json_prints_of_frames_and_measures_is_a_prompt_file(sd1: str) -> None:
    printed = run(*FRAMED, sd1, "-o", "fox.png", "--frames", "fox.gif", "--json").stdout
    Path("again.jsonl").write_text(json.dumps({**json.loads(printed), "model": sd1}))
    run("batch", "again.jsonl", "-o", "again/")
    [again] = Path("again").glob("*.png")
    assert np.array_equal(np.asarray(Image.open(again)), np.asarray(Image.open("fox.png")))
    printed = run("denoise", "in.png", "--method", "tv", "--reference", "in.png", "--json", "-o", "clean.png").stdout
    assert {"before", "after"} <= json.loads(printed).keys()
    Path("again.jsonl").write_text(printed)
    run("batch", "again.jsonl", "-o", "clean/", "--dry-run")


def test_nothing_is_overwritten_unasked(sd1: str) -> None:
    Path("fox.gif").write_bytes(b"mine")
    assert "exists already" in run(*FRAMED, sd1, "-o", "a.png", "--frames", "fox.gif", code=74).stderr
    assert not Path("a.png").exists()
    assert Path("fox.gif").read_bytes() == b"mine"
    run(*FRAMED, sd1, "-o", "a.png", "--frames", "fox.gif", "--overwrite")
    assert Image.open("fox.gif").n_frames == 4
    run(*FRAMED, sd1, "-o", "b.png", "--frames", "frames/")
    assert "not empty" in run(*FRAMED, sd1, "-o", "c.png", "--frames", "frames/", code=74).stderr
    run(*FRAMED, sd1, "-o", "b.png", "--frames", "frames/", "--frame-interval", "3", "--overwrite")
    assert len(list(Path("frames").iterdir())) == 2, "none of the frames before is left"
    Path("frames/diary.txt").write_text("mine")
    stderr = run(*FRAMED, sd1, "-o", "b.png", "--frames", "frames/", "--overwrite", code=74).stderr
    assert "files that are not frames" in stderr
    assert Path("frames/diary.txt").read_text() == "mine"
    Path("empty").mkdir()
    run(*FRAMED, sd1, "-o", "d.png", "--frames", "empty")
    assert len(list(Path("empty").iterdir())) == 4


def test_frames_that_cannot_be_written_cost_no_picture(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("artgen.outputs.animation.quantize_frame", full)
    out = run(*FRAMED, sd1, "-o", "fox.png", "--frames", "fox.gif", code=74)
    assert out.stdout.splitlines() == ["fox.png"]
    assert Path("fox.png").exists()
    assert not Path("fox.gif").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--frames", "x.bmp"), ".gif, .webp, .mp4"),
        (("--frames", "x"), ".gif, .webp, .mp4"),
        (("--frames", ""), "is not a file or folder name"),
        (("--frames", ".."), "is not a file or folder name"),
        (("--frames", "{wrong}.gif"), "is not a field"),
        (("--frames", "x.gif", "--frame-interval", "0"), "1 to 1,000"),
        (("--frames", "x.gif", "--fps", "0"), "0.1 to 60"),
        (("--frames", "x.gif", "--frames-show", "noise"), "x0, xt"),
        (("--frames", "x.gif", "--include-noising"), "starts from noise alone"),
        (("--frame-interval", "2"), "--frame-interval requires --frames"),
        (("--include-noising",), "--include-noising requires --frames"),
    ],
)
def test_refused_before_anything_is_drawn(sd1: str, words: tuple[str, ...], said: str) -> None:
    result = run(*FRAMED, sd1, *words, code=2)
    assert said in result.stderr
    assert "on the CPU" not in result.stderr
    assert not Path("outputs").exists()


def test_what_a_missing_encoder_is_called(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "av" else found(name, *more))
    stderr = run(*FRAMED, sd1, "--frames", "x.mp4", code=2).stderr
    assert 'pip install "artgen[video]"' in stderr
    assert "on the CPU" not in stderr


@pytest.mark.parametrize("words", [("--method", "tv"), (), ("--steps", "1"), ("--steps", "5", "--include-noising")])
def test_denoising_without_steps_has_no_frames(words: tuple[str, ...]) -> None:
    run("denoise", "in.png", *words, "--frames", "x.gif", code=2)


def test_large_frames_are_scaled_down_and_the_last_stays(sd1: str) -> None:
    pictures = [Image.new("RGB", (1024, 300), colour) for colour in ("red", "green", "blue")]
    gif = Image.open(io.BytesIO(encode_animation(pictures, "gif", 10)))
    assert gif.size == (512, 150)
    durations = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
    assert durations == [100, 100, 1600]
    assert gif.info["loop"] == 0
    said = run(*FRAMED, sd1, "--size", "640x32", "--dry-run", "--frames", "x.gif").stderr
    assert "Frames are scaled down to 512x26 in a .gif file" in said


def test_thirty_steps_of_the_bundled_model_are_a_small_gif() -> None:
    words = ("txt2img", "a red fox in the snow", "-m", "tiny", "--seed", "0", "--steps", "30", "-o", "fox.png")
    run(*words, "--frames", "fox.gif")
    assert Path("fox.gif").stat().st_size < 1_000_000
    found = _frames(Path("fox.gif"))
    assert len(found) == 30
    assert np.array_equal(found[-1], np.asarray(quantize_frame(Image.open("fox.png")).convert("RGB")))
    apart = [float(np.abs(frame.astype(int) - found[-1]).mean()) for frame in found]
    assert apart[0] > 10 > apart[20] > apart[28], "it comes nearer"
