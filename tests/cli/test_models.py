"""Test `artgen models`: results on stdout, notes on stderr, and exit codes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import command_line
import hub_server
import pytest
from hub_server import UNET, tiny_files
from typer.testing import Result

from artgen import registry


def run(*arguments: str, code: int = 0, **environment: str) -> Result:
    """Run `artgen models ARGUMENTS`."""
    result = command_line.run("models", *arguments, code=code, env=environment)
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    with hub_server.serve(hub_server.Hub(tiny_files())) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def objects(done: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_list_contains_the_built_in_models() -> None:
    done = run("list")
    assert [line.split()[0] for line in done.stdout.splitlines()][:3] == ["tiny", "denoiser", "sd15"]
    assert "license" in done.stderr
    rows = {row["name"]: row for row in objects(run("list", "--json"))}
    assert rows["sdxl"]["width"] == 1024
    assert rows["sdxl"]["on_disk"] == 0
    assert rows["sd35-medium"]["gated"] is True


def test_downloaded_model_can_be_listed_verified_repaired_and_removed(hub: hub_server.Hub) -> None:
    hub.cut_after[UNET] = 100_000
    done = run("pull", hub.repo)
    folder = Path(done.stdout.strip())
    assert (folder / UNET).read_bytes() == hub.files[UNET]
    assert hub.ranges(UNET) == ["", "bytes=100000-"]
    assert done.stderr.strip() == "Downloading 'owner/tiny': 403.8 kB in 11 files.", "no progress without a terminal"

    row = next(row for row in objects(run("list", "--json")) if row["name"] == hub.repo)
    assert row["complete"] is True
    assert int(str(row["on_disk"])) > 400_000
    (details,) = objects(run("show", hub.repo, "--json"))
    assert (details["revision"], details["variant"], details["architecture"]) == (hub.commit, "fp16", "sd1")
    assert "architecture: sd1" in run("show", hub.repo).stdout
    assert run("path", hub.repo).stdout == f"{folder}\n"
    assert "match their SHA-256" in run("verify").stdout

    blob = (folder / UNET).resolve()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(bytes(data))
    done = run("verify", hub.repo, code=5)
    assert UNET in done.stdout
    assert f"artgen models pull {hub.repo} --force" in done.stderr
    failed = [check for check in objects(run("verify", hub.repo, "--json", code=5)) if not check["ok"]]
    assert [check["file"] for check in failed] == [UNET]
    run("pull", hub.repo, "--force")
    assert (folder / UNET).read_bytes() == hub.files[UNET]
    run("verify", hub.repo)

    assert "Freed" in run("remove", hub.repo).stderr
    assert not folder.exists()
    run("path", hub.repo, code=4)
    run("remove", hub.repo, code=4)


def test_download_errors_have_messages_and_exit_codes(hub: hub_server.Hub) -> None:
    assert "Cannot find the model 'owner/other'" in run("pull", "owner/other", code=4).stderr
    assert "no revision 'x'" in run("pull", "owner/tiny@x", code=4).stderr
    hub.gated = 401
    done = run("pull", hub.repo, code=4, HF_TOKEN="hf_verysecret")
    assert f"Accept the license at {hub.url}/owner/tiny, then `hf auth login`" in done.stderr.replace("\n", " ")
    assert "verysecret" not in done.stdout + done.stderr
    hub.gated = 0
    hub.instead[UNET] = b"x" * len(hub.files[UNET])
    assert "has the wrong hash" in run("pull", hub.repo, code=5).stderr
    hub.instead.clear()
    assert "HF_HUB_OFFLINE" in run("pull", hub.repo, code=4, HF_HUB_OFFLINE="1").stderr
    assert "pickle" in run("pull", "model.ckpt", code=5).stderr
    run("pull", hub.repo)


def test_interrupted_download_names_the_next_step(hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("artgen.api.model_downloads.pull_source", interrupt)
    done = run("pull", hub.repo, code=130)
    assert "The downloaded part is kept. Run the same command again to continue." in done.stderr
    assert done.stderr.endswith("error: Interrupted.\n")
    assert done.stdout == ""
    assert run("pull", hub.repo, "-q", code=130).stderr == "error: Interrupted.\n"


def test_incomplete_download_is_marked_in_the_list(hub: hub_server.Hub) -> None:
    hub.instead[UNET] = hub.files[UNET][:1000]
    run("pull", hub.repo, code=4)
    done = run("list")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(hub.repo)]
    assert "*" in line
    assert "incomplete" in done.stderr
    hub.instead.clear()
    run("pull", hub.repo)
    assert "incomplete" not in run("list").stderr


def test_unreachable_hub_is_reported() -> None:
    with hub_server.serve(hub_server.Hub()) as gone:
        pass
    assert "cannot be reached" in run("pull", "owner/tiny", code=4, HF_ENDPOINT=gone.url).stderr


def test_aliases_can_be_set_and_removed(models: dict[str, Path]) -> None:
    run("alias", "mine", str(models["sd1"]))
    assert run("path", "mine").stdout == f"{models['sd1']}\n"
    assert next(row for row in objects(run("list", "--json")) if row["name"] == "mine")["complete"] is True
    assert "was not downloaded" in run("remove", "mine", code=2).stderr
    assert models["sd1"].is_dir()
    run("alias", "mine", "--remove")
    run("path", "mine", code=4)
    run("alias", "mine", code=2)
    run("alias", "mine", "sd15", "--remove", code=2)
    registry.user_aliases_path().write_text("{")
    assert "line 1" in run("list", code=3).stderr


def test_bundled_model_is_available_and_intact() -> None:
    """The catalog contains the bundled model even if its files are missing."""
    assert "bundled model" in run("show", "tiny").stdout or registry.find_local_model("tiny")
    if registry.find_local_model("tiny") is None:
        assert "pip install" in run("path", "tiny", code=4).stderr
    else:
        run("verify", "tiny")
        assert Path(run("path", "tiny").stdout.strip()).is_dir()


def test_show_prints_the_readme_of_a_model(models: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(models["sd1"], tmp_path / "with-card")
    (folder / "README.md").write_text("# My model\n\nGenerates foxes.\n")
    assert "Generates foxes." in run("show", str(folder)).stdout
    assert "artgen models pull sd15" in run("show", "sd15").stderr


def test_show_omits_text_to_image_details_of_a_denoiser() -> None:
    details = json.loads(run("show", "denoiser", "--json").stdout)
    assert details["prediction"] == "epsilon"
    assert {details[name] for name in ("steps", "guidance_scale", "width")} == {None}
    assert "BM3D" in run("show", "denoiser").stdout


def test_model_commands_do_not_import_torch() -> None:
    script = (
        "import sys\nfrom artgen.cli.models import app\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'numpy', 'huggingface_hub'}\n"
        "try:\n    app(sys.argv[1:])\nfinally:\n    print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    for arguments in (["list"], ["show", "sd15"], ["--help"], ["alias", "a", "sd15"], ["verify"]):
        path = str(Path(registry.__file__).parents[2])
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert "HEAVY []" in done.stdout, (arguments, done.stderr)
