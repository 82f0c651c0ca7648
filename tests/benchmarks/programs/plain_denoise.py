"""One step of a diffusion model as a denoiser, as a plain script would write it.

    plain_denoise.py MODEL OUT PICTURE SIGMA

The picture goes in whole; SIGMA is in grey levels.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMPipeline
from PIL import Image

model, out, picture, sigma = sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]) / 127.5
pipe = DDIMPipeline.from_pretrained(model).to("cpu")
kept = pipe.scheduler.alphas_cumprod
step = int((((1 - kept) / kept).sqrt() - sigma).abs().argmin())
pixels = torch.from_numpy(np.asarray(Image.open(picture).convert("RGB"))).permute(2, 0, 1)[None] / 127.5 - 1
with torch.no_grad():
    noise = pipe.unet(pixels * kept[step].sqrt(), step).sample
clean = pixels - noise * ((1 - kept[step]) / kept[step]).sqrt()
levels = ((clean[0].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
Image.fromarray(levels).save(out / "00000.png")
