"""Denoise an image with one step of a diffusion model, as a plain diffusers script.

    diffusers_denoise.py MODEL OUT IMAGE SIGMA

The image is denoised without tiles. SIGMA is in gray levels.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMPipeline
from PIL import Image

model, out, image_file, sigma = sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]) / 127.5
pipe = DDIMPipeline.from_pretrained(model).to("cpu")
alphas_cumprod = pipe.scheduler.alphas_cumprod
step = int((((1 - alphas_cumprod) / alphas_cumprod).sqrt() - sigma).abs().argmin())
pixels = torch.from_numpy(np.asarray(Image.open(image_file).convert("RGB"))).permute(2, 0, 1)[None] / 127.5 - 1
with torch.no_grad():
    noise = pipe.unet(pixels * alphas_cumprod[step].sqrt(), step).sample
clean = pixels - noise * ((1 - alphas_cumprod[step]) / alphas_cumprod[step]).sqrt()
levels = ((clean[0].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
Image.fromarray(levels).save(out / "00000.png")
