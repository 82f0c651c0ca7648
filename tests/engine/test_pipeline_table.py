"""Test the table of pipelines against the classes of diffusers."""

import ast
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

import diffusers
import pytest

from artgen.registry import pipelines
from artgen.registry.pipeline_entry import PipelineEntry

PIPELINES_FOLDER = Path(diffusers.__file__).parent / "pipelines"
ENTRIES = {
    name: entry
    for name, entry in pipelines.pipeline_entries().items()
    if all(importlib.util.find_spec(package) for package in entry.packages)
}
NAMES = sorted(
    name
    for name in sys.modules["diffusers"]._import_structure["pipelines"]
    if name.endswith("Pipeline") and not name.startswith(("AutoPipeline", "DiffusionPipeline"))
)

BROKEN_RESCALE = ("StableDiffusionPAGInpaintPipeline",)
"""Classes that take `guidance_rescale` and raise UnboundLocalError with it."""


def arguments(class_name: str) -> dict[str, Any]:
    """Return the parameters of a pipeline call, with the keyword arguments that older classes accept."""
    return dict(inspect.signature(getattr(diffusers, class_name).__call__).parameters)


@pytest.mark.parametrize("class_name", NAMES)
def test_each_pipeline_class_of_diffusers_has_an_entry_or_a_reason(class_name: str) -> None:
    if pipelines.find_entry(class_name) is None:
        assert "table of image pipelines" not in pipelines.refusal_reason(class_name)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_the_class_of_each_task_takes_the_arguments_of_the_entry(entry: PipelineEntry) -> None:
    for task, class_name in entry.tasks.items():
        taken = arguments(class_name)
        assert "num_inference_steps" in taken, class_name
        if entry.guidance != "none":
            components = inspect.signature(getattr(diffusers, class_name).__init__).parameters
            assert entry.guidance_argument in taken.keys() | {"guider"} & components.keys(), class_name
        if task != "sample":
            assert "prompt" in taken, class_name
            assert ("negative_prompt" in taken) or entry.negative_prompt == "none", class_name
            assert ("true_cfg_scale" in taken) or entry.negative_prompt != "true-cfg", class_name
        if task in ("img2img", "inpaint", "outpaint"):
            assert "image" in taken, class_name
            assert ("strength" in taken) == (task not in entry.no_strength), class_name
        if task in ("inpaint", "outpaint"):
            assert "mask_image" in taken, class_name
        if entry.guidance == "classifier-free" and class_name not in BROKEN_RESCALE:
            assert ("guidance_rescale" in taken) == (task in entry.guidance_rescale), class_name
    called = {name for class_name in entry.tasks.values() for name in arguments(class_name)}
    assert entry.arguments.keys() <= called


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_the_pag_class_of_each_task_takes_the_components_and_arguments_of_the_task(entry: PipelineEntry) -> None:
    assert (entry.default_pag_scale > 0) == any("PAG" in name for name in entry.tasks.values())
    for task, class_name in entry.pag.items():
        taken, usual = arguments(class_name), arguments(entry.tasks[task])
        assert "pag_scale" in taken, class_name
        assert ("guidance_rescale" in taken) or task not in entry.guidance_rescale, class_name
        assert {
            name for name in usual if name in ("image", "mask_image", "strength", "negative_prompt")
        } <= taken.keys()
        components = inspect.signature(getattr(diffusers, class_name).__init__).parameters
        assert "pag_applied_layers" in components
        usual_components = inspect.signature(getattr(diffusers, entry.tasks[task]).__init__).parameters
        required = {name for name, value in components.items() if value.default is inspect.Parameter.empty}
        assert required <= usual_components.keys()


def test_the_pag_classes_are_those_of_diffusers() -> None:
    from diffusers.pipelines import auto_pipeline

    tables = {
        "txt2img": auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
        "img2img": auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
        "inpaint": auto_pipeline.AUTO_INPAINT_PIPELINES_MAPPING,
    }
    for task, table in tables.items():
        of_artgen = {entry.pag[task] for entry in pipelines.pipeline_entries().values() if task in entry.pag}
        of_diffusers = {cls.__name__ for cls in table.values() if "PAG" in cls.__name__}
        # diffusers lists Kolors only if sentencepiece is installed.
        assert of_artgen - {"KolorsPAGPipeline"} == {
            name for name in of_diffusers if "ControlNet" not in name and "Kolors" not in name
        }


@pytest.mark.parametrize("key", ["control", "control_union", "control_pag", "adapter"])
def test_control_classes_take_the_components_and_arguments_of_the_task(key: str) -> None:
    for entry in pipelines.pipeline_entries().values():
        for task, class_name in getattr(entry, key).items():
            components = inspect.signature(getattr(diffusers, class_name).__init__).parameters
            assert ("adapter" if key == "adapter" else "controlnet") in components, class_name
            usual_components = inspect.signature(getattr(diffusers, entry.tasks[task]).__init__).parameters
            required = {name for name, value in components.items() if value.default is inspect.Parameter.empty}
            assert required <= {*usual_components, "controlnet", "adapter"}, class_name
            taken, usual = arguments(class_name), arguments(entry.tasks[task])
            assert {name for name in usual if name in ("image", "mask_image", "strength")} <= taken.keys()
            if key in ("control", "control_union"):
                assert ("guess_mode" in taken) == (task in entry.control_guess), class_name
                assert ("guidance_rescale" in taken) == (task in entry.control_rescale), class_name
                assert {
                    "control_guidance_start",
                    "control_guidance_end",
                    "controlnet_conditioning_scale",
                } <= taken.keys()


def test_the_control_classes_are_those_of_diffusers() -> None:
    from diffusers.pipelines import auto_pipeline

    tables = {
        "txt2img": auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
        "img2img": auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
        "inpaint": auto_pipeline.AUTO_INPAINT_PIPELINES_MAPPING,
    }
    entries = [pipelines.pipeline_entries()[name] for name in ("sd1", "sdxl", "sd3", "flux")]
    # Qwen-Image and Z-Image have other nets; the inpaint pipeline of SD 3 takes an inpaint net, and no control map.
    others = {"QwenImage", "ZImage", "StableDiffusion3ControlNetInpainting"}
    for task, table in tables.items():
        tasks = [
            each.get(task) for entry in entries for each in (entry.control, entry.control_union, entry.control_pag)
        ]
        of_diffusers = {cls.__name__ for cls in table.values() if "ControlNet" in cls.__name__}
        assert set(filter(None, tasks)) == {
            name for name in of_diffusers if not any(name.startswith(other) for other in others)
        }


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_the_class_of_each_task_can_be_built_from_the_components_of_the_others(entry: PipelineEntry) -> None:
    signatures = [inspect.signature(getattr(diffusers, name).__init__).parameters for name in entry.tasks.values()]
    for parameters in signatures:
        assert entry.denoiser in parameters
        assert entry.vae is None or entry.vae in parameters
        assert all(encoder.component in parameters for encoder in entry.encoders)
        required = {name for name, value in parameters.items() if value.default is inspect.Parameter.empty}
        assert all(required - {"self"} <= others.keys() for others in signatures)


def test_auto_pipelines_have_no_task_that_the_table_lacks() -> None:
    from diffusers.pipelines import auto_pipeline

    tables = {
        "txt2img": auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
        "img2img": auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
        "inpaint": auto_pipeline.AUTO_INPAINT_PIPELINES_MAPPING,
    }
    for task, table in tables.items():
        for cls in table.values():
            entry = pipelines.find_entry(cls.__name__)
            assert entry is None or entry.tasks.get(task) or task in entry.refused_tasks, cls.__name__


def test_no_module_tests_for_a_list_of_architectures() -> None:
    """The table is the only place with facts of pipelines. Single files are recognized by their tensors."""
    for path in Path(pipelines.__file__).parents[1].rglob("*.py"):
        if path.name.startswith(("single_file", "sampling_facts")):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.In | ast.NotIn):
                continue
            values = getattr(node.comparators[0], "elts", [])
            texts = {value.value for value in values if isinstance(value, ast.Constant)}
            assert not ({"sd1", "sdxl"} <= texts and "architecture" in ast.dump(node.left)), f"{path}:{node.lineno}"


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_token_limits_are_those_of_the_pipelines(entry: PipelineEntry) -> None:
    for class_name in entry.tasks.values():
        default = arguments(class_name).get("max_sequence_length")
        limits = [encoder.max_tokens for encoder in entry.encoders if encoder.kind in ("t5", "llm")]
        if default is not None and isinstance(default.default, int) and class_name != "ChromaInpaintPipeline":
            assert max(filter(None, limits)) == default.default, class_name
