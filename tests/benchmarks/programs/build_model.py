"""Build a model with random weights: `tiny` (a test model), `sd15` in fp32, `sd15.safetensors` or `sdxl` in fp16.

build_model.py NAME FOLDER
"""

import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "helpers")]  # Modules of the benchmarks and the tests.

import full_size  # noqa: E402
import tiny_models  # noqa: E402

name, folder = sys.argv[1], Path(sys.argv[2])
if name == "tiny":
    tiny_models.sd1(folder)
elif name == "sd15":
    full_size.build("sd1", folder, torch.float32)
elif name == "sdxl":
    full_size.build("sdxl", folder, torch.float16)
elif name == "sd15.safetensors":
    import original_layout
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from safetensors.torch import save_file
    from transformers import CLIPTextModel

    source = folder.with_name("sd15")
    parts = [
        cls.from_pretrained(source / part).state_dict()
        for cls, part in ((UNet2DConditionModel, "unet"), (AutoencoderKL, "vae"), (CLIPTextModel, "text_encoder"))
    ]
    save_file(original_layout.to_original_sd1(*parts), folder, metadata={"format": "pt"})
else:
    sys.exit(f"Unknown model: '{name}'.")
