"""Export the trained model as a diffusers folder in half precision, with the hash of each file.

`StableDiffusionPipeline.from_pretrained(folder)` loads the result. The autoencoder is the one with the largest images:
`vae256/` or `vae128/` (see `train_upscale.py`), else `vae/`. The text encoder and the UNet are from `distilled.pt` (see
`distill_text_encoder.py`) if it exists, else from `text_to_image.pt`. Half precision halves the size of the folder. The
export checks that all weights are finite in half precision.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from model import LATENT_SIDE, Sizes, TextToImageModel
from snapshot import build_pipeline
from transformers import CLIPTokenizer

GUIDANCE = 3.0


def load_model(path: Path) -> TextToImageModel:
    """Load the averaged text encoder and UNet of a checkpoint."""
    content = torch.load(path, map_location="cpu", weights_only=False)
    model = TextToImageModel(content["vocabulary"], Sizes(**content.get("sizes", {})))
    model.load_state_dict(content["module"])
    for parameter, value in zip(model.parameters(), content["average"], strict=True):
        parameter.data = value.clone()
    return model.eval()


def sha256_sums(folder: Path) -> str:
    """Return SHA256SUMS of every file in `folder` except itself, in the format of `sha256sum`."""
    lines = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "SHA256SUMS":
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append(f"{digest}  {path.relative_to(folder).as_posix()}\n")
    return "".join(lines)


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the tokenizer. `vocab.json` and `merges.txt` are complete, but some programs need the other files."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def default_settings(vae: AutoencoderKL) -> dict[str, object]:
    """Return artgen's default settings of the model, for `artgen.json`."""
    side = LATENT_SIDE * 2 ** (len(vae.config.block_out_channels) - 1)
    return {
        "steps": 30,
        "guidance_scale": GUIDANCE,
        "scheduler": "ddim",
        "width": side,
        "height": side,
        "description": "small vector-art images: everyday objects, colors, positions and counts",
        "license": "Apache-2.0",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--out", type=Path, default=Path("data/train_tiny/model"))
    parser.add_argument("--vae", help="folder in --work [vae256, else vae128, else vae]")
    options = parser.parse_args()
    known = (name for name in ("vae256", "vae128") if (options.work / name).exists())
    name = options.vae or next(known, "vae")
    vae = AutoencoderKL.from_pretrained(options.work / name)
    distilled = options.work / "distilled.pt"
    model = load_model(distilled if distilled.exists() else options.work / "text_to_image.pt")
    tokenizer = CLIPTokenizer.from_pretrained(options.work / "tokenizer")
    pipeline = build_pipeline(model, vae, tokenizer).to(torch.float16)
    for module in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        if not all(bool(p.isfinite().all()) for p in module.parameters()):
            raise SystemExit(f"Cannot export {type(module).__name__}: a weight is not finite in half precision.")
    pipeline.save_pretrained(options.out, safe_serialization=True)
    copy_tokenizer(options.work / "tokenizer", options.out / "tokenizer")
    normalize_json(options.out)
    for path in options.out.rglob("*.safetensors"):
        path.chmod(0o644)
    (options.out / "artgen.json").write_text(json.dumps(default_settings(vae), indent=2) + "\n")
    (options.out / "SHA256SUMS").write_text(sha256_sums(options.out))
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{size / 1e6:.1f} MB in {options.out}")


def normalize_json(folder: Path) -> None:
    """Remove machine paths from the JSON files, and set the loading precision to float32."""
    for path in folder.rglob("*.json"):
        if path.parts[-2] in {"tokenizer"} or path.name == "provenance.json":
            continue
        content = json.loads(path.read_text())
        content.pop("_name_or_path", None)
        if "dtype" in content:
            # Otherwise transformers loads the text encoder in half precision, and diffusers all other parts in float32.
            content["dtype"] = "float32"
        path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
