"""Test the text of control images, the table of control nets, and the search and the checks of nets."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors_files import zero_file

from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.registry.catalog import ASSETS_FOLDER
from artgen.registry.control_nets import ControlNet, check_kind, find_recorded_net, net_entries
from artgen.registry.control_nets.find import NetSearch, resolve_net
from artgen.registry.control_nets.fit import NET_CLASSES, mismatch_reason
from artgen.registry.control_nets.kinds import union_modes
from artgen.registry.control_nets.net_table import default_kinds
from artgen.registry.control_nets.single_file import CONFIGS, read_net_config
from artgen.registry.hub.names import HUB_ID_PATTERN
from artgen.registry.pipelines import pipeline_entries
from artgen.spec.control import (
    CONTROL_KINDS,
    ControlSpec,
    map_kind,
    normalize_control_list,
    parse_control,
    recorded_control,
    split_controls,
)

SD1 = {"cross_attention_dim": 768, "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2}
SDXL = {
    "cross_attention_dim": 2048, "block_out_channels": [320, 640, 1280], "layers_per_block": 2,
    "addition_embed_type": "text_time",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "spec", "canonical"),
    [
        ("canny=a.png", ControlSpec("canny", Path("a.png")), "canny=a.png"),
        (" Canny = a.png , scale=0.80", ControlSpec("canny", Path("a.png"), 0.8), "canny=a.png,scale=0.8"),
        ("depth=a,b.png,until=.6", ControlSpec("depth", Path("a,b.png"), end=0.6), "depth=a,b.png,until=0.6"),
        ("raw=C:\\m.png,from=0,until=1", ControlSpec("raw", Path("C:\\m.png")), "raw=C:\\m.png"),
        (
            "seg=x=y.png,model=o/n@main,from=.5",
            ControlSpec("seg", Path("x=y.png"), start=0.5, model="o/n@main"),
            "seg=x=y.png,from=0.5,model=o/n@main",
        ),
    ],
)
def test_text_is_parsed_and_written_in_canonical_form(text: str, spec: ControlSpec, canonical: str) -> None:
    assert (parse_control(text), str(spec), parse_control(canonical)) == (spec, canonical, spec)
    assert normalize_control_list([text, ""]) == (canonical,)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a.png", "must be KIND=IMAGE", "--control canny=a.png"),
        ("=a.png", "must be KIND=IMAGE", "--control canny=photo.png"),
        (" ", "must be KIND=IMAGE", "--control canny=photo.png"),
        ("cany=a.png", "must be one of canny, depth", "canny"),
        ("canny=", "needs an image file", "--control canny=photo.png"),
        ("canny=a.png,scale=x", "scale of control must be a number from 0 to 10, not 'x'", "scale=0.8"),
        ("canny=a.png,scale=11", "from 0 to 10", ""),
        ("canny=a.png,scale=nan", "from 0 to 10", ""),
        ("canny=a.png,until=60", "from 0 to 1, not '60'", "until=0.6?"),
        ("canny=a.png,from=0.6,until=0.6", "until must be greater than from", "until=0.6"),
        ("canny=a.png,from=1", "until must be greater than from", ""),
        ("canny=a.png,strength=1", "has the keys scale, from, until, model, not 'strength'", "Use scale=1."),
        ("canny=a.png,modle=x", "not 'modle'", "Use model=x."),
        ("canny=a.png,scale=1,scale=1", "is given twice", ""),
        ("canny=a.png,model=", "has no value", ""),
    ],
)
def test_invalid_text_is_refused_with_a_hint(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_control(text)
    assert message in raised.value.message
    assert hint in raised.value.hint


def test_texts_of_several_images_are_split_before_the_kinds() -> None:
    assert split_controls("canny=a,b.png,scale=1, depth=c.png") == ("canny=a,b.png,scale=1", "depth=c.png")
    assert map_kind(parse_control("raw=a.png,model=depth")) == "depth"
    assert map_kind(parse_control("raw=a.png,model=o/n")) == "raw"
    for model, recorded in {"/x/n.safetensors": "n.safetensors", "o/n": "o/n", "~/n": "n", "C:\\x\\n": "n"}.items():
        assert recorded_control(parse_control(f"canny=/p/a.png,model={model}")) == ControlSpec(
            "canny", Path("a.png"), model=recorded
        )


def test_entries_of_the_table_are_complete() -> None:
    architectures = {entry.architecture for entry in pipeline_entries().values() if entry.control}
    for name, entry in net_entries().items():
        assert entry.class_name in NET_CLASSES, name
        assert entry.architecture in architectures, name
        assert {*entry.kinds, *entry.default_for} <= set(CONTROL_KINDS) - {"raw"}, name
        assert set(entry.default_for) <= set(entry.kinds), name
        assert entry.license, name
        assert entry.download_size is None or entry.download_size > 1e8, name
        assert entry.fits, name
        assert not entry.modes or set(entry.modes) == set(entry.kinds), name
        if entry.bundled_folder is None:
            assert HUB_ID_PATTERN.fullmatch(entry.source), name
        else:
            assert entry.bundled_folder.is_relative_to(ASSETS_FOLDER), name


@pytest.mark.parametrize(
    ("architecture", "config", "kinds"),
    [
        ("sd1", SD1, {"canny", "depth", "pose", "lineart", "scribble", "seg", "tile", "gray"}),
        ("sd2", {"cross_attention_dim": 1024}, {"canny", "depth", "pose", "lineart", "scribble", "seg"}),
        ("sdxl", SDXL, {"canny", "depth", "pose", "lineart", "scribble", "seg", "tile"}),
        ("sd3", {"num_attention_heads": 24}, {"canny", "pose", "tile"}),
        ("sd3", {"num_attention_heads": 38}, {"canny", "depth"}),
        ("flux", {"num_attention_heads": 24}, {"canny", "depth", "pose", "gray", "tile"}),
        ("sd1", {"cross_attention_dim": 32}, set()),
    ],
)
def test_each_architecture_has_default_nets(architecture: str, config: dict[str, Any], kinds: set[str]) -> None:
    assert set(default_kinds(architecture, config)) == kinds


@pytest.mark.parametrize(
    ("class_name", "net_architecture", "net_config", "architecture", "config", "reason"),
    [
        ("ControlNetModel", "sd1", SD1, "sd1", SD1, ""),
        ("ControlNetModel", "sd1", {**SD1, "cross_attention_dim": [768] * 4}, "sd1", SD1, ""),
        ("ControlNetModel", "sdxl", SDXL, "sd1", SD1, "it is a net for Stable Diffusion XL"),
        ("ControlNetModel", "sd1", SD1, "flux", {}, "the model is Flux"),
        ("ControlNetModel", "", {**SD1, "layers_per_block": 1}, "sd1", SD1, "its layers_per_block is 1"),
        ("ControlNetUnionModel", "sdxl", SDXL, "sd1", SD1, "it is a net for Stable Diffusion XL"),
        ("T2IAdapter", "sdxl", {"channels": [320, 640, 1280, 1280]}, "sdxl", SDXL, ""),
        ("T2IAdapter", "sdxl", {"channels": [320, 640, 1280, 1280]}, "sd1", SD1, "it is an adapter for"),
        ("T2IAdapter", "sd1", {"channels": [8, 16]}, "sd1", SD1, "its channels is [8, 16]"),
        (
            "SD3ControlNetModel",
            "sd3",
            {"num_attention_heads": 24},
            "sd3",
            {"num_attention_heads": 38},
            "attention_heads",
        ),
        ("FluxControlNetModel", "flux", {"in_channels": 64}, "flux", {"in_channels": 64}, ""),
    ],
)
def test_net_of_another_architecture_or_size_does_not_fit(
    class_name: str,
    net_architecture: str,
    net_config: dict[str, Any],
    architecture: str,
    config: dict[str, Any],
    reason: str,
) -> None:
    found = mismatch_reason(
        ControlNet("n", Path("n"), class_name, net_architecture, config=net_config), architecture, config
    )
    assert (reason in found) if reason else not found


def test_kind_of_the_map_is_compared_with_the_kinds_of_the_net() -> None:
    canny = ControlNet("n", Path("n"), "ControlNetModel", "sd1", ("canny",))
    union = ControlNet("u", Path("u"), "ControlNetUnionModel", "sdxl", ("canny",), modes={"canny": 3})
    for net, text in ((canny, "canny=a.png"), (canny, "raw=a.png,model=n"), (union, "raw=a.png,model=canny")):
        check_kind(net, parse_control(text))
    check_kind(ControlNet("x", Path("x"), "ControlNetModel", "sd1"), parse_control("depth=a.png"))
    for net, text in ((canny, "depth=a.png,model=n"), (canny, "raw=a.png,model=depth"), (union, "raw=a.png,model=u")):
        with pytest.raises(ArtgenError, match=r"reads canny maps|must receive the kind"):
            check_kind(net, parse_control(text))
    assert "tile" not in union_modes("ControlNetUnionModel", {"num_control_type": 6})
    assert union_modes("ControlNetUnionModel", {"num_control_type": 8})["tile"] == 6
    assert union_modes("FluxControlNetModel", {"num_mode": 7})["gray"] == 5
    assert union_modes("FluxControlNetModel", {"num_mode": None}) == {}


@pytest.mark.parametrize("width", CONFIGS)
@pytest.mark.parametrize("prefix", ["control_model.", ""])
def test_configuration_of_a_single_file_follows_from_its_tensors(width: int, prefix: str, tmp_path: Path) -> None:
    names = (
        {"input_blocks.0.0.weight": (320, 4, 3, 3), "input_hint_block.0.weight": (16, 3, 3, 3)}
        if prefix
        else {"conv_in.weight": (320, 4, 3, 3), "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3)}
    )
    names |= {"x.attn2.to_k.weight": (320, width)}
    path = zero_file(tmp_path / "net.safetensors", {f"{prefix}{name}": shape for name, shape in names.items()})
    assert read_net_config(path) == ("ControlNetModel", dict(CONFIGS[width]))


def test_files_that_are_not_nets_are_refused_before_anything_loads(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    model: Any = SimpleNamespace(
        architecture="sd1", short_name="m", config_folder=tmp_path, pipeline_entry=pipeline_entries()["sd1"]
    )
    search = NetSearch(model, offline=True)
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(json.dumps(SD1))

    def resolve(name: str) -> ControlNet:
        return resolve_net(parse_control(f"canny=a.png,model={name}"), search)

    (folder / "x.bin").write_bytes(b"x")
    with pytest.raises(ModelUnavailableError, match=r"has no config\.json"):
        resolve(str(folder))
    (folder / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    with pytest.raises(ModelUnavailableError, match="its class is 'UNet2DConditionModel'"):
        resolve(str(folder))
    (folder / "config.json").write_text(json.dumps({"_class_name": "ControlNetModel", **SD1}))
    with pytest.raises(RefusedError, match="pickle"):
        resolve(str(folder))
    (tmp_path / "n.pth").write_bytes(b"x")
    with pytest.raises(RefusedError) as raised:
        resolve(str(tmp_path / "n.pth"))
    assert "artgen models convert" in raised.value.hint
    with pytest.raises(InputFileError, match="it is a LoRA"):
        resolve(str(zero_file(tmp_path / "l.safetensors", {"a.lora_A.weight": (2, 4), "a.lora_B.weight": (4, 2)})))
    with pytest.raises(ModelUnavailableError, match="network is disabled"):
        resolve("owner/net")
    with pytest.raises(ModelUnavailableError, match="Cannot find the control net 'cany-sd15'") as unknown:
        resolve("cany-sd15")
    assert "canny-sd15" in unknown.value.hint
    with pytest.raises(UsageError, match="reads depth maps"):
        resolve("depth-sd15")
    with pytest.raises(ModelUnavailableError, match="it is a net for Stable Diffusion XL"):
        resolve("canny-sdxl")
    with pytest.raises(UsageError, match="raw needs the net"):
        resolve_net(parse_control("raw=a.png"), search)


def test_recorded_local_net_is_found_only_by_its_hash(tmp_path: Path) -> None:
    file = zero_file(tmp_path / "net.safetensors", {"conv_in.weight": (2, 4, 3, 3)})
    from artgen.registry.hashes import compute_sha256

    digest = compute_sha256(file)
    assert find_recorded_net("/elsewhere/net.safetensors", digest, (tmp_path,)) == file
    assert find_recorded_net("net.safetensors", "0" * 64, (tmp_path,)) is None
    assert find_recorded_net("net.safetensors", "", (tmp_path,)) is None


def test_documentation_contains_the_current_table() -> None:
    docs = Path(__file__).parents[2] / "docs"
    loaded = runpy.run_path(str(docs / "generate_control_nets.py"))
    page = (docs / "control.md").read_text("utf-8")
    assert loaded["replaced"](page) == page
