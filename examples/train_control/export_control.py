"""Export the trained control net as a diffusers folder in half precision, with its sources and the hash of each file.

`ControlNetModel.from_pretrained(folder)` loads the result. `provenance.json` contains the sources of the training data
and the hash of the UNet that the net controls. The export checks that all weights are finite in half precision.
"""

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from control_net import build_control_net
from diffusers import ControlNetModel, UNet2DConditionModel

sys.path.append(str(Path(__file__).parents[1] / "train_tiny"))
from export import normalize_json, sha256_sums
from provenance import build_record
from render_control import BUNDLED

UNET_WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def load_control_net(path: Path, model: Path) -> ControlNetModel:
    """Load the averaged control net of a checkpoint. `model` is the folder of the model that it controls."""
    content = torch.load(path, map_location="cpu", weights_only=False)
    net = build_control_net(UNet2DConditionModel.from_pretrained(model, subfolder="unet"))
    net.load_state_dict(content["module"])
    for parameter, value in zip(net.parameters(), content["average"], strict=True):
        parameter.data = value.clone()
    return net.eval()


@torch.no_grad()
def multiply_output(net: ControlNetModel, gain: float) -> None:
    """Multiply the output of a net, so that the scale 1.0 has the effect that the scale `gain` had."""
    for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block):
        layer.weight *= gain
        layer.bias *= gain


def control_record(work: Path, more: list[Path], model: Path) -> dict[str, Any]:
    """Return the sources of the renders, and the hash of the UNet."""
    record = build_record(work, more)
    digest = hashlib.sha256((model / UNET_WEIGHTS).read_bytes()).hexdigest()
    return {"model": model.name, "unet sha256": digest, **record}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("data/train_control"))
    parser.add_argument("--model", type=Path, default=BUNDLED, help="model that the net controls")
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="additional folders of encoded scenes")
    parser.add_argument("--gain", type=float, default=1.0, help="factor of the output")
    parser.add_argument("--out", type=Path, default=Path("data/train_control/net"))
    options = parser.parse_args()
    net = load_control_net(options.work / "control.pt", options.model)
    multiply_output(net, options.gain)
    net.to(torch.float16)
    if not all(bool(p.isfinite().all()) for p in net.parameters()):
        raise SystemExit("Cannot export the control net: a weight is not finite in half precision.")
    net.save_pretrained(options.out, safe_serialization=True)
    normalize_json(options.out)
    for path in options.out.rglob("*.safetensors"):
        path.chmod(0o644)
    record = control_record(options.work, options.more, options.model)
    (options.out / "provenance.json").write_text(json.dumps(record, indent=2) + "\n")
    if (options.model / "LICENSES").exists():
        shutil.copytree(options.model / "LICENSES", options.out / "LICENSES", dirs_exist_ok=True)
    (options.out / "SHA256SUMS").write_text(sha256_sums(options.out))
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{size / 1e6:.1f} MB in {options.out}")


if __name__ == "__main__":
    main()
