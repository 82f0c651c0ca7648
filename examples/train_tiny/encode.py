"""Encode every scene once, so that training the UNet needs neither images nor the autoencoder.

The mean and the standard deviation of each latent channel are folded into the 1x1 convolutions of the autoencoder, so
that latents are standardized and `scaling_factor` is 1: diffusers' pipelines support one scalar only. Writes `vae/`
(diffusers folder) and `latents.npy`, float16 of shape (scenes, 16, 8, 8).
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from train_autoencoder import build

POSTERIOR_STD = 0.05  # posterior standard deviation in units of the standardized latents: nearly zero


def load_averaged(path: Path) -> AutoencoderKL:
    """Load the averaged autoencoder of a checkpoint."""
    content = torch.load(path, map_location="cpu", weights_only=False)
    model = build(tuple(content["width"]))
    model.load_state_dict(content["module"])
    for parameter, value in zip(model.parameters(), content["average"], strict=True):
        parameter.data = value.clone()
    return model.eval()


@torch.no_grad()
def encode(model: AutoencoderKL, images: np.ndarray, device: str) -> Tensor:
    """Return latent means, float32 of shape (images, 16, side / 8, side / 8)."""
    parts = []
    model.to(device=device, memory_format=torch.channels_last)
    for i in range(0, len(images), 250):
        batch = torch.tensor(images[i : i + 250]).to(device).permute(0, 3, 1, 2)
        with torch.autocast(device, torch.bfloat16):
            moments = model.encode(batch.float() / 127.5 - 1).latent_dist.mean
        parts.append(moments.float().cpu())
    return torch.cat(parts)


@torch.no_grad()
def fold_standardization(model: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Fold (z - mean) / std into `quant_conv` and its inverse into `post_quant_conv`."""
    channels = len(mean)
    into, out = model.quant_conv, model.post_quant_conv
    into.weight[:channels] /= std[:, None, None, None]
    into.bias[:channels] = (into.bias[:channels] - mean) / std
    into.weight[channels:] = 0
    into.bias[channels:] = 2 * math.log(POSTERIOR_STD)
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight *= std[None, :, None, None]
    model.register_to_config(scaling_factor=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--vae", type=Path, help="use this standardized autoencoder, for additional scenes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images = np.load(options.work / "scenes.npy", mmap_mode="r")
    if options.vae:
        model = AutoencoderKL.from_pretrained(options.vae).eval()
        np.save(options.work / "latents.npy", encode(model, images, options.device).half().numpy())
        return
    model = load_averaged(options.work / "ae.pt")
    latents = encode(model, images, options.device)
    mean = latents.mean(dim=(0, 2, 3))
    std = latents.std(dim=(0, 2, 3))
    print("channel deviations", [round(float(d), 2) for d in std])
    fold_standardization(model.cpu(), mean, std)
    model.save_pretrained(options.work / "vae")
    shape = (1, -1, 1, 1)
    standardized = (latents - mean.reshape(shape)) / std.reshape(shape)
    np.save(options.work / "latents.npy", standardized.half().numpy())
    print(len(standardized), "latents")


if __name__ == "__main__":
    main()
