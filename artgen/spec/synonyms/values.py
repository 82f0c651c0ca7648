"""List the words of other tools for values of settings. See `artgen.spec.synonyms.options`."""

from typing import NamedTuple


class ValueRow(NamedTuple):
    """Represent words for a value of a setting.

    Attributes:
        setting: name of the setting.
        value: value to use, or a sentence if it ends with a period.
        words: words of other tools, separated by spaces.
        tools: tools that have the words.
    """

    setting: str
    value: str
    words: str
    tools: str


VALUE_ROWS = (
    ValueRow("seed", "-1 selects a random seed.", "random rand any auto none new", "ComfyUI, A1111"),
    ValueRow("device", "cuda", "gpu nvidia rtx cuda_gpu nvidia_gpu 0", "A1111, sd.cpp"),
    ValueRow("device", "mps", "metal apple mac m1 m2 m3 m4", "PyTorch"),
    ValueRow("device", "ROCm builds of PyTorch use the name cuda.", "rocm amd hip radeon", "PyTorch"),
    ValueRow(
        "device",
        "Devices: auto, cpu, mps, cuda or cuda:N.",
        "dml directml vulkan opencl xpu intel npu tpu",
        "sd.cpp",
    ),
    ValueRow("device", "OpenVINO runs on the CPU: --acceleration openvino.", "openvino ov openvino.cpu", "SD.Next"),
    ValueRow("dtype", "fp16", "half float16 f16 16 16bit torch.float16", "InvokeAI, diffusers"),
    ValueRow("dtype", "bf16", "bfloat16 bfloat torch.bfloat16", "diffusers"),
    ValueRow("dtype", "fp32", "float float32 f32 full single 32 32bit torch.float32", "InvokeAI, diffusers"),
    ValueRow(
        "dtype",
        "For 8 bits, use --quantize fp8.",
        "fp8 int8 q8_0 8bit 8 float8 fp8_e4m3fn float8_e4m3fn",
        "ComfyUI",
    ),
    ValueRow("dtype", "For 4 bits, use --quantize nf4.", "nf4 q4_0 4bit int4 fp4 4 q4_k", "Forge, sd.cpp"),
    ValueRow("quantize", "fp8 or int8", "8 q8 q8_0 8bit 8bits eight float8 fp8_e4m3fn fp8_e5m2", "mflux, sd.cpp"),
    ValueRow("quantize", "nf4", "4 q4 q4_0 q4_1 q4_k 4bit 4bits int4 bnb_nf4 fp4 bitsandbytes", "mflux, sd.cpp, Forge"),
    ValueRow("quantize", "For 16 bits, use --dtype fp16.", "16 fp16 bf16 f16 half none off", "mflux"),
    ValueRow(
        "quantize",
        "Load a .gguf file with --model for other bit widths.",
        "3 5 6 q5_0 q5_1 q6_k q2_k q3_k",
        "sd.cpp",
    ),
    ValueRow("offload", "model", "cpu true on yes medvram model_cpu balanced", "diffusers, A1111"),
    ValueRow("offload", "sequential", "lowvram novram full max disk", "A1111, ComfyUI"),
    ValueRow("offload", "none", "false off no gpu never highvram", "ComfyUI"),
    ValueRow("acceleration", "exact", "true on yes auto default", "artgen"),
    ValueRow("acceleration", "full", "compile torch.compile max fast tensorrt", "diffusers"),
    ValueRow("acceleration", "openvino", "ov openvino_fx intel cpu ipex onnx onnxruntime", "SD.Next"),
    ValueRow("acceleration", "none", "false off no", "artgen"),
    ValueRow("acceleration", "Attention is that of PyTorch.", "xformers sdp sdpa flash sage", "A1111"),
    ValueRow("metadata", "none", "false off no disable strip", "ComfyUI"),
    ValueRow("metadata", "full", "true on yes all embed a1111 png", "A1111"),
    ValueRow("format", "jpeg", "jpe jfif jpg2", "A1111"),
    ValueRow("format", "Formats: png, jpeg and webp.", "gif tiff tif bmp avif heic exr psd jxl svg", "A1111"),
    ValueRow("sigmas", "normal", "default automatic discrete none uniform", "A1111, sd.cpp"),
    ValueRow(
        "sigmas",
        "Spacings: normal, karras, exponential and beta.",
        "simple sgm_uniform ddim_uniform kl_optimal align_your_steps ays linear_quadratic polyexponential gits "
        "smoothstep turbo trailing linear",
        "A1111, ComfyUI, sd.cpp",
    ),
    ValueRow("guide", "cfg", "none default normal standard off", "artgen"),
    ValueRow("guide", "zero-star", "cfgzero cfg_zero zero", "ComfyUI"),
    ValueRow("guide", "For perturbed-attention guidance, use --pag-scale.", "pag sag seg", "ComfyUI"),
    ValueRow("long_prompt", "chunk", "a1111 extend split compel unlimited none", "A1111"),
    ValueRow("long_prompt", "truncate", "cut clip", "diffusers"),
    ValueRow("prompt_weights", "a1111", "webui automatic1111 auto sd true on", "A1111"),
    ValueRow("prompt_weights", "comfy", "comfyui", "ComfyUI"),
    ValueRow("prompt_weights", "none", "off false no diffusers plain disable", "diffusers"),
    ValueRow(
        "prompt_weights",
        "The syntaxes are a1111 and comfy.",
        "compel sd_embed invokeai invoke",
        "InvokeAI, dgenerate",
    ),
    ValueRow(
        "size",
        "WIDTHxHEIGHT in pixels: --size 768x512.",
        "landscape portrait square hd fullhd 4k 2k 720p 1080p auto small medium large 16:9 9:16 4:3 3:2 1:1",
        "OpenAI, Fooocus",
    ),
    ValueRow("mode", "lora", "dreambooth dora textual_inversion ti embedding", "diffusers"),
)  # fmt: skip
"""Words for values of settings."""
