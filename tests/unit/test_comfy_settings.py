"""Test that the settings, files and features of ComfyUI graphs are found."""

from typing import Any

import pytest

from artgen.metadata import ExternalRecord, parse_comfy
from tests.helpers.comfy_graphs import FIELDS, Out, Parts, Pipeline, read, start

FORMS = pytest.mark.parametrize("form", ["api", "editor", "new editor"])


def features(record: ExternalRecord) -> dict[str, str]:
    return {feature.name: feature.value for feature in record.features}


def without(names: str) -> dict[str, object]:
    return {name: value for name, value in FIELDS.items() if name not in names.split()}


@FORMS
@pytest.mark.parametrize("guider", ["BasicGuider", "CFGGuider", "DualCFGGuider"])
def test_custom_samplers_are_read(guider: str, form: str) -> None:
    parts = start()
    graph = parts.graph
    links: dict[str, Any] = {"model": parts.model}
    if guider == "BasicGuider":
        links |= {"conditioning": graph.add("FluxGuidance", conditioning=parts.positive, guidance=3.5)}
    elif guider == "CFGGuider":
        links |= {"positive": parts.positive, "negative": parts.negative, "cfg": 6.5}
    else:
        links |= {"cond1": parts.positive, "cond2": parts.positive, "negative": parts.negative, "cfg_conds": 6.5,
                  "cfg_cond2_negative": 2.0, "style": "regular"}  # fmt: skip
    sampler = graph.add(
        "SamplerCustomAdvanced", noise=graph.add("RandomNoise", noise_seed=42), guider=graph.add(guider, **links),
        sampler=graph.add("KSamplerSelect", sampler_name="euler"),
        sigmas=graph.add("BasicScheduler", model=parts.model, scheduler="karras", steps=25, denoise=1.0),
        latent_image=parts.latent,
    )  # fmt: skip
    graph.save(Out(sampler.node, 1), parts.vae)
    expected = {**without("negative_prompt"), "guidance_scale": 3.5} if guider == "BasicGuider" else FIELDS
    assert read(graph, form).fields == expected


@FORMS
@pytest.mark.parametrize(
    ("sampler", "name"),
    [
        (("SamplerDPMPP_2M_SDE", {"solver_type": "midpoint", "eta": 1.0, "s_noise": 1.0, "noise_device": "gpu"}),
         "dpmpp_2m_sde"),
        (("SamplerDPMPP_3M_SDE", {"eta": 1.0, "s_noise": 1.0, "noise_device": "cpu"}), "dpmpp_3m_sde"),
        (("SamplerEulerAncestral", {"eta": 1.0, "s_noise": 1.0}), "euler_ancestral"),
        (("SamplerLMS", {"order": 4}), "lms"),
        (("KSamplerSelect", {"sampler_name": "uni_pc"}), "uni_pc"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("sigmas", "spacing"),
    [
        (("KarrasScheduler", {"steps": 25, "sigma_max": 14.6, "sigma_min": 0.03, "rho": 7.0}), "karras"),
        (("SDTurboScheduler", {"steps": 25, "denoise": 1.0}), "sd_turbo"),
        (("BetaSamplingScheduler", {"steps": 25, "alpha": 0.6, "beta": 0.6}), "beta"),
    ],
)
def test_sampler_and_sigma_nodes_are_named(
    sampler: tuple[str, dict[str, Any]], name: str, sigmas: tuple[str, dict[str, Any]], spacing: str, form: str
) -> None:
    parts = start()
    graph = parts.graph
    node = graph.add(
        "SamplerCustom", model=parts.model, add_noise=True, noise_seed=42, cfg=6.5, positive=parts.positive,
        negative=parts.negative, sampler=graph.add(sampler[0], **sampler[1]),
        sigmas=graph.add(sigmas[0], **sigmas[1]), latent_image=parts.latent,
    )  # fmt: skip
    graph.save(node, parts.vae)
    assert read(graph, form).fields == {**FIELDS, "scheduler": name, "sigmas": spacing}


@FORMS
def test_inputs_of_primitives_are_read(form: str) -> None:
    parts = start()
    primitive = "PrimitiveNode" if form != "api" else "PrimitiveInt"
    for side, value in (("width", 640), ("height", 896)):
        parts.graph.change(parts.latent, **{side: parts.graph.add(primitive, value=value)})
    seed = parts.graph.add("Seed (rgthree)", seed=77)
    steps = parts.graph.add("Reroute", **{"": parts.graph.add("easy int", value=30)})
    record = read(parts.finish(seed=seed, steps=steps), "new editor" if form == "editor" else form)
    assert record.fields == {**FIELDS, "width": 640, "height": 896, "seed": 77, "steps": 30}


def hires(parts: Parts, *, by_image: bool) -> Pipeline:
    graph = parts.graph
    first = graph.sampler(parts.model, parts.positive, parts.negative, parts.latent)
    if by_image:
        image = graph.add("VAEDecode", samples=first, vae=parts.vae)
        model = graph.add("UpscaleModelLoader", model_name="4x.pth")
        image = graph.add("ImageUpscaleWithModel", upscale_model=model, image=image)
        image = graph.add("ImageScaleBy", image=image, upscale_method="area", scale_by=0.5)
        latent = graph.add("VAEEncode", pixels=image, vae=parts.vae)
    else:
        latent = graph.add(
            "LatentUpscale", samples=first, upscale_method="nearest-exact", width=1024, height=1536, crop="disabled"
        )
    prompt = graph.encode("more detail", parts.clip)
    second = graph.sampler(parts.model, prompt, parts.negative, latent, seed=43, steps=10, denoise=0.5)
    graph.save(second, parts.vae)
    return graph


@FORMS
@pytest.mark.parametrize(
    ("kind", "inputs", "changes", "fields", "notes"),
    [
        ("LatentUpscaleBy", {"scale_by": 1.5}, {}, {"hires": "1.5:0.5", "hires_steps": 20}, {}),
        ("LatentUpscale", {"width": 1024, "height": 1536}, {}, {"hires": "2:0.5", "hires_steps": 20}, {}),
        ("LatentUpscale", {"width": 1024, "height": 0}, {"denoise": 1.0}, {"hires": "2:1", "hires_steps": 10}, {}),
        ("LatentUpscaleBy", {"scale_by": 2.0}, {"seed": 43}, {"hires": "2:0.5"}, {"hires seed": "43"}),
        ("LatentUpscaleBy", {"scale_by": 2.0, "upscale_method": "bislerp"}, {}, {}, {"hires interpolation": "bislerp"}),
        ("LatentUpscaleBy", {"scale_by": 2.0}, {"cfg": 3.0}, {"hires": None}, {"several passes": "2"}),
        ("LatentUpscale", {"width": 1024, "height": 1024}, {}, {"hires": None}, {"several passes": "2"}),
    ],
)
def test_two_equal_samplers_with_enlarged_latents_are_hires_fix(
    kind: str, inputs: Any, changes: Any, fields: Any, notes: Any, form: str
) -> None:
    parts = start()
    graph = parts.graph
    first = graph.sampler(parts.model, parts.positive, parts.negative, parts.latent)
    crop = {"crop": "disabled"} if kind == "LatentUpscale" else {}
    enlarged = {"upscale_method": "bilinear", **inputs, **crop}
    latent = graph.add(kind, samples=first, **enlarged)
    second = graph.sampler(
        parts.model, parts.positive, parts.negative, latent, **{"steps": 10, "denoise": 0.5, **changes}
    )
    graph.save(second, parts.vae)
    record = read(graph, form)
    expected = {"hires_in": "latent"} if fields.get("hires", "") is not None else {}
    for name, value in (expected | fields).items():
        assert record.fields.get(name) == value, name
    found = features(record)
    assert found.items() >= notes.items()
    assert ("several passes" in found) == ("several passes" in notes)


@FORMS
@pytest.mark.parametrize("by_image", [False, True])
@pytest.mark.parametrize("saves_both", [False, True])
def test_hires_fix_has_the_settings_of_the_first_pass(by_image: bool, saves_both: bool, form: str) -> None:
    parts = start()
    if saves_both:
        parts.graph.add("SaveImage", images=Out("7"), filename_prefix="first")
        parts.graph.add("SaveLatent", samples=Out("6"), filename_prefix="first")
    graph = hires(parts, by_image=by_image)
    if saves_both:
        first = next(key for key, node in graph.nodes.items() if node.kind == "KSampler")
        parts.graph.change(Out("5"), images=graph.add("VAEDecode", samples=Out(first), vae=parts.vae))
        parts.graph.change(Out("6"), samples=Out(first))
    record = read(graph, form)
    assert record.fields == FIELDS
    found = features(record)
    assert found["several passes"] == "2"
    assert "steps 10" in found["hires fix"]
    assert "strength 0.5" in found["hires fix"]
    assert ("upscale model" in found) == by_image


@FORMS
def test_refiner_is_named(form: str) -> None:
    parts = start()
    graph = parts.graph
    settings = {"add_noise": "enable", "noise_seed": 42, "steps": 25, "cfg": 6.5, "sampler_name": "euler",
                "scheduler": "karras"}  # fmt: skip
    base = graph.add(
        "KSamplerAdvanced", model=parts.model, **settings, positive=parts.positive, negative=parts.negative,
        latent_image=parts.latent, start_at_step=0, end_at_step=20, return_with_leftover_noise="enable",
    )  # fmt: skip
    loader = graph.add("CheckpointLoaderSimple", ckpt_name="sdxl-refiner.safetensors")
    encode = {"ascore": 6.0, "width": 1024, "height": 1024, "clip": Out(loader.node, 1)}
    second = graph.add(
        "KSamplerAdvanced", model=loader, **{**settings, "add_noise": "disable", "noise_seed": 0},
        positive=graph.add("CLIPTextEncodeSDXLRefiner", **encode, text="a refined fox"),
        negative=graph.add("CLIPTextEncodeSDXLRefiner", **encode, text="bad"),
        latent_image=base, start_at_step=20, end_at_step=10000, return_with_leftover_noise="disable",
    )  # fmt: skip
    graph.save(second, parts.vae)
    record = read(graph, form)
    assert record.fields == FIELDS
    assert "sdxl-refiner.safetensors" in features(record)["refiner"]
    assert features(record)["several passes"] == "2"


def test_passes_on_images_are_named() -> None:
    parts = start()
    graph = parts.graph
    samples = graph.sampler(parts.model, parts.positive, parts.negative, parts.latent)
    image = graph.add("VAEDecode", samples=samples, vae=parts.vae)
    common = {"model": parts.model, "vae": parts.vae, "positive": graph.encode("a face", parts.clip),
              "negative": parts.negative, "seed": 5, "steps": 20, "cfg": 8.0, "sampler_name": "euler",
              "scheduler": "normal", "denoise": 0.4}  # fmt: skip
    face = graph.add("FaceDetailer", image=image, clip=parts.clip, guide_size=512, **common)
    big = graph.add("UltimateSDUpscale", image=face, upscale_by=2.0, **common)
    graph.add("Image Save", images=big, output_path="x", filename_prefix="y")
    record = read(graph)
    assert record.fields == FIELDS
    assert features(record)["several passes"] == "3"
    assert "detailer" in features(record)


@FORMS
@pytest.mark.parametrize("kind", ["VAEEncode", "scaled", "batch"])
def test_input_images_are_named(kind: str, form: str) -> None:
    parts = start()
    image = parts.graph.add("LoadImage", image="photo.png")
    pixels = image
    if kind == "scaled":
        pixels = parts.graph.add(
            "ImageScale", image=image, upscale_method="area", width=512, height=512, crop="disabled"
        )
    parts.latent = parts.graph.add("VAEEncode", pixels=pixels, vae=parts.vae)
    if kind == "batch":
        parts.latent = parts.graph.add("RepeatLatentBatch", samples=parts.latent, amount=2)
    record = read(parts.finish(denoise=0.6), form)
    assert record.fields == {**without("width height"), "task": "img2img", "strength": 0.6}
    assert features(record)["input image"] == "photo.png"


@FORMS
@pytest.mark.parametrize("kind", ["SetLatentNoiseMask", "VAEEncodeForInpaint", "InpaintModelConditioning"])
def test_masks_are_named(kind: str, form: str) -> None:
    parts = start()
    graph = parts.graph
    image = graph.add("LoadImage", image="photo.png")
    mask = Out(image.node, 1)
    if kind == "SetLatentNoiseMask":
        latent = graph.add("VAEEncode", pixels=image, vae=parts.vae)
        parts.latent = graph.add(kind, samples=latent, mask=mask)
    elif kind == "VAEEncodeForInpaint":
        parts.latent = graph.add(kind, pixels=image, vae=parts.vae, mask=mask, grow_mask_by=6)
    else:
        node = graph.add(kind, positive=parts.positive, negative=parts.negative, vae=parts.vae, pixels=image, mask=mask,
                         noise_mask=True)  # fmt: skip
        parts.positive, parts.negative, parts.latent = node, Out(node.node, 1), Out(node.node, 2)
    record = read(parts.finish(denoise=0.9), form)
    assert record.fields == {**without("width height"), "task": "inpaint", "strength": 0.9}
    assert features(record)["input image"] == "photo.png"
    assert "mask" in features(record)


@pytest.mark.parametrize("kind", ["VAEEncode", "VAEEncodeForInpaint"])
def test_the_strength_of_images_is_explicit(kind: str) -> None:
    parts = start()
    image = parts.graph.add("LoadImage", image="photo.png")
    mask = {"mask": Out(image.node, 1)} if kind == "VAEEncodeForInpaint" else {}
    parts.latent = parts.graph.add(kind, pixels=image, vae=parts.vae, **mask)
    assert read(parts.finish(denoise=1.0)).fields["strength"] == 1.0


def test_control_images_of_flux_are_not_input_images() -> None:
    parts = start()
    image = parts.graph.add("LoadImage", image="edges.png")
    links = {"positive": parts.positive, "negative": parts.negative, "pixels": image, "vae": parts.vae}
    node = parts.graph.add("InstructPixToPixConditioning", **links)
    parts.positive, parts.negative, parts.latent = node, Out(node.node, 1), Out(node.node, 2)
    record = read(parts.finish())
    assert record.fields == without("width height")
    assert "edges.png" in features(record)["reference image"]


def test_a_late_first_step_of_an_image_is_the_strength() -> None:
    parts = start()
    image = parts.graph.add("LoadImage", image="photo.png")
    latent = parts.graph.add("VAEEncode", pixels=image, vae=parts.vae)
    node = parts.graph.add(
        "KSamplerAdvanced", model=parts.model, add_noise="enable", noise_seed=42, steps=20, cfg=6.5,
        sampler_name="euler", scheduler="karras", positive=parts.positive, negative=parts.negative, latent_image=latent,
        start_at_step=5, end_at_step=10000, return_with_leftover_noise="disable",
    )  # fmt: skip
    parts.graph.save(node, parts.vae)
    assert read(parts.graph).fields["strength"] == 0.75


def test_partial_denoising_of_empty_latents_is_a_feature() -> None:
    record = read(start().finish(denoise=0.8))
    assert features(record)["denoise below 1"] == "0.8"
    assert "task" not in record.fields


@FORMS
def test_loras_of_a_chain_have_their_scales(form: str) -> None:
    parts = start()
    graph = parts.graph
    first = graph.add("LoraLoader", model=parts.model, clip=parts.clip, lora_name="a.safetensors", strength_model=0.8,
                      strength_clip=0.4)  # fmt: skip
    second = graph.add("LoraLoaderModelOnly", model=first, lora_name="sub/b.safetensors", strength_model=-0.5)
    off = graph.add("LoraLoader", model=second, clip=Out(first.node, 1), lora_name="c.safetensors", strength_model=0.0,
                    strength_clip=0.0)  # fmt: skip
    parts.model = off
    for encoder in (parts.positive, parts.negative):
        graph.change(encoder, clip=Out(off.node, 1))
    record = read(parts.finish(), form)
    assert [str(lora) for lora in record.loras] == ["a.safetensors:0.8:0.4", "sub/b.safetensors:-0.5:0"]
    assert record.fields == FIELDS


def test_a_lora_without_its_clip_output_does_not_change_the_text_encoders() -> None:
    parts = start()
    parts.model = parts.graph.add("LoraLoader", model=parts.model, clip=parts.clip, lora_name="a", strength_model=0.8,
                                  strength_clip=0.8)  # fmt: skip
    assert [str(lora) for lora in read(parts.finish()).loras] == ["a:0.8:0"]


@pytest.mark.parametrize("form", ["api", "editor"])
def test_lora_lists_of_extensions_are_read(form: str) -> None:
    parts = start()
    graph = parts.graph
    entries = {
        "lora_1": {"on": True, "lora": "a.safetensors", "strength": 0.5},
        "lora_2": {"on": False, "lora": "b.safetensors", "strength": 1},
        "lora_3": {"on": True, "lora": "c.safetensors", "strength": 0.5, "strengthTwo": 0.25},
    }
    power = graph.add("Power Lora Loader (rgthree)", model=parts.model, clip=parts.clip, **entries)
    graph.change(power, widgets=[{}, {"type": "header"}, *entries.values(), {}, ""])
    stack = graph.add("Lora Loader Stack (rgthree)", model=power, clip=Out(power.node, 1), lora_01="d.safetensors",
                      strength_01=0.3, lora_02="None", strength_02=1.0, lora_03="None", strength_03=1.0, lora_04="None",
                      strength_04=1.0)  # fmt: skip
    parts.model = stack
    graph.change(parts.positive, clip=Out(stack.node, 1))
    names = [str(lora) for lora in read(parts.finish(), form).loras]
    assert names == ["a.safetensors:0.5", "c.safetensors:0.5:0.25", "d.safetensors:0.3"]


@FORMS
@pytest.mark.parametrize(("layer", "expected"), [(-1, None), (-2, 2), (-4, 4)])
def test_clip_skip_is_read(layer: int, expected: int | None, form: str) -> None:
    parts = start()
    parts.graph.change(
        parts.positive, clip=parts.graph.add("CLIPSetLastLayer", clip=parts.clip, stop_at_clip_layer=layer)
    )
    assert read(parts.finish(), form).fields.get("clip_skip") == expected


@pytest.mark.parametrize(("layer", "expected"), [(-1, None), (-2, None), (-3, 2)])
def test_clip_skip_of_sdxl_starts_with_layer_2(layer: int, expected: int | None) -> None:
    parts = start()
    clip = parts.graph.add("CLIPSetLastLayer", clip=parts.clip, stop_at_clip_layer=layer)
    parts.positive = parts.graph.add("CLIPTextEncodeSDXL", clip=clip, text_g="a red fox", text_l="a red fox")
    assert read(parts.finish()).fields.get("clip_skip") == expected


@FORMS
def test_separate_loaders_are_read(form: str) -> None:
    parts = start()
    graph = parts.graph
    loader = graph.add("UNETLoader", unet_name="flux1-dev.safetensors", weight_dtype="fp8_e4m3fn")
    parts.model = graph.add("ModelSamplingFlux", model=loader, max_shift=1.15, base_shift=0.5, width=512, height=768)
    clip = graph.add("DualCLIPLoader", clip_name1="t5", clip_name2="clip_l", type="flux")
    parts.positive = graph.add("CLIPTextEncodeFlux", clip=clip, clip_l="a red fox", t5xxl="a red fox", guidance=3.5)
    parts.negative = graph.add("ConditioningZeroOut", conditioning=parts.positive)
    parts.vae = graph.add("VAELoader", vae_name="ae.safetensors")
    record = read(parts.finish(cfg=1.0), form)
    assert record.fields == {
        **FIELDS, "negative_prompt": "", "guidance_scale": 3.5, "model": "flux1-dev.safetensors",
    }  # fmt: skip
    assert features(record)["VAE"] == "ae.safetensors"
    gguf = graph.add("UnetLoaderGGUF", unet_name="flux1-Q4.gguf")
    graph.change(parts.model, model=gguf)
    assert read(graph, form).fields["model"] == "flux1-Q4.gguf"


@FORMS
def test_features_without_a_setting_are_named(form: str) -> None:
    parts = start()
    graph = parts.graph
    other = graph.add("CheckpointLoaderSimple", ckpt_name="other.safetensors")
    merged = graph.add("ModelMergeSimple", model1=parts.model, model2=other, ratio=0.5)
    hyper = graph.add("HypernetworkLoader", model=merged, hypernetwork_name="h.pt", strength=0.7)
    files = {"ipadapter": graph.add("IPAdapterModelLoader", ipadapter_file="i"),
             "image": graph.add("LoadImage", image="face.png")}  # fmt: skip
    adapter = graph.add("IPAdapterAdvanced", model=hyper, **files, weight=0.6)
    parts.model = graph.add("MyPatch", model=graph.add("RescaleCFG", model=adapter, multiplier=0.7))
    record = read(parts.finish(), form)
    assert record.fields == {**FIELDS, "guidance_rescale": 0.7}
    found = features(record)
    assert "other.safetensors" in found["model merge"]
    assert "h.pt" in found["hypernetwork"]
    assert "IP-Adapter" in found
    assert found["other nodes"] == "MyPatch"
    assert "input image" not in found


@FORMS
def test_controlnets_are_named_with_their_files(form: str) -> None:
    parts = start()
    graph = parts.graph
    for name in ("canny.safetensors", "depth.safetensors"):
        net = graph.add("ControlNetLoader", control_net_name=name)
        parts.positive = graph.add("ControlNetApply", conditioning=parts.positive, control_net=net,
                                   image=graph.add("LoadImage", image="p.png"), strength=0.8)  # fmt: skip
    value = features(read(parts.finish(), form))["ControlNet"]
    assert "canny.safetensors, strength 0.8" in value
    assert "depth.safetensors" in value


def efficient(graph: Pipeline) -> None:
    loader = graph.add(
        "Efficient Loader", ckpt_name="base.safetensors", vae_name="Baked VAE", clip_skip=-2, lora_name="l.safetensors",
        lora_model_strength=0.5, lora_clip_strength=0.5, positive="a red fox", negative="blurry",
        token_normalization="none", weight_interpretation="comfy", empty_latent_width=512, empty_latent_height=768,
        batch_size=1,
    )  # fmt: skip
    sampler = graph.add(
        "KSampler (Efficient)", model=loader, seed=42, steps=25, cfg=6.5, sampler_name="euler", scheduler="karras",
        positive=Out(loader.node, 1), negative=Out(loader.node, 2), latent_image=Out(loader.node, 3), denoise=1.0,
        preview_method="auto", vae_decode="true", optional_vae=Out(loader.node, 4),
    )  # fmt: skip
    graph.add("SaveImage", images=Out(sampler.node, 5), filename_prefix="x")


def easy(graph: Pipeline) -> None:
    loader = graph.add(
        "easy a1111Loader", ckpt_name="base.safetensors", vae_name="Baked VAE", clip_skip=-2, lora_name="l.safetensors",
        lora_model_strength=0.5, lora_clip_strength=0.5, resolution="512 x 768", empty_latent_width=1,
        empty_latent_height=1,
        positive="a red fox", negative="blurry", batch_size=1, a1111_prompt_style=False,
    )  # fmt: skip
    settings = graph.add("easy preSampling", pipe=loader, steps=25, cfg=6.5, sampler_name="euler", scheduler="karras",
                         denoise=1.0, seed=42)  # fmt: skip
    sampler = graph.add("easy kSampler", pipe=settings, image_output="Preview", link_id=0, save_prefix="ComfyUI")
    graph.add("SaveImage", images=Out(sampler.node, 1), filename_prefix="x")


@FORMS
@pytest.mark.parametrize("make", [efficient, easy], ids=lambda make: make.__name__)
def test_loaders_with_prompts_are_read(make: Any, form: str) -> None:
    graph = Pipeline()
    make(graph)
    record = read(graph, form)
    assert record.fields == {**FIELDS, "clip_skip": 2}
    assert [str(lora) for lora in record.loras] == ["l.safetensors:0.5"]


@FORMS
@pytest.mark.parametrize("kind", ["Context (rgthree)", "ToBasicPipe"])
def test_contexts_and_pipes_are_followed(kind: str, form: str) -> None:
    parts = start()
    graph = parts.graph
    links = {"model": parts.model, "clip": parts.clip, "vae": parts.vae, "positive": parts.positive,
             "negative": parts.negative}  # fmt: skip
    if kind == "ToBasicPipe":
        pipe = graph.add("FromBasicPipe", basic_pipe=graph.add(kind, **links))
        slots = {"model": 0, "vae": 2, "positive": 3, "negative": 4}
    else:
        first = graph.add(kind, **links, latent=parts.latent)
        pipe = graph.add(kind, base_ctx=first, positive=parts.positive)
        slots = {"model": 1, "vae": 3, "positive": 4, "negative": 5, "latent": 6}
    for name, slot in slots.items():
        setattr(parts, name, Out(pipe.node, slot))
    record = read(parts.finish(), form)
    assert record.fields == FIELDS
    assert "other nodes" not in features(record)


@FORMS
@pytest.mark.parametrize("number_first", [False, True])
def test_the_sampler_of_the_saved_image_is_read(number_first: bool, form: str) -> None:
    parts = start()
    graph = parts.graph

    def preview() -> None:
        other = graph.sampler(parts.model, graph.encode("a decoy", parts.clip), parts.negative, parts.latent, seed=1)
        graph.add("PreviewImage", images=graph.add("VAEDecode", samples=other, vae=parts.vae))

    if number_first:
        preview()
    parts.finish()
    if not number_first:
        preview()
    record = read(graph, form)
    assert record.fields == FIELDS
    assert not record.notes


@pytest.mark.parametrize(
    "kind", ["Image Save", "SaveImageWebsocket", "VHS_VideoCombine", "SaveAnimatedWEBP", "easy imageSave", "ImageSaver"]
)
def test_nodes_of_extensions_save_images(kind: str) -> None:
    parts = start()
    graph = parts.graph
    other = graph.sampler(parts.model, parts.negative, parts.positive, parts.latent, seed=1)
    graph.add("PreviewImage", images=graph.add("VAEDecode", samples=other, vae=parts.vae))
    samples = graph.sampler(parts.model, parts.positive, parts.negative, parts.latent)
    graph.add(kind, images=graph.add("VAEDecodeTiled", samples=samples, vae=parts.vae, tile_size=512))
    assert read(graph).fields == FIELDS


@FORMS
def test_split_sigmas_are_two_passes(form: str) -> None:
    parts = start()
    graph = parts.graph
    scheduler = graph.add("BasicScheduler", model=parts.model, scheduler="karras", steps=25, denoise=1.0)
    sigmas = graph.add("SplitSigmas", sigmas=scheduler, step=15)
    links = {"model": parts.model, "positive": parts.positive, "negative": parts.negative,
             "sampler": graph.add("KSamplerSelect", sampler_name="euler")}  # fmt: skip
    first = graph.add("SamplerCustom", **links, add_noise=True, noise_seed=42, cfg=6.5, sigmas=sigmas,
                      latent_image=parts.latent)  # fmt: skip
    second = graph.add("SamplerCustom", **links, add_noise=False, noise_seed=7, cfg=6.5, sigmas=Out(sigmas.node, 1),
                       latent_image=first)  # fmt: skip
    graph.save(second, parts.vae)
    record = read(graph, form)
    assert record.fields == FIELDS
    assert features(record)["several passes"] == "2"


def test_scripts_of_samplers_are_named() -> None:
    graph = Pipeline()
    efficient(graph)
    script = graph.add("HighRes-Fix Script", upscale_by=2.0, hires_steps=12, denoise=0.5)
    graph.change(Out("2"), script=script)
    assert "upscale_by 2.0" in features(read(graph))["hires fix"]


@pytest.mark.parametrize(("swap", "size"), [("Off", (896, 1152)), ("On", (1152, 896))])
def test_sizes_of_nodes_with_an_aspect_ratio_are_read(swap: str, size: tuple[int, int]) -> None:
    parts = start()
    ratio = parts.graph.add("CR SDXL Aspect Ratio", width=1024, height=1024, swap_dimensions=swap,
                            aspect_ratio="3:4 portrait 896x1152")  # fmt: skip
    parts.graph.change(parts.latent, width=ratio, height=Out(ratio.node, 1))
    fields = read(parts.finish()).fields
    assert (fields["width"], fields["height"]) == size


def test_computed_numbers_are_unset_with_a_note() -> None:
    parts = start()
    number = parts.graph.add("SimpleMath+", a=parts.graph.add("PrimitiveInt", value=5), value="a*2")
    record = read(parts.finish(seed=number))
    assert record.fields == without("seed")
    assert any("SimpleMath+" in note for note in record.notes)


def test_several_saved_samplers_give_a_note() -> None:
    parts = start()
    parts.finish()
    other = parts.graph.sampler(parts.model, parts.positive, parts.negative, parts.latent, seed=1)
    parts.graph.save(other, parts.vae)
    record = read(parts.graph)
    assert record.fields == FIELDS
    assert any("2 samplers" in note for note in record.notes)


@FORMS
def test_graphs_without_a_saved_image_are_read(form: str) -> None:
    parts = start()
    samples = parts.graph.sampler(parts.model, parts.positive, parts.negative, parts.latent)
    parts.graph.add("MyWriter", data=samples)
    assert read(parts.graph, form).fields == FIELDS


@pytest.mark.parametrize(
    "inputs",
    [
        {"dimensions": " 832 x 1216  (portrait)", "clip_scale": 2.0, "batch_size": 1},
        {"resolution": "832x1216 (0.68)", "batch_size": 1},
        {"width": 832, "height": 1216, "batch_size": 1},
    ],
)
def test_sizes_of_empty_latents_are_read(inputs: dict[str, Any]) -> None:
    parts = start()
    kind = "SDXL Empty Latent Image (rgthree)" if "dimensions" in inputs else "EmptySD3LatentImage"
    parts.latent = parts.graph.add(kind, **inputs)
    fields = read(parts.finish()).fields
    assert (fields["width"], fields["height"]) == (832, 1216)


def test_wrapped_graphs_and_lists_of_nodes_are_read() -> None:
    graph = start().finish()
    api, workflow = graph.api(), graph.workflow()
    nodes = [{"id": int(key), **node} for key, node in api.items()]
    for prompt, other in (
        ({"prompt": api}, None), ({"prompt": api, "extra_data": {}}, None), (nodes, None), (workflow, None),
        (None, {"workflow": workflow}), (None, api), ({}, workflow),
    ):  # fmt: skip
        record = parse_comfy(prompt, other)
        assert record is not None
        assert record.fields == FIELDS
