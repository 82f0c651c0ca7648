"""Test `--frames`: the written files and the validation."""

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


def test_last_frame_of_a_gif_is_the_image_and_the_image_is_unchanged(sd1: str) -> None:
    run(*FRAMED, sd1, "-o", "plain.png")
    out = run(*FRAMED, sd1, "-o", "fox.png", "--frames", "fox.gif")
    assert out.stdout.splitlines() == ["fox.png", "fox.gif"]
    assert Path("plain.png").read_bytes() == Path("fox.png").read_bytes()
    frames = _frames(Path("fox.gif"))
    assert len(frames) == 4
    expected = quantize_frame(Image.open("fox.png")).convert("RGB")
    assert np.array_equal(frames[-1], np.asarray(expected))


def test_frames_folder_contains_lossless_frames(sd1: str) -> None:
    out = run(*FRAMED, sd1, "-o", "fox.png", "--frames", "frames/", "--frames-show", "xt", "--json", "-q")
    assert json.loads(out.stdout)["frames"] == "frames"
    assert sorted(path.name for path in Path("frames").iterdir()) == [f"{n:04}.png" for n in range(1, 6)]
    assert np.array_equal(np.asarray(Image.open("frames/0005.png")), np.asarray(Image.open("fox.png")))


def test_webp_and_mp4_contain_the_image_as_the_last_frame(sd1: str) -> None:
    run(*FRAMED, sd1, "-o", "a.png", "--frames", "a.webp")
    assert len(_frames(Path("a.webp"))) >= 2, "consecutive equal frames are merged"
    av = pytest.importorskip("av")
    run("img2img", "in.png", "-m", sd1, *FAST, "--strength", "1", "-o", "b.png", "--frames", "b.mp4", "--fps", "2")
    with av.open("b.mp4") as file:
        *_, last = (frame.to_ndarray(format="rgb24") for frame in file.decode(video=0))
    assert last.shape == (48, 34, 3), "width and height are even"
    last_frame, image = (each.convert("L") for each in (Image.fromarray(last[:47, :33]), Image.open("b.png")))
    assert np.abs(np.asarray(last_frame, int) - np.asarray(image)).mean() < 3, "MP4 stores color at half resolution"


def test_every_task_saves_frames(sd1: str) -> None:
    for arguments in (
        ("img2img", "in.png", "--include-noising"),
        ("inpaint", "in.png", "--mask", "mask.png", "a fox"),
        ("outpaint", "in.png", "--expand", "left=7", "--include-noising"),
    ):
        run(*arguments, "-m", sd1, "--steps", "4", "--seed", "7", "-o", "x.png", "--frames", "x.gif", "--overwrite")
        assert Image.open("x.gif").size == Image.open("x.png").size
        assert Image.open("x.gif").n_frames >= 2
    run("replay", "x.png", "--set", f"model={sd1}", "-o", "again.png", "--frames", "again/", "--frame-interval", "2")
    assert np.array_equal(np.asarray(Image.open("again/0003.png")), np.asarray(Image.open("x.png")))


def test_each_of_several_images_has_its_own_frames(sd1: str) -> None:
    for template, names in (
        ("{seed}.gif", ["7.gif", "8.gif"]),
        ("all/", ["7-a-fox", "8-a-fox"]),
        ("{stem}.webp", ["7-a-fox.webp", "8-a-fox.webp"]),
    ):
        run(*FRAMED, sd1, "-c", "2", "-o", "out/{seed}-{prompt}.png", "--frames", template, "--overwrite")
        folder = Path(template) if template.endswith("/") else Path()
        assert all((folder / name).exists() for name in names)
    stderr = run(*FRAMED, sd1, "-c", "2", "--frames", "one.gif", code=2).stderr
    assert "several images" in stderr
    assert "{stem}.gif" in stderr


def test_batches_and_sweeps_with_frames_generate_the_same_images(sd1: str) -> None:
    Path("prompts.txt").write_text("a fox --seed 1\na cat\n")
    run("batch", "prompts.txt", "-m", sd1, "--steps", "3", "-o", "plain/")
    run("batch", "prompts.txt", "-m", sd1, "--steps", "3", "-o", "framed/", "--frames", "frames/")
    names = sorted(path.name for path in Path("plain").glob("*.png"))
    assert len(names) == 2
    for name in names:
        assert Path("plain", name).read_bytes() == Path("framed", name).read_bytes()
        last = Image.open(Path("frames", Path(name).stem, "0003.png"))
        assert np.array_equal(np.asarray(last), np.asarray(Image.open(Path("framed", name))))
    run("txt2img", "a fox", "-m", sd1, "--sweep", "steps=2,3", "-o", "without/")
    run("txt2img", "a fox", "-m", sd1, "--sweep", "steps=2,3", "-o", "swept/", "--frames", "swept/{stem}.gif")
    assert sorted(p.read_bytes() for p in Path("without").glob("0*.png")) == sorted(
        p.read_bytes() for p in Path("swept").glob("0*.png")
    )
    assert sorted(Image.open(path).n_frames for path in Path("swept").glob("*.gif")) == [2, 3]


@pytest.mark.slow
def test_workers_with_frames_generate_the_same_images(sd1: str) -> None:
    lines = [f"a fox --seed {seed} --output {folder}/fox.png" for seed, folder in enumerate("abcd")]
    Path("prompts.txt").write_text("\n".join(lines))
    arguments = ("batch", "prompts.txt", "-m", sd1, "--steps", "3")
    framed = (*arguments, "-o", "framed/", "--frames", "frames/", "--workers", "2")
    run(*arguments, "-o", "plain/")
    records = [json.loads(line) for line in run(*framed, "--json").stdout.splitlines()]
    assert len({record["frames"] for record in records}) == 4, (
        "images with the same file name have different frame folders"
    )
    for record in records:
        path = Path(record["file"])
        assert path.read_bytes() == Path("plain", *path.parts[1:]).read_bytes()
        last = Image.open(Path(record["frames"], "0003.png"))
        assert np.array_equal(np.asarray(last), np.asarray(Image.open(path)))
    assert "4 done, 0 to generate" in run(*framed).stderr
    assert len(list(Path("frames").iterdir())) == 4


def test_folder_that_another_process_creates_is_not_changed(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def rename_after_another_process(source: Path, target: Path) -> Path:
        if target.name == "fox":
            target.mkdir()
            (target / "0001.png").write_bytes(b"other")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", rename_after_another_process)
    printed = run(*FRAMED, sd1, "-o", "fox.png", "--frames", "frames/{stem}/", "--json").stdout
    assert json.loads(printed)["frames"] == "frames/fox-1"
    assert [path.read_bytes() for path in Path("frames/fox").iterdir()] == [b"other"]
    assert len(list(Path("frames").iterdir())) == 2, "no temporary folder remains"


def test_json_output_with_frames_and_metrics_is_a_prompt_file(sd1: str) -> None:
    printed = run(*FRAMED, sd1, "-o", "fox.png", "--frames", "fox.gif", "--json").stdout
    Path("again.jsonl").write_text(printed)
    run("batch", "again.jsonl", "-o", "again/")
    [again] = Path("again").glob("*.png")
    assert np.array_equal(np.asarray(Image.open(again)), np.asarray(Image.open("fox.png")))
    printed = run("denoise", "in.png", "--method", "tv", "--reference", "in.png", "--json", "-o", "clean.png").stdout
    assert {"before", "after"} <= json.loads(printed).keys()
    Path("again.jsonl").write_text(printed)
    run("batch", "again.jsonl", "-o", "clean/", "--dry-run")


def test_existing_frames_are_overwritten_only_with_overwrite(sd1: str) -> None:
    Path("fox.gif").write_bytes(b"mine")
    assert "exists already" in run(*FRAMED, sd1, "-o", "a.png", "--frames", "fox.gif", code=74).stderr
    assert not Path("a.png").exists()
    assert Path("fox.gif").read_bytes() == b"mine"
    run(*FRAMED, sd1, "-o", "a.png", "--frames", "fox.gif", "--overwrite")
    assert Image.open("fox.gif").n_frames == 4
    run(*FRAMED, sd1, "-o", "b.png", "--frames", "frames/")
    assert "not empty" in run(*FRAMED, sd1, "-o", "c.png", "--frames", "frames/", code=74).stderr
    run(*FRAMED, sd1, "-o", "b.png", "--frames", "frames/", "--frame-interval", "3", "--overwrite")
    assert len(list(Path("frames").iterdir())) == 2, "the previous frames are deleted"
    Path("frames/notes.txt").write_text("mine")
    stderr = run(*FRAMED, sd1, "-o", "b.png", "--frames", "frames/", "--overwrite", code=74).stderr
    assert "files that are not frames" in stderr
    assert Path("frames/notes.txt").read_text() == "mine"
    Path("empty").mkdir()
    run(*FRAMED, sd1, "-o", "d.png", "--frames", "empty")
    assert len(list(Path("empty").iterdir())) == 4


def test_image_is_saved_although_its_frames_cannot_be_written(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_with_full_disk(*_: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("artgen.outputs.animation.quantize_frame", fail_with_full_disk)
    out = run(*FRAMED, sd1, "-o", "fox.png", "--frames", "fox.gif", code=74)
    assert out.stdout.splitlines() == ["fox.png"]
    assert Path("fox.png").exists()
    assert not Path("fox.gif").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
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
def test_invalid_frame_options_are_rejected_before_generation(
    sd1: str, arguments: tuple[str, ...], message: str
) -> None:
    result = run(*FRAMED, sd1, *arguments, code=2)
    assert message in result.stderr
    assert "on the CPU" not in result.stderr
    assert not Path("outputs").exists()


def test_missing_video_encoder_is_reported_with_an_install_command(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *args: None if name == "av" else find_spec(name, *args)
    )
    stderr = run(*FRAMED, sd1, "--frames", "x.mp4", code=2).stderr
    assert 'pip install "artgen[video]"' in stderr
    assert "on the CPU" not in stderr


@pytest.mark.parametrize("arguments", [("--method", "tv"), (), ("--steps", "1"), ("--steps", "5", "--include-noising")])
def test_denoise_without_several_steps_rejects_frames(arguments: tuple[str, ...]) -> None:
    run("denoise", "in.png", *arguments, "--frames", "x.gif", code=2)


def test_large_frames_are_scaled_down_and_the_last_frame_is_shown_longer(sd1: str) -> None:
    images = [Image.new("RGB", (1024, 300), color) for color in ("red", "green", "blue")]
    gif = Image.open(io.BytesIO(encode_animation(images, "gif", 10)))
    assert gif.size == (512, 150)
    durations = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
    assert durations == [100, 100, 1600]
    assert gif.info["loop"] == 0
    stderr = run(*FRAMED, sd1, "--size", "640x32", "--dry-run", "--frames", "x.gif").stderr
    assert "Frames are scaled down to 512x26 in a .gif file" in stderr


def test_gif_of_30_steps_is_small_and_converges_to_the_image() -> None:
    arguments = ("txt2img", "a red fox in the snow", "-m", "tiny", "--seed", "0", "--steps", "30", "-o", "fox.png")
    run(*arguments, "--frames", "fox.gif")
    assert Path("fox.gif").stat().st_size < 1_000_000
    frames = _frames(Path("fox.gif"))
    assert len(frames) == 30
    assert np.array_equal(frames[-1], np.asarray(quantize_frame(Image.open("fox.png")).convert("RGB")))
    distances = [float(np.abs(frame.astype(int) - frames[-1]).mean()) for frame in frames]
    assert distances[0] > 10 > distances[20] > distances[28], "the frames converge"
