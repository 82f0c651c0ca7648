"""Test that LoRAs are found, described and compared with the model, without torch."""

from pathlib import Path
from typing import Any

import pytest
from command_line import run
from hypothesis import given
from hypothesis import strategies as st
from original_layout import unet_name
from safetensors.numpy import load_file, save_file
from safetensors_files import Shapes, zero_file

from artgen import Denoise, Txt2Img, registry
from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.jobs.prepare import prepare_jobs
from artgen.registry import lora as lora_files
from artgen.registry.lora.peft_config import PEFT_METADATA_KEY, read_peft_config
from artgen.registry.lora_layers.keys import LayerKey, from_ldm_key, kohya_key, parse_tensor_key
from artgen.spec.lora import LoraSpec, parse_lora

SD1_KEY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
XL_KEY = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"


def kohya(key: str, width: int, out: int = 320, rank: int = 4) -> Shapes:
    return {f"{key}.lora_down.weight": (rank, width), f"{key}.lora_up.weight": (out, rank), f"{key}.alpha": ()}


@pytest.mark.parametrize(
    ("text", "name", "scales"),
    [
        ("style.safetensors:0.8:0.5", "style.safetensors", (0.8, 0.5)),
        ("style:0.8:0.5", "style", (0.8, 0.5)),
        ("style:0.8:0.8", "style", 0.8),
        (r"C:\loras\style.safetensors:1:0", r"C:\loras\style.safetensors", (1.0, 0.0)),
        ("style.safetensors", "style.safetensors", 1.0),
        ("style.safetensors:0.8", "style.safetensors", 0.8),
        ("style:-1", "style", -1.0),
        ("style: .5 ", "style", 0.5),
        (r"C:\loras\style.safetensors", r"C:\loras\style.safetensors", 1.0),
        (r"C:\loras\style.safetensors:1e-1", r"C:\loras\style.safetensors", 0.1),
        ("a:b/c:d.safetensors:2", "a:b/c:d.safetensors", 2.0),
    ],
)
def test_paths_can_contain_colons(text: str, name: str, scales: float | tuple[float, float]) -> None:
    assert parse_lora(text) == LoraSpec(name, *(scales if isinstance(scales, tuple) else (scales,)))


NAMES = st.text(min_size=1) | st.lists(
    st.sampled_from(["a", "1", ".5", ".safetensors", ":", "/", "b c"]), min_size=1
).map("".join)  # fmt: skip


@given(NAMES.filter(str.strip), st.floats(-10, 10), st.none() | st.floats(-10, 10))
def test_parsing_inverts_formatting(name: str, scale: float, text_scale: float | None) -> None:
    expected = LoraSpec(name, scale, None if text_scale == scale else text_scale)
    assert parse_lora(str(LoraSpec(name, scale, text_scale))) == expected


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (["x.safetensors:strong"], "number from -10 to 10, not 'strong'"),
        (["x.safetensors:1:strong"], "number from -10 to 10, not 'strong'"),
        (["x.safetensors:strong:1"], "number from -10 to 10, not 'strong'"),
        (["x.safetensors:1:11"], "number from -10 to 10, not 11"),
        (["x:11"], "not 11"),
        (["x:nan"], "not nan"),
        (["x:-inf"], "not -inf"),
        ([":1"], "PATH"),
        ([3], "must be text, not 3"),
        (3, "must be a list, not 3"),
        (["a\0"], "NUL"),
    ],
)
def test_the_setting_rejects_invalid_values(lora: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Txt2Img(prompt="x", lora=lora)


def test_the_setting_accepts_text_paths_and_lists() -> None:
    assert Txt2Img(lora="x.safetensors:0.5").lora == ("x.safetensors:0.5",)
    assert Txt2Img(lora=Path("x.safetensors")).lora == ("x.safetensors",)
    assert Txt2Img(lora=["x", ""]).loras == (LoraSpec("x"),)


@pytest.mark.parametrize("method", ["pixel", "tv", "nlm"])
def test_methods_without_stable_diffusion_reject_loras(method: str) -> None:
    with pytest.raises(UsageError, match="does not support lora"):
        Denoise(image=Path("x.png"), method=method, lora=("x",))


@pytest.mark.parametrize(
    ("key", "layer", "factor", "file_format"),
    [
        ("unet.mid_block.attentions.0.proj_in.lora_A.weight", "mid_block_attentions_0_proj_in", "down", "diffusers"),
        ("unet.a.attn1.processor.to_out_lora.up.weight", "a_attn1_to_out_0", "up", "diffusers"),
        ("unet.a.attn1.to_q.lora.down.weight", "a_attn1_to_q", "down", "diffusers"),
        ("transformer.layers.0.attn.to_q.lora_B.weight", "layers_0_attn_to_q", "up", "diffusers"),
        ("transformer_blocks.0.attn.to_q.lora_A.default.weight", "transformer_blocks_0_attn_to_q", "down", "peft"),
        ("down_blocks.0.to_q.lora_A.weight", "down_blocks_0_to_q", "down", "peft"),
        ("base_model.model.double_blocks.0.img_mod.lin.lora_B.weight", "double_blocks_0_img_mod_lin", "up", "peft"),
        ("unet.a.to_q.lora_magnitude_vector", "a_to_q", "magnitude", "diffusers"),
        ("unet.a.to_q.lora_magnitude_vector.default.weight", "a_to_q", "magnitude", "diffusers"),
        ("lora_unet_a_to_q.dora_scale", "a_to_q", "dora_scale", "kohya"),
        ("lora_unet_a_to_q.lora_mid.weight", "a_to_q", "mid", "kohya"),
        ("lora_unet_a_to_q.alpha", "a_to_q", "alpha", "kohya"),
        ("lycoris_a_to_q.lokr_w2_a", "a_to_q", "lokr_w2_a", "lycoris"),
        ("lora_unet_a_to_q.hada_t1", "a_to_q", "hada_t1", "kohya"),
        ("lora_transformer_a_to_q.lora_down.weight", "a_to_q", "down", "onetrainer"),
        ("diffusion_model.layers.0.attention.to_q.lora_A.weight", "layers_0_attention_to_q", "down", "comfyui"),
        ("double_blocks.3.processor.qkv_lora1.down.weight", "double_blocks_3_qkv1", "down", "xlabs"),
        ("double_blocks.3.processor.proj_lora2.up.weight", "double_blocks_3_proj2", "up", "xlabs"),
        ("single_blocks.3.processor.qkv_lora.up.weight", "single_blocks_3_qkv", "up", "xlabs"),
    ],
)  # fmt: skip
def test_all_formats_of_a_tensor_name_are_parsed(key: str, layer: str, factor: str, file_format: str) -> None:
    assert parse_tensor_key(key) == (LayerKey("denoiser", layer), factor, file_format)


@pytest.mark.parametrize(
    ("key", "layer"),
    [
        ("text_encoder.text_model.encoder.layers.0.self_attn.to_out_lora.down.weight",
         ("text_encoder", "encoder_layers_0_self_attn_out_proj")),
        ("text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_linear_layer.down.weight",
         ("text_encoder", "encoder_layers_0_mlp_fc1")),
        ("lora_te2_text_model_encoder_layers_1_mlp_fc2.lora_down.weight",
         ("text_encoder_2", "encoder_layers_1_mlp_fc2")),
        ("text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.lora_down.weight",
         ("text_encoder", "encoder_layers_0_mlp_fc1")),
    ],
)  # fmt: skip
def test_all_formats_of_text_encoder_tensors_are_parsed(key: str, layer: tuple[str, str]) -> None:
    found = parse_tensor_key(key)
    assert found is not None
    assert (found.layer, found.factor) == (LayerKey(*layer), "down")


@pytest.mark.parametrize("key", ["unet.a.weight", "model.diffusion_model.out.2.weight", "bundle_emb.word"])
def test_other_tensor_names_are_not_parsed(key: str) -> None:
    assert parse_tensor_key(key) is None


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_original_layer_names_convert_to_diffusers_names(models: dict[str, Path], kind: str) -> None:
    unet = load_file(models[kind] / "unet" / "diffusion_pytorch_model.safetensors")
    layers = {name.removesuffix(".weight") for name, values in unet.items() if values.ndim in (2, 4)}
    layers = {name for name in layers if not name.startswith("add_embedding")}  # unet_name does not support them
    assert len(layers) > 50
    for name in layers:
        original = kohya_key(unet_name(f"{name}.weight", unet).removesuffix(".weight"))
        assert from_ldm_key(original, 1) == kohya_key(name), name


def test_the_tensor_hash_does_not_depend_on_metadata() -> None:
    path = zero_file(Path("style.safetensors"), kohya(SD1_KEY, 768))
    before = lora_files.read_lora(path)
    save_file(load_file(path), path, {"ss_output_name": "another name"})
    after = lora_files.read_lora(path)
    assert (before.autov3, before.sha256 == after.sha256) == (after.autov3, False)
    assert lora_files.read_lora(path) is after, "an unchanged file was read again"


@pytest.mark.parametrize(
    ("shapes", "metadata", "architecture"),
    [
        (kohya(SD1_KEY, 768), {}, "sd1"),
        (kohya(XL_KEY, 2048), {}, "sdxl"),
        (kohya("lora_unet_mid_block_attentions_0_proj_in", 64), {"ss_base_model_version": "sd_v2"}, "sd2"),
        (kohya("lora_unet_mid_block_attentions_0_proj_in", 64), {"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
        (kohya("lora_unet_mid_block_attentions_0_proj_in", 64),
         {"modelspec.architecture": "stable-diffusion-v1/lora"}, "sd1"),
        (kohya("lora_unet_mid_block_attentions_0_proj_in", 64), {}, "other"),
    ],
)  # fmt: skip
def test_the_architecture_comes_from_shapes_then_from_metadata(
    shapes: Shapes, metadata: dict[str, str], architecture: str
) -> None:
    path = zero_file(Path("style.safetensors"), shapes, metadata)
    assert lora_files.read_lora(path).architecture == architecture
    shown = run("info", str(path)).stdout
    assert f"architecture: {architecture}\n" in shown
    for name, value in metadata.items():
        assert f"metadata.{name}: {value}" in shown


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"lora_unet_a.oft_blocks": (4, 4, 4)}, "is an OFT"),
        ({"unet.a.to_q.oft_R": (4, 4)}, "is an OFT"),
        ({"unet.a.to_q.boft_R": (4, 4)}, "is an OFT"),
        ({**kohya(SD1_KEY, 768), f"{SD1_KEY}.diff_b": (320,)}, "is a difference of complete weights"),
        ({"lora_unet_a.a1.weight": (4, 4)}, "is a GLoRA"),
        ({"lora_unet_a.weight": (4,), "lora_unet_a.on_input": ()}, "is an IA3"),
        ({"unet.a.lora_A.weight": (4, 8), "unet.a.lora_B.weight": (8, 4), "unet.a.lora_B.bias": (8,)}, "biases"),
        ({"lora_te3_a.lora_down.weight": (4, 4)}, "T5"),
        (
            {
                "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight": (4, 8),
                "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q.lora_B.weight": (8, 4),
            },
            "T5",
        ),
        (
            {
                "double_blocks.0.img_attn.norm.query_norm.scale": (128,),
                "img_in.lora_A.weight": (4, 8),
                "img_in.lora_B.weight": (8, 4),
            },
            "is a control LoRA for Flux",
        ),
        ({"emb_params": (2, 768)}, "is not a LoRA: it is a textual-inversion embedding"),
        ({"weight": (4, 4)}, "is not a LoRA: it contains unknown layers"),
        ({"encoder.conv_in.weight": (4, 4), "decoder.conv_in.weight": (4, 4)}, "is not a LoRA: it is a VAE"),
        ({**kohya(SD1_KEY, 768), "surprise": (4, 4)}, r"are not of a LoRA: surprise\."),
        ({f"{SD1_KEY}.lora_down.weight": (4, 768)}, "matrices of"),
        ({f"{SD1_KEY}.lora_down.weight": (4, 768), f"{SD1_KEY}.lora_up.weight": (320, 8)}, "matrices of"),
    ],
)
def test_unsupported_files_are_rejected(shapes: Shapes, message: str) -> None:
    with pytest.raises(InputFileError, match=message) as caught:
        lora_files.read_lora(zero_file(Path("style.safetensors"), shapes))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("shapes", "model", "message"),
    [
        (kohya(XL_KEY, 2048), "tiny", "it is a LoRA for Stable Diffusion XL, and 'tiny' is Stable Diffusion 1"),
        (kohya(SD1_KEY, 1024), "tiny", "'style.safetensors': it is a LoRA for Stable Diffusion 2, and 'tiny' is"),
        ({"transformer.transformer_blocks.0.attn.add_q_proj.lora_A.weight": (4, 8),
          "transformer.transformer_blocks.0.attn.add_q_proj.lora_B.weight": (8, 4)}, "tiny",
         "it is a LoRA for Flux.1, and 'tiny' is Stable Diffusion 1"),
        (kohya(SD1_KEY, 768), "tiny", "tiny': the shape of denoiser down_blocks_0_attentions_0_transformer"),
        (kohya("lora_unet_nowhere", 8), "tiny", "it changes the layer nowhere of the denoiser, which the model"),
        (kohya("lora_te2_text_model_encoder_layers_0_mlp_fc1", 8), "tiny", "LoRA for Stable Diffusion XL"),
        (kohya("lora_unet_mid_block_attentions_0_proj_in", 8), "sd3", "which the model does not have"),
        (kohya(SD1_KEY, 768), "sdxl", "LoRA for Stable Diffusion 1, and 'sdxl' is Stable Diffusion XL"),
        (kohya("lora_unet_nowhere", 8), "denoiser", "Cannot use a LoRA with 'denoiser'"),
    ],
)  # fmt: skip
def test_incompatible_loras_are_rejected_in_one_sentence(
    models: dict[str, Path], shapes: Shapes, model: str, message: str
) -> None:
    path = zero_file(Path("style.safetensors"), shapes)
    found = registry.resolve_model(str(models.get(model, model)))
    with pytest.raises(ModelUnavailableError) as caught:
        lora_files.check_compatible(lora_files.read_lora(path), found)
    assert message in caught.value.message
    assert caught.value.message.count(". ") == 0
    assert caught.value.hint


def test_loras_are_compared_with_single_checkpoints_of_real_sizes() -> None:
    """Use a sparse SD 1.5 checkpoint in the original layout with the layers that the LoRAs change."""
    unet = "model.diffusion_model."
    sd1 = {
        f"{unet}input_blocks.0.0.weight": (320, 4, 3, 3),
        f"{unet}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
        f"{unet}input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
        f"{unet}input_blocks.3.0.op.weight": (320, 320, 3, 3),
        "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
        "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
    }
    model = registry.resolve_model(str(zero_file(Path("sd15.safetensors"), sd1)))
    compatible = {**kohya(SD1_KEY, 768), **kohya("lora_te_text_model_encoder_layers_11_mlp_fc1", 768, 3072)}
    lora_files.check_compatible(lora_files.read_lora(zero_file(Path("compatible.safetensors"), compatible)), model)
    with pytest.raises(ModelUnavailableError, match="640x768 instead of 320x768"):
        lora_files.check_compatible(
            lora_files.read_lora(zero_file(Path("incompatible.safetensors"), kohya(SD1_KEY, 768, 640))),
            model,
        )
    with pytest.raises(ModelUnavailableError, match="LoRA for Stable Diffusion XL"):
        lora_files.check_compatible(lora_files.read_lora(zero_file(Path("xl.safetensors"), kohya(XL_KEY, 2048))), model)


def test_names_are_found_in_the_lora_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("loras")
    (folder / "deep").mkdir(parents=True)
    for name in ("style", "deep/other", "deep/style"):
        zero_file(folder / f"{name}.safetensors", kohya(SD1_KEY, 768))
    with pytest.raises(InputFileError, match="Cannot find the LoRA 'style'") as caught:
        lora_files.find_lora("style")
    assert "lora_folder" in caught.value.hint
    run("config", "set", "lora_folder", str(folder))
    assert lora_files.find_lora("style") == folder / "style.safetensors"
    assert lora_files.find_lora("Other.safetensors") == folder / "deep" / "other.safetensors"
    with pytest.raises(InputFileError) as caught:
        lora_files.find_lora("styel")
    assert caught.value.hint == "Did you mean style?"
    (folder / "wide").mkdir()
    zero_file(folder / "wide" / "other.safetensors", kohya(SD1_KEY, 768))
    with pytest.raises(InputFileError, match="Several") as caught:
        lora_files.find_lora("other")
    zero_file(Path("style.safetensors"), kohya(SD1_KEY, 768))
    assert lora_files.find_lora("style") == Path("style.safetensors"), "the working directory has precedence"
    monkeypatch.setenv("ARTGEN_LORA_FOLDER", "elsewhere")
    with pytest.raises(InputFileError, match="Cannot find the LoRA 'other'"):
        lora_files.find_lora("other")


@pytest.mark.parametrize(
    ("name", "error"),
    [("nowhere.safetensors", InputFileError), ("x.pt", RefusedError), (".", InputFileError),
     ("x" * 5000, InputFileError),
     ("~nobody/x.safetensors", InputFileError), ("empty.safetensors", InputFileError)],
)  # fmt: skip
def test_invalid_names_are_rejected(name: str, error: type[ArtgenError]) -> None:
    Path("x.pt").write_bytes(b"PK")
    Path("empty.safetensors").touch()
    with pytest.raises(error):
        lora_files.read_lora(lora_files.find_lora(name))


def test_loras_are_checked_before_the_model_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artgen.registry.resolve_model", lambda *_, **__: pytest.fail("the model was resolved"))
    zero_file(Path("xl.safetensors"), kohya(XL_KEY, 2048))
    with pytest.raises(
        ModelUnavailableError, match=r"LoRA for Stable Diffusion XL, and 'sd15' is Stable Diffusion 1\."
    ):
        prepare_jobs([Txt2Img(prompt="x", model="sd15", lora=("xl",))])
    with pytest.raises(InputFileError, match="Cannot find the LoRA"):
        prepare_jobs([Txt2Img(prompt="x", lora=("nowhere",))])


@pytest.mark.parametrize("pattern", ["5", '"x"', "[1]", "true"])
def test_an_alpha_pattern_that_is_no_object_is_refused(pattern: str) -> None:
    metadata = {PEFT_METADATA_KEY: f'{{"unet.alpha_pattern": {pattern}}}'}
    with pytest.raises(InputFileError, match=r"unet\.alpha_pattern is not an object"):
        read_peft_config(Path("fox.safetensors"), metadata)
