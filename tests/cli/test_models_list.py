"""Test `artgen models list` and `artgen models recommend`, and checkpoints of the catalog before their download."""

import json

import command_line
import hub_server
import pytest
from typer.testing import Result

from artgen.registry.catalog import builtin_models


def run(*arguments: str, code: int = 0, columns: int = 100) -> Result:
    return command_line.run("models", *arguments, code=code, env={"COLUMNS": str(columns)})


def objects(done: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("columns", [80, 100, 120, 200])
@pytest.mark.parametrize("command", [("list",), ("recommend", "--memory", "24GiB", "--limit", "30")])
def test_output_fits_the_terminal(command: tuple[str, ...], columns: int) -> None:
    done = run(*command, columns=columns)
    assert len(done.stdout.splitlines()) > 60
    assert max(map(len, done.stdout.splitlines())) <= columns


def test_list_shows_the_download_size_and_what_is_on_the_disk() -> None:
    done = run("list")
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
    assert done.stderr.split()[:6] == ["name", "kind", "size", "download", "on", "disk"]
    assert lines["flux-dev"][1:6] == ["flux", "1024x1024", "33.7", "GB", "-"]
    assert lines["tiny"][2:4] == ["128x128", "-"]
    assert "flux" not in lines, "further names of a model are not models"


def test_list_and_show_contain_defaults_and_required_memory() -> None:
    rows = {row["name"]: row for row in objects(run("list", "--family", "flux", "--json"))}
    schnell = rows["flux-schnell"]
    assert (schnell["steps"], schnell["guidance_scale"], schnell["gated"]) == (4, 0.0, True)
    assert 30e9 < int(str(schnell["gpu_memory"])) < 45e9
    shown = run("show", "flux-schnell").stdout
    assert "steps: 4\n" in shown
    assert "guidance scale: 0.0\n" in shown
    assert "gpu memory: 3" in shown
    assert "license: Apache-2.0\n" in shown


def test_list_can_be_filtered_by_family_and_task() -> None:
    assert {row["architecture"] for row in objects(run("list", "--family", "flux2", "--json"))} == {"flux2"}
    assert [row["name"] for row in objects(run("list", "--family", "flux-schnell", "--json"))] == ["flux-schnell"]
    inpainting = {row["name"] for row in objects(run("list", "--task", "inpaint", "--json"))}
    assert {"sd15", "sd15-inpaint", "flux-fill", "chroma"} <= inpainting
    assert "pixart" not in inpainting
    generating = {row["name"] for row in objects(run("list", "--task", "txt2img", "--json"))}
    assert not {"sd15-inpaint", "flux-fill", "sdxl-refiner", "ddpm-church"} & generating
    assert "Cannot find the family 'nosuch'" in run("list", "--family", "nosuch", code=2).stderr
    assert "task must be one of" in run("list", "--task", "paint", code=2).stderr


def test_recommend_plans_for_another_machine() -> None:
    rows = objects(run("recommend", "--memory", "12GiB", "--json", "--limit", "5"))
    assert len(rows) == 5
    for row in rows:
        assert row["device"] == "cuda"
        assert int(str(row["required_bytes"])) <= 12 << 30
        assert str(row["command"]).startswith('artgen txt2img "a red fox" -m ')
        assert str(row["reason"]).startswith("Needs about ")
    assert [row["device"] for row in objects(run("recommend", "--memory", "8GB", "--device", "cpu", "--json"))][:1] == [
        "cpu"
    ]


def test_recommend_for_this_machine_contains_the_bundled_model() -> None:
    done = run("recommend", "--device", "cpu", "--limit", "500")
    assert 'artgen txt2img "a red fox" -m tiny' in done.stdout
    assert "On the disk." in " ".join(done.stdout.split())
    assert "fit the CPU with" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--memory", "much"), "--memory must be a size such as 8GiB"),
        (("--memory", "1"), "--memory must be 256 MiB"),
        (("--device", "tpu"), "device must be one of auto, cuda, mps, cpu"),
        (("--task", "paint"), "task must be one of"),
        (("--limit", "0"), "--limit"),
    ],
)
def test_wrong_options_are_refused(arguments: tuple[str, ...], message: str) -> None:
    assert message in run("recommend", *arguments, code=2).stderr


def test_a_machine_that_is_too_small_gets_no_models() -> None:
    done = run("recommend", "--memory", "300MiB", "--device", "cpu")
    assert done.stdout == ""
    assert "0 models fit" in done.stderr


@pytest.mark.parametrize(("command", "code"), [("txt2img", 0), ("sample", 4)])
def test_checkpoint_is_described_and_refused_before_its_download(
    monkeypatch: pytest.MonkeyPatch, command: str, code: int
) -> None:
    info = builtin_models()["sdxl-lightning"]
    assert info.file is not None
    with hub_server.serve(hub_server.Hub({info.file: b"x" * 1000}, repo=info.source)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        prompt = ["x"] if command == "txt2img" else []
        done = command_line.run(command, *prompt, "-m", info.name, "--dry-run", code=code)
        assert not hub.ranges(info.file)
    assert "sdxl-lightning" in done.stdout + done.stderr
    if code == 0:
        assert "steps=4" in done.stdout
        assert "width=1024" in done.stdout
