"""List models, samplers, LoRAs and other names as A1111 does. No path of the server is returned."""

from collections.abc import Mapping
from typing import Any

from artgen.api.upscaler_models import iter_upscalers
from artgen.errors import ArtgenError
from artgen.registry import model_folders
from artgen.registry.embeddings.embedding_file import read_embedding
from artgen.registry.upscalers import upscaler_entries
from artgen.server.a1111.styles import known_styles
from artgen.server.server_models import usable_models
from artgen.server.settings import ServerSettings
from artgen.spec.schedulers import SCHEDULERS, SIGMA_SPACINGS
from artgen.system import hardware
from artgen.system.optional_packages import installed_version

MAX_EMBEDDINGS = 1000
"""Number of embeddings whose header is read."""

LATENT_UPSCALERS = ("Latent",)
"""Methods of hires fix that enlarge the latents."""

IMAGE_UPSCALERS = ("None", "Lanczos")


def sd_models(settings: ServerSettings) -> list[dict[str, Any]]:
    """Return the models on the disk. Clients send the title to select a model."""
    unknown = {"hash": None, "sha256": None, "config": None}
    return [{"title": name, "model_name": name, "filename": name, **unknown} for name, _ in usable_models(settings)]


def samplers() -> list[dict[str, Any]]:
    """Return the schedulers whose packages are installed, by the names of A1111."""
    return [
        {"name": each.a1111_name, "aliases": [each.name, *each.aliases], "options": {}}
        for each in SCHEDULERS
        if all(installed_version(package) for package in each.required_packages)
    ]


def schedulers() -> list[dict[str, Any]]:
    """Return the spacings of the noise levels."""
    return [
        {"name": name, "label": name.capitalize(), "aliases": None, "default_rho": -1.0, "need_inner_model": False}
        for name in ("automatic", *SIGMA_SPACINGS)
    ]


def loras() -> list[dict[str, Any]]:
    """Return the LoRAs in the model folders. A prompt uses them by name: `<lora:NAME:0.8>`."""
    files = [each for each in model_folders.iter_files("lora") if not each.is_pickle]
    return [{"name": each.stem, "alias": each.stem, "path": each.name, "metadata": {}} for each in files]


def embeddings() -> dict[str, dict[str, Any]]:
    """Return the embeddings in the model folders. `skipped` has the embeddings that cannot be read."""
    loaded: dict[str, Any] = {}
    skipped: dict[str, Any] = {}
    files = [each for each in model_folders.iter_files("embedding") if not each.is_pickle]
    for each in files[:MAX_EMBEDDINGS]:
        unknown = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None}
        try:
            found = read_embedding(each.path)
        except ArtgenError:
            skipped[each.stem] = {**unknown, "shape": 0, "vectors": 0}
        else:
            loaded[each.stem] = {**unknown, "shape": found.widths[0], "vectors": found.vectors}
    return {"loaded": loaded, "skipped": skipped}


def upscalers() -> list[dict[str, Any]]:
    """Return the methods that enlarge the decoded image: Lanczos, and the networks on the disk."""
    found = [_upscaler(name, 4) for name in IMAGE_UPSCALERS]
    networks = [model.name for model in iter_upscalers() if model.complete]
    return [*found, *(_upscaler(name, upscaler_entries()[name].scale) for name in networks)]


def _upscaler(name: str, scale: float) -> dict[str, Any]:
    return {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": scale}


def latent_upscale_modes() -> list[dict[str, str]]:
    """Return the methods of hires fix that enlarge the latents."""
    return [{"name": name} for name in LATENT_UPSCALERS]


def prompt_styles() -> list[dict[str, str]]:
    """Return the styles in the user's `style_folder`."""
    styles = known_styles()
    return [{"name": each.name, "prompt": each.prompt, "negative_prompt": each.negative_prompt} for each in styles]


def scripts() -> dict[str, list[str]]:
    """Return no scripts: artgen does not run scripts of A1111."""
    return {"txt2img": [], "img2img": []}


def memory() -> Mapping[str, Any]:
    """Return the main memory in bytes, as far as the system reports it. The memory of GPUs is not reported."""
    used, total = hardware.resident_bytes() or 0, hardware.total_ram() or 0
    ram = {"free": hardware.available_ram() or max(0, total - used), "used": used, "total": total}
    return {"ram": ram, "cuda": {"error": "not reported"}}


def cmd_flags() -> dict[str, Any]:
    """Return no options: artgen has no command-line options of A1111."""
    return {}
