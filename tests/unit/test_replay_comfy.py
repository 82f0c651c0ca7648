"""Test that `replay` uses the settings of ComfyUI graphs, and prints a note about everything else."""

import json
from pathlib import Path
from typing import Any

import pytest

from artgen.errors import UsageError
from artgen.events import Notice
from artgen.jobs.job import Job
from artgen.jobs.replay import read_replay_spec
from tests.helpers.comfy_graphs import Out, Parts, Pipeline, start


def write(folder: Path, graph: Pipeline) -> Path:
    path = folder / "graph.json"
    path.write_text(json.dumps(graph.api()), "utf-8")
    return path


def test_settings_of_a_graph_are_used(tmp_path: Path) -> None:
    request: Any = read_replay_spec(write(tmp_path, start().finish()), {}).request
    assert (request.prompt, request.negative_prompt) == ("a red fox", "blurry")
    assert (request.seed, request.steps, request.guidance_scale) == (42, 25, 6.5)
    assert (request.scheduler, request.sigmas, request.width, request.height) == ("euler", "karras", 512, 768)
    assert request.prompt_weights == "comfy"


def patch_model(kind: str, **inputs: Any) -> Any:
    def change(parts: Parts) -> None:
        parts.model = parts.graph.add(kind, model=parts.model, **inputs)

    return change


def merge(parts: Parts) -> None:
    parts.model = parts.graph.add("ModelMergeSimple", model1=parts.model, model2=parts.graph.loader(), ratio=0.5)


def control(parts: Parts) -> None:
    net = parts.graph.add("ControlNetLoader", control_net_name="canny.safetensors")
    parts.positive = parts.graph.add("ControlNetApply", conditioning=parts.positive, control_net=net, strength=0.5)


def second_pass(parts: Parts) -> None:
    first = parts.graph.sampler(parts.model, parts.positive, parts.negative, parts.latent)
    parts.latent = parts.graph.add("LatentUpscale", samples=first, width=1024, height=1100)


def area(parts: Parts) -> None:
    parts.positive = parts.graph.add("ConditioningSetArea", conditioning=parts.positive, width=64, height=64)


FEATURES = [
    (patch_model("HypernetworkLoader", hypernetwork_name="h.pt"), "hypernetwork"),
    (patch_model("IPAdapterApply", weight=0.5), "IP-Adapter"),
    (patch_model("PerturbedAttentionGuidance", scale=3.0), "pag_scale"),
    (patch_model("FreeU_V2", b1=1.1), "FreeU_V2"),
    (patch_model("LoraLoaderModelOnly", lora_name="a.safetensors", strength_model=0.5), "a.safetensors:0.5"),
    (merge, "model merge"),
    (control, "ControlNet"),
    (second_pass, "several passes"),
    (area, "regional prompts"),
]


@pytest.mark.parametrize(("change", "name"), FEATURES)
def test_features_give_a_note(change: Any, name: str, tmp_path: Path) -> None:
    parts = start()
    change(parts)
    notes = read_replay_spec(write(tmp_path, parts.finish()), {}).notes
    assert any(name in note for note in notes)


@pytest.mark.parametrize("has_mask", [False, True])
@pytest.mark.parametrize("denoise", [0.4, 1.0])
def test_graphs_with_an_input_image_are_not_replayed_as_txt2img_without_a_note(
    has_mask: bool, denoise: float, tmp_path: Path
) -> None:
    parts = start()
    image = parts.graph.add("LoadImage", image="photo.png")
    parts.latent = parts.graph.add("VAEEncode", pixels=image, vae=parts.vae)
    if has_mask:
        parts.latent = parts.graph.add("SetLatentNoiseMask", samples=parts.latent, mask=Out(image.node, 1))
    path = write(tmp_path, parts.finish(denoise=denoise))
    notes = read_replay_spec(path, {}).notes
    assert any("input image" in note and f"strength {denoise}" in note for note in notes)


@pytest.mark.parametrize(("sampler", "expected"), [("euler", "flow-euler"), ("heun", "flow-heun"), ("dpmpp_2m", None)])
def test_schedulers_are_replaced_for_flow_matching_models(sampler: str, expected: str | None, tmp_path: Path) -> None:
    spec = read_replay_spec(write(tmp_path, start().finish(sampler_name=sampler)), {})

    def prepare(requests: Any) -> list[Job]:
        if requests[0].scheduler not in (None, "flow-euler", "flow-heun"):
            raise UsageError("The scheduler does not support the model.", settings=("scheduler",))
        raise StopIteration(requests[0].scheduler)

    notices: list[Any] = []
    with pytest.raises(StopIteration) as caught:
        spec.prepare(spec.request, prepare, notices.append)  # type: ignore[arg-type]
    assert caught.value.value == expected
    assert isinstance(notices[0], Notice)
    assert "scheduler" in notices[0].text
