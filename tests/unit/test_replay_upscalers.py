"""Test that `replay` finds the upscaling network of a record: bundled, of the hub, or local."""

import json
from pathlib import Path

import pytest

from artgen.errors import InputFileError, ModelUnavailableError
from artgen.jobs.prepare import prepare_jobs
from artgen.jobs.replay import read_replay_spec
from artgen.jobs.upscaling.replay import SETTINGS, find_network
from artgen.registry.upscalers import Upscaler, resolve_upscaler, upscaler_entries

COMMIT = "0123456789" * 4
RECORD = {"task": "txt2img", "prompt": "a fox", "model": "tiny", "seed": 7, "hires": "2", "hires_model": "tiny-x2"}


@pytest.mark.parametrize("setting", SETTINGS)
def test_networks_of_the_table_and_of_the_hub_are_found(setting: str) -> None:
    bundled = {setting: "tiny-x2", "upscale_model_source": "bundled:tiny_x2"}
    hub = {setting: "ada/net", "upscale_model_source": f"ada/net@{COMMIT}"}
    assert find_network(Path("fox.png"), bundled, setting) == "tiny-x2"
    assert find_network(Path("fox.png"), hub, setting) == f"ada/net@{COMMIT}"
    file = {setting: "ada/net/x/y.safetensors@main", "upscale_model_source": f"ada/net@{COMMIT}"}
    assert find_network(Path("fox.png"), file, setting) == f"ada/net/x/y.safetensors@{COMMIT}"
    for name in (
        "ada/net/../y.safetensors",
        "ada/net/x/../y.safetensors",
        "ada/net//y.safetensors",
        "/ada/net/y.safetensors",
        "ada/net/y.pth",
    ):
        assert find_network(Path("fox.png"), {**file, setting: name}, setting) == f"ada/net@{COMMIT}"
    source = f"{upscaler_entries()['swin2sr-x2'].source}@{COMMIT}"
    listed = {setting: "swin2sr-x2", "upscale_model_source": source}
    assert find_network(Path("fox.png"), listed, setting) == source
    assert Upscaler(source, Path(), "", 2, source=source, revision=COMMIT).recorded_name == "swin2sr-x2"
    assert (
        find_network(Path("fox.png"), {**listed, "upscale_model_source": f"ada/net@{COMMIT}"}, setting) == "swin2sr-x2"
    )
    with pytest.raises(InputFileError, match=r"upscaler 'net\.safetensors'"):
        find_network(Path("fox.png"), {setting: "/tmp/net.safetensors", "upscale_model_sha256": "0" * 64}, setting)


def test_other_weights_of_the_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "fox.json"
    for digest in (resolve_upscaler("tiny-x2").sha256, "0" * 64):
        path.write_text(json.dumps({**RECORD, "upscale_model_sha256": digest}))
        spec = read_replay_spec(path, {})
        job = spec.prepare(spec.request, prepare_jobs, lambda _: None)
        assert getattr(job.request, "hires_model", None) == "tiny-x2"
        if digest == "0" * 64:
            with pytest.raises(ModelUnavailableError, match="upscaler 'tiny-x2': its weights differ"):
                spec.check_job(job)
        else:
            spec.check_job(job)
