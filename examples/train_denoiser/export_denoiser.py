"""Export the trained denoiser as a diffusers folder in half precision, with the hash of each file.

`DDIMPipeline.from_pretrained(folder)` loads the result: `unet/`, an unconditional UNet2DModel, and `scheduler/`.
"""

import argparse
import sys
from pathlib import Path

import torch
from diffusers import DDIMPipeline, UNet2DModel
from train_denoiser import build_schedule, build_unet

sys.path.append(str(Path(__file__).parents[1] / "train_tiny"))
from export import normalize_json, sha256_sums


def load_denoiser(path: Path) -> UNet2DModel:
    """Load the averaged network of a checkpoint."""
    content = torch.load(path, map_location="cpu", weights_only=False)
    model = build_unet(tuple(content["width"]), content["layers"])
    model.load_state_dict(content["module"])
    for parameter, value in zip(model.parameters(), content["average"], strict=True):
        parameter.data = value.clone()
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("data/train_denoiser"))
    parser.add_argument("--out", type=Path, default=Path("data/train_denoiser/model"))
    options = parser.parse_args()
    model = load_denoiser(options.work / "denoiser.pt").to(torch.float16)
    if not all(bool(p.isfinite().all()) for p in model.parameters()):
        raise SystemExit("Cannot export the denoiser: a weight is not finite in half precision.")
    DDIMPipeline(unet=model, scheduler=build_schedule()).save_pretrained(options.out, safe_serialization=True)
    normalize_json(options.out)
    for path in options.out.rglob("*.safetensors"):
        path.chmod(0o644)
    (options.out / "SHA256SUMS").write_text(sha256_sums(options.out))
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{size / 1e6:.1f} MB in {options.out}")


if __name__ == "__main__":
    main()
