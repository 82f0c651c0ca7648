"""Test control images on the command line: records, replay, batches, sizes, and refused combinations."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import tiny_controls
from command_line import FAST, record, run, save_inputs
from PIL import Image, ImageDraw

from artgen import metadata
from artgen.jobs.control.replay import find_controls
from artgen.registry.hashes import compute_sha256


@pytest.fixture
def net(models: Mapping[str, Path]) -> str:
    """Write the inputs, a control image of another size, and a net for the tiny sd1 model. Return its folder."""
    save_inputs()
    image = Image.new("RGB", (48, 32))
    ImageDraw.Draw(image).ellipse((8, 8, 40, 24), outline="white")
    image.save("map.png")
    return str(tiny_controls.save("sd1", Path("net").absolute(), models["sd1"]))


@pytest.mark.parametrize(
    "command", [("txt2img", "--size", "32x32"), ("img2img", "in.png"), ("inpaint", "in.png", "--mask", "mask.png")]
)
def test_image_is_replayed_with_its_control_image_and_net(
    command: tuple[str, ...], net: str, models: Mapping[str, Path]
) -> None:
    Path("a").mkdir()
    shutil.copy("map.png", "a/map.png")
    arguments = (*command, "a fox", "-m", str(models["sd1"]), "--seed", "7", "--steps", "5", "-o", "out/x.png")
    control = f"raw=a/map.png,scale=0.7,until=0.8,model={net}"
    result = run(*arguments, "--control", control)
    assert "The control image 'map.png' is resized from 48x32 to" in result.stderr
    found = metadata.read_metadata(Path("out/x.png")).record
    assert found is not None
    assert found["control"] == ["raw=map.png,scale=0.7,until=0.8,model=net"]
    assert found["control_sha256"] == [compute_sha256(Path("map.png"))]
    assert (found["control_net"], found["control_net_source"]) == (["net"], ["local"])
    assert "Same pixels." in run("replay", "out/x.png", "-o", "again.png").stderr
    run(*arguments[:-1], "off.png", "--control", control.replace("0.7", "0"))
    run(*arguments[:-1], "plain.png")
    pixels = {name: Image.open(name).tobytes() for name in ("off.png", "plain.png", "out/x.png")}
    assert pixels["off.png"] == pixels["plain.png"] != pixels["out/x.png"]
    Image.open("map.png").rotate(90).save("map.png")
    assert "its control image 'map.png' (SHA-256" in run("replay", "out/x.png", "-o", "b.png", code=3).stderr
    shutil.copy("a/map.png", "map.png")
    shutil.move("net", "moved")
    assert "its control net 'net' (SHA-256" in run("replay", "out/x.png", "-o", "b.png", code=4).stderr
    with pytest.raises(Exception, match="is a path"):
        find_controls(Path("x.png"), {**found, "control": ["raw=map.png,model=/etc"], "control_net_source": ["o/n@1"]})


def test_prompt_files_and_sweeps_contain_control_images(net: str, models: Mapping[str, Path]) -> None:
    Path("jobs").mkdir()
    shutil.copy("map.png", "jobs/map.png")
    text = f"raw=map.png,model={net}"
    lines = [{"prompt": "a", "control": text}, {"prompt": "b", "control": [f"{text},scale=0.5"]}, {"prompt": "c"}]
    Path("jobs/p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    Path("jobs/p.csv").write_text(f'prompt,control\na,"{text},scale=0.5"\n')
    model = ("-m", str(models["sd1"]), "--size", "32x32", *FAST)
    for file, expected in (("p.jsonl", [1.0, 0.5, None]), ("p.csv", [0.5])):
        run("batch", f"jobs/{file}", "-o", f"{file}-out", *model)
        records = [metadata.read_metadata(each).record or {} for each in sorted(Path(f"{file}-out").glob("*.png"))]
        scales = ["scale=0.5" in each["control"][0] if "control" in each else None for each in records]
        assert scales == [None if scale is None else scale == 0.5 for scale in expected]
        assert (
            f"{len(expected)} done, 0 to generate" in run("batch", f"jobs/{file}", "-o", f"{file}-out", *model).stderr
        )
    sweep = f'control="{text},scale=0.5","{text}"'
    assert "2 images would be" in run("txt2img", "a", *model, "--sweep", sweep, "--dry-run").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--control-guess",), "--control-guess needs a control image"),
        (("--control", "canny=map.png"), "has no default net"),
        (("--control", "raw=map.png"), "raw needs the net"),
        (("--control", "raw=no.png,model=NET"), "'no.png' does not exist"),
        (("--control", "raw=NET/config.json,model=NET"), "Cannot use the control image"),
        (("--control", "raw=map.png,model=NET", "--acceleration", "openvino"), "openvino"),
        (("--control", "raw=map.png,model=NET", "--guidance-rescale", "0.5"), "Cannot combine --guidance-rescale"),
        (("--control", "raw=map.png,model=NET", "--control", "raw=map.png,model=canny-sdxl"), "Stable Diffusion XL"),
        (("--control", "raw=map.png,model=x.pth"), "pickle"),
    ],
)
def test_combination_is_refused_before_anything_loads(
    arguments: tuple[str, ...], message: str, net: str, models: Mapping[str, Path]
) -> None:
    arguments = tuple(each.replace("NET", net) for each in arguments)
    result = run("txt2img", "a fox", "-m", str(models["sd1"]), *FAST, *arguments, code=None)
    assert result.exit_code in (2, 3, 4, 5)
    assert message in result.stderr
    assert "Loading" not in result.stderr.replace("Loading torch", "")


@pytest.mark.parametrize(
    ("model", "kind", "arguments", "message"),
    [
        ("sd1", "sd1", ("--only-masked",), ""),
        ("sd1", "sd1", ("--soft-mask",), ""),
        ("sd1", "sd1", ("--only-masked", "--control", "raw=map.png,model=NET"), "with several control images"),
        ("sd1", "sd1-inpaint", ("--only-masked",), "--only-masked with a control net for inpainting"),
        ("sdxl", "union", ("--only-masked",), "--only-masked with a union ControlNet"),
        ("sdxl", "union", ("--control-guess",), "--control-guess with a union ControlNet"),
        ("sd3", "sd3", (), "a ControlNet ('NET') with inpaint and Stable Diffusion 3"),
        ("sd3", "sd3-inpaint", (), ""),
        ("sd3", "sd3-inpaint", ("--strength", "0.5"), "--strength with a ControlNet that reads the mask"),
        ("sd3", "sd3-inpaint", ("--only-masked",), "--only-masked with a ControlNet that reads the mask"),
        ("sd3", "sd3-inpaint", ("--soft-mask",), "Cannot use --soft-mask"),
        ("sd3", "sd3-inpaint", ("--control-guess",), "--control-guess with a ControlNet that reads the mask"),
    ],
)
def test_combinations_of_inpaint_are_checked_before_anything_loads(
    net: str, models: Mapping[str, Path], model: str, kind: str, arguments: tuple[str, ...], message: str
) -> None:
    changes = {"extra_conditioning_channels": 1} if kind == "sd3-inpaint" else {}
    if kind != "sd1":
        net = str(tiny_controls.save(kind.removesuffix("-inpaint"), Path(f"net-{kind}"), models[model], **changes))
    given = ("--control", f"{'canny' if kind == 'union' else 'raw'}=map.png,model={net}", *arguments)
    given = tuple(each.replace("NET", net) for each in given)
    source = ("in.png", "a fox", "--mask", "mask.png", "-m", str(models[model]))
    result = run("inpaint", *source, *FAST, *given, "--dry-run", code=2 if message else 0)
    assert message.replace("NET", net) in result.stderr


def test_inversion_is_refused_with_control(net: str, models: Mapping[str, Path]) -> None:
    control = ("--control", f"raw=map.png,model={net}", "--invert")
    result = run("img2img", "in.png", "a fox", "-m", str(models["sd1"]), *FAST, *control, "--dry-run", code=2)
    assert "Cannot combine --invert and --control" in result.stderr


def test_architecture_without_a_pipeline_is_refused_by_name(models: Mapping[str, Path], net: str) -> None:
    control = ("--control", f"raw=map.png,model={net}")
    refused = run("img2img", "in.png", "a fox", "-m", str(models["sd3"]), *control, "--dry-run", code=2).stderr
    assert "Cannot use control images with img2img and Stable Diffusion 3: diffusers has no such pipeline." in refused
    refused = run("txt2img", "a fox", "-m", str(models["sdxl"]), *control, "--dry-run", code=4).stderr
    assert "it is a net for" in refused or "cross_attention_dim" in refused or "block_out_channels" in refused


def test_net_that_is_active_in_no_step_has_a_note(net: str, models: Mapping[str, Path]) -> None:
    control = f"raw=map.png,until=0.4,model={net}"
    result = run("txt2img", "a fox", "-m", str(models["sd1"]), "--control", control, *FAST, "--dry-run")
    assert "The control net of 'map.png' is active in none of the 2 steps" in result.stderr


def test_padding_follows_the_input_image(net: str, models: Mapping[str, Path]) -> None:
    found = record("img2img", "in.png", "x", "-m", str(models["sd1"]), "--control", f"raw=map.png,model={net}", *FAST)
    assert (found["width"], found["height"]) == (33, 47)
