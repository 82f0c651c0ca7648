"""Test that `replay` uses ControlNets and image prompts in the metadata of A1111 and ComfyUI.

The A1111 texts have the forms of sd-webui-controlnet, as public images contain them.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from artgen.errors import UsageError
from artgen.jobs.replay import read_replay_spec
from artgen.jobs.replay_nets import with_default_nets
from artgen.registry.control_nets import net_entries
from artgen.registry.image_prompts.adapter import adapter_entries
from artgen.registry.net_names import _table, known_adapter, known_net, module_kind
from tests.helpers.comfy_graphs import Out, Parts, start

HEAD = "a fox\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, "
REST = "Resize Mode: Crop and Resize, Processor Res: 512, Threshold A: 192.0, Threshold B: 255.0"
CANNY = (
    f'ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 0.8, {REST}, '
    'Guidance Start: 0.0, Guidance End: 0.6, Pixel Perfect: False, Control Mode: ControlNet is more important"'
)
POSE_MAP = 'ControlNet 1: "Module: none, Model: control_v11p_sd15_openpose [cab727d4], Weight: 1, Guidance End: 1"'
IP = (
    f'ControlNet 2: "Module: ip-adapter_clip_sd15, Model: ip-adapter_sd15_plus [32cd8f7f], Weight: 0.5, {REST}, '
    'Guidance Start: 0, Guidance End: 0.5"'
)
FORM_1_1 = (
    'ControlNet 0: "preprocessor: lineart_coarse, model: control_v11p_sd15_lineart [43d4be0d], weight: 0.6, '
    "starting/ending: (0.1, 0.8), resize mode: Crop and Resize, pixel perfect: True, control mode: Balanced, "
    'preprocessor params: (512, 32, 64)"'
)
FORM_1_0 = (
    "ControlNet-0 Enabled: True, ControlNet-0 Module: depth, ControlNet-0 Model: control_v11f1p_sd15_depth_fp16 "
    "[aa112233], ControlNet-0 Weight: 0.7, ControlNet-0 Guidance Start: 0.2, ControlNet-0 Guidance End: 1"
)
TILE = 'ControlNet 0: "Module: tile_resample, Model: control_v11f1e_sd15_tile, Weight: 0.6, Resize Mode: 1"'
REFERENCE = 'ControlNet: "preprocessor: reference_only, model: None, weight: 1, starting/ending: (0.25, 0.5)"'
SOFT_EDGE = 'ControlNet 1: "Module: softedge_pidinet, Model: control_v11p_sd15_softedge [a8575a2a], Weight: 1.0"'
DISABLED = (
    "ControlNet-0 Enabled: False, ControlNet-0 Module: canny, ControlNet-0 Model: control_v11p_sd15_canny [d14c016b]"
)


def replayed(text: str, changes: Mapping[str, Any] | None = None) -> tuple[Any, tuple[str, ...]]:
    Path("a.txt").write_text(HEAD + text, "utf-8")
    spec = read_replay_spec(Path("a.txt"), changes or {})
    return spec.request, spec.notes


@pytest.mark.parametrize(
    ("text", "changes", "control", "image_prompt"),
    [
        (CANNY, {"control": "e.png"}, ("canny=e.png,scale=0.8,until=0.6,model=canny-sd15",), ()),
        (POSE_MAP, {"control": "e.png"}, ("raw=e.png,model=pose-sd15",), ()),
        (FORM_1_1, {"control": "e.png"}, ("lineart=e.png,scale=0.6,from=0.1,until=0.8,model=lineart-sd15",), ()),
        (FORM_1_0, {"control": "e,f.png"}, ("depth=e,f.png,scale=0.7,from=0.2,model=depth-sd15",), ()),
        (TILE, {"control": "e.png"}, ("tile=e.png,scale=0.6,model=tile-sd15",), ()),
        (IP, {"image_prompt": "e.png"}, (), ("e.png:0.5,model=sd15-plus",)),
        (
            f"{CANNY}, {POSE_MAP}, {IP}",
            {"control": "e.png,p.png", "image_prompt": ["s.png"]},
            ("canny=e.png,scale=0.8,until=0.6,model=canny-sd15", "raw=p.png,model=pose-sd15"),
            ("s.png:0.5,model=sd15-plus",),
        ),
        # The input image is the control image of A1111, if no other image is set.
        (f"{TILE}, Denoising strength: 0.4", {"image": "e.png"}, ("tile=e.png,scale=0.6,model=tile-sd15",), ()),
        (f"{TILE}, {SOFT_EDGE}", {"image": "e.png"}, ("tile=e.png,scale=0.6,model=tile-sd15",), ()),
        (TILE, {"image": "e.png", "control": "f.png"}, ("tile=f.png,scale=0.6,model=tile-sd15",), ()),
        # A value with a kind or a scale replaces the recorded nets.
        (CANNY, {"control": "depth=e.png"}, ("depth=e.png",), ()),
        (IP, {"image_prompt": "e.png:1"}, (), ("e.png",)),
        (CANNY, {"control": ""}, (), ()),
        (CANNY, {}, (), ()),
        (DISABLED, {}, (), ()),
    ],
)
def test_nets_of_a1111_are_used_with_the_images_of_the_user(
    text: str, changes: dict[str, Any], control: tuple[str, ...], image_prompt: tuple[str, ...]
) -> None:
    Image.new("RGB", (64, 64)).save("e.png")
    request, _ = replayed(text, changes)
    assert (request.control, request.image_prompt) == (control, image_prompt)


@pytest.mark.parametrize(
    ("text", "changes", "parts"),
    [
        (CANNY, {}, ["add --set control=PATH."]),
        (f"{CANNY}, {POSE_MAP}", {}, ["'control_v11p_sd15_canny [d14c016b]' and ", "add --set control=PATH,PATH."]),
        (IP, {}, ["add --set image_prompt=PATH."]),
        (CANNY, {"control": "e.png"}, ["'ControlNet is more important' has no equivalent", "artgen's preprocessor"]),
        (IP, {"image_prompt": "e.png"}, ["in all steps, not from 0 to 0.5"]),
        (REFERENCE, {}, ["ControlNet 'reference_only': its net is neither"]),
        (f"{CANNY}, {SOFT_EDGE}", {"control": "e.png"}, ["=canny=e.png,scale=0.8,until=0.6,model=canny-sd15,raw=PATH"]),
        ('ControlNet 0: "Module: canny, Model: my_net [aabbccdd]"', {}, ["--set control=canny=PATH,scale=1."]),
        ('ControlNet 0: "Module: ip-adapter_face_id, Model: ip-adapter-faceid_sd15 [aa]"', {}, ["insightface"]),
        ('ControlNet 0: "Module: inpaint_only, Model: control_v11p_sd15_inpaint [ebff9138]"', {}, ["--set image=PATH"]),
    ],
)  # fmt: skip
def test_notes_state_what_is_missing(text: str, changes: dict[str, str], parts: list[str]) -> None:
    _, notes = replayed(text, changes)
    assert all(any(part in note for note in notes) for part in parts), notes
    assert not any("add --set control=KIND=PATH" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        (CANNY, {"control": ["a.png", "b.png"]}, "2 images, and the metadata has 1 ControlNet"),
        (SOFT_EDGE, {"control": "e.png"}, "Cannot use 'e.png' with the recorded ControlNet 'control_v11p_sd15_soft"),
        ("Clip skip: 1", {"control": "e.png"}, "control must be KIND=IMAGE"),
    ],
)
def test_unusable_images_are_refused(text: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replayed(text, changes)


def controls(name: str, *, union: str = "", preprocessor: str = "", image: str = "e.png") -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        graph = parts.graph
        net = graph.add("ControlNetLoader", control_net_name=name)
        if union:
            net = graph.add("SetUnionControlNetType", control_net=net, type=union)
        source = graph.add("ImageScale", image=graph.add("LoadImage", image=image), width=512, height=512)
        if preprocessor == "AIO_Preprocessor":
            source = graph.add(preprocessor, preprocessor="CannyEdgePreprocessor", image=source, resolution=512)
        elif preprocessor:
            source = graph.add(preprocessor, image=source)
        node = graph.add(
            "ControlNetApplyAdvanced", positive=parts.positive, negative=parts.negative, control_net=net, image=source,
            strength=0.8, start_percent=0.0, end_percent=0.6,
        )  # fmt: skip
        parts.positive, parts.negative = node, Out(node.node, 1)

    return change


def adapter(*, preset: str = "", file: str = "", **inputs: Any) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        graph = parts.graph
        if preset:
            loader = graph.add("IPAdapterUnifiedLoader", model=parts.model, preset=preset)
            links = {"model": loader, "ipadapter": Out(loader.node, 1)}
        else:
            links = {"model": parts.model, "ipadapter": graph.add("IPAdapterModelLoader", ipadapter_file=file)}
        image = graph.add("LoadImage", image="e.png")
        values = {"weight": 0.5, "weight_type": "linear", "start_at": 0.0, "end_at": 1.0} | inputs
        parts.model = graph.add("IPAdapterAdvanced", **links, image=image, **values)

    return change


def style(parts: Parts) -> None:
    graph = parts.graph
    vision = graph.add("CLIPVisionEncode", clip_vision=graph.add("CLIPVisionLoader", clip_name="v.safetensors"),
                       image=graph.add("LoadImage", image="e.png"), crop="center")  # fmt: skip
    model = graph.add("StyleModelLoader", style_model_name="flux1-redux-dev.safetensors")
    parts.positive = graph.add("StyleModelApply", conditioning=parts.positive, style_model=model,
                               clip_vision_output=vision, strength=1, strength_type="multiply")  # fmt: skip


UNION = "SDXL/controlnet-union-sdxl-1.0/diffusion_pytorch_model.safetensors"
FLUX_UNION = "FLUX.1\\InstantX-FLUX1-Dev-Union\\diffusion_pytorch_model.safetensors"
SCALE = "e.png,scale=0.8,until=0.6"


@pytest.mark.parametrize(
    ("change", "control", "image_prompt"),
    [
        (controls("control_v11p_sd15_canny_fp16.safetensors"), f"raw={SCALE},model=canny-sd15", None),
        (controls("control_v11p_sd15_canny.pth", preprocessor="Canny"), f"canny={SCALE},model=canny-sd15", None),
        (controls(UNION, union="canny/lineart/anime_lineart/mlsd", preprocessor="AIO_Preprocessor"),
         f"canny={SCALE},model=union-sdxl", None),
        (controls(UNION, union="openpose"), f"raw={SCALE},model=pose", None),
        (controls(FLUX_UNION, union="depth", preprocessor="DepthAnythingV2Preprocessor"),
         f"depth={SCALE},model=union-flux-alpha", None),
        (adapter(preset="PLUS (high strength)"), None, "e.png:0.5,model=plus"),
        (adapter(preset="STANDARD (medium strength)"), None, "e.png:0.5"),
        (adapter(file="ip-adapter-plus-face_sdxl_vit-h.safetensors"), None, "e.png:0.5,model=sdxl-plus-face"),
        (style, None, "e.png,model=flux-redux"),
        (controls("nobody_knows.safetensors"), None, None),
        (controls("control_v11p_sd15_canny.pth", image="../../etc/e.txt"), None, None),
        (adapter(preset="FACEID PLUS V2"), None, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("folder", ["output", "input"])
def test_graphs_of_comfyui_are_replayed_without_further_input(
    change: Callable[[Parts], None], control: str | None, image_prompt: str | None, folder: str
) -> None:
    parts = start()
    change(parts)
    Path("output").mkdir()
    Path("input").mkdir()
    image = Path(folder, "e.png")
    image.touch()
    Path("output/graph.json").write_text(json.dumps(parts.finish().api()), "utf-8")
    spec = read_replay_spec(Path("output/graph.json"), {})
    request: Any = spec.request
    texts = [text.replace("e.png", str(image)) if text else None for text in (control, image_prompt)]
    assert request.control == ((texts[0],) if control else ())
    assert request.image_prompt == ((texts[1],) if image_prompt else ())
    assert (control or image_prompt) or any("Not used: " in note for note in spec.notes)


def test_local_nets_are_found_by_hash_and_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_MODEL_FOLDERS", "webui")
    folder = Path("webui/models/ControlNet")
    folder.mkdir(parents=True)
    content = bytes(0x100000) + b"weights" * 20_000
    digest = hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]
    (folder / "renamed.safetensors").write_bytes(content)
    (folder / "my_net.safetensors").write_bytes(b"other")
    (folder / "pickle.pth").write_bytes(content)
    for model, expected in (
        (f"my_canny [{digest}]", "canny=e.png,model=webui/models/ControlNet/renamed.safetensors"),
        ("my_net [00000000]", "canny=e.png,model=webui/models/ControlNet/my_net.safetensors"),
        (f"control_v11p_sd15_canny [{digest}]", "canny=e.png,model=webui/models/ControlNet/renamed.safetensors"),
        ("control_v11p_sd15_canny [00000000]", "canny=e.png,model=canny-sd15"),
    ):
        request, _ = replayed(f'ControlNet 0: "Module: canny, Model: {model}"', {"control": "e.png"})
        assert request.control == (expected,)


def test_table_has_existing_entries() -> None:
    table = _table()
    assert set(table["control"].values()) <= net_entries().keys()
    assert set(table["image_prompt"].values()) <= adapter_entries().keys()
    assert all(known_net(f"{name}.pth") is not None for name in table["control"])
    for name, entry in adapter_entries().items():
        assert known_adapter(Path(entry.file).name) == name or name == "flux-redux"
    assert known_net("control_v11p_sd21_canny.safetensors") == net_entries()["canny-sd21"]
    assert known_net("controlnet-canny-sdxl-1.0.safetensors") is None  # several nets have this name
    modules = {"depth_leres++": "depth", "dw_openpose_full": "pose", "invert (from white bg & black line)": "lineart",
               "seg_ofade20k": "seg", "softedge_hed": "", "t2ia_sketch_pidi": "scribble",
               "normal_midas": "", "MiDaS-NormalMapPreprocessor": "", "Zoe-DepthMapPreprocessor": "depth",
               "DWPreprocessor": "pose", "control_sd15_seg": "seg", "segment": "seg"}  # fmt: skip
    assert {name: module_kind(name) for name in modules} == modules


def test_nets_for_other_models_are_replaced_by_the_default_nets() -> None:
    texts = ("canny=e.png,scale=0.5,model=canny-sd15", "raw=m.png,model=pose-sd15", "raw=m.png,model=net.safetensors")
    assert with_default_nets("control", texts) == ("canny=e.png,scale=0.5", "raw=m.png,model=pose")
    assert with_default_nets("image_prompt", ("e.png:0.5,model=sd15",)) == ("e.png:0.5",)
