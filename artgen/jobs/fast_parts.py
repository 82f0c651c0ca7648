"""Check the approximations of `--fast` against the model, and download the parts that they need."""

import math
from collections.abc import Callable
from typing import Any

from artgen import registry
from artgen.errors import UsageError
from artgen.registry import diffusers_folder, pipelines
from artgen.registry.catalog import BUNDLED_PREFIX
from artgen.spec.base_requests import PromptRequest
from artgen.spec.fast import parse_presets
from artgen.system.counts import counted

LATENT_FORMATS = {"sd1": (4, 0.18215), "sd2": (4, 0.18215), "sdxl": (4, 0.13025), "sd3": (16, 1.5305)}
"""Number of latent channels and scaling factor of the standard VAE of each architecture."""


def check_fast(request: PromptRequest, model: registry.ResolvedModel, strength: float) -> None:
    """Check that a model supports the approximations of a request, and that they save time.

    Raises:
        UsageError: an approximation is not supported, or has no effect.
    """
    steps = int((request.steps or 1) * strength)
    for entry in parse_presets(request.fast):
        hint = f"Remove {entry.name} from --fast."
        if not model.pipeline_entry.supports(f"fast-{entry.name}"):
            supported = ", ".join(pipelines.architectures_with(f"fast-{entry.name}"))
            raise UsageError(
                f"--fast {entry.name} works with {supported}; '{model.name}' is {model.architecture}.",
                hint,
                settings=("fast",),
            )
        if entry.name == "cache" and request.offload == "group":
            raise UsageError(
                "Cannot combine --fast cache with --offload group, which waits for layers that the cache skips.",
                hint,
                settings=("fast",),
            )
        if entry.name == "tiny-decoder":
            _check_latent_format(model)
        if entry.name == "lcm":
            _check_lcm(request, model)
        if steps < entry.min_steps:
            raise UsageError(
                f"--fast {entry.name} reuses values of the previous step; with {counted(steps, 'step')} "
                "they differ too much.",
                f"Use --steps {math.ceil(entry.min_steps / strength)} or more, or remove {entry.name} from --fast.",
                settings=("fast",),
            )


def find_extras(
    request: PromptRequest,
    model: registry.ResolvedModel,
    extras_cache: dict[str, registry.HubFiles],
    on_download: Callable[[str, int, int], None],
) -> dict[str, registry.HubFiles]:
    """Return the files that a request's approximations need, by approximation. Download missing files.

    Args:
        request: request whose approximations are supported.
        model: model of the request.
        extras_cache: files that were found for the model before; new files are added.
        on_download: receives file name, downloaded bytes and total bytes.

    Raises:
        ModelUnavailableError: a file is missing and cannot be downloaded.
        UsageError: the tiny decoder generates another image size.
    """
    needed = [entry for entry in parse_presets(request.fast) if entry.filenames]
    for entry in needed:
        if entry.name not in extras_cache:
            repo = entry.repositories[model.architecture]
            found = registry.fetch_hub_files(repo, entry.filenames, offline=request.offline, on_download=on_download)
            if entry.name == "tiny-decoder":
                _check_tiny_decoder(found, model)
            extras_cache[entry.name] = found
    return {entry.name: extras_cache[entry.name] for entry in needed}


def _check_latent_format(model: registry.ResolvedModel) -> None:
    config = _vae_config(model)
    channels, scale = LATENT_FORMATS[model.architecture]
    same = model.latent_channels == channels and not config.get("latents_mean")
    if not same or not math.isclose(config.get("scaling_factor", scale), scale, rel_tol=1e-3):
        raise _latent_mismatch_error(model)


def _check_lcm(request: PromptRequest, model: registry.ResolvedModel) -> None:
    """Check that the model is a full Stable Diffusion model and that the scheduler is lcm."""
    if model.source.startswith(BUNDLED_PREFIX):
        raise UsageError(
            f"--fast lcm supports only the weights of Stable Diffusion; '{model.name}' has other weights.",
            "Remove lcm from --fast.",
            settings=("fast",),
        )
    if model.guidance_scale <= 1 or model.pipeline_entry.guidance == "embedded":
        raise UsageError(
            f"--fast lcm has no effect: '{model.name}' needs only {counted(model.steps, 'step')}.",
            "Remove lcm from --fast.",
            settings=("fast",),
        )
    if request.scheduler != "lcm":
        raise UsageError(
            f"--fast lcm needs the scheduler lcm, not {request.scheduler}.",
            "Remove --scheduler.",
            settings=("scheduler", "fast"),
        )


def _check_tiny_decoder(hub_files: registry.HubFiles, model: registry.ResolvedModel) -> None:
    tiny, config = diffusers_folder.read_optional_config(hub_files.folder / "config.json"), _vae_config(model)
    factor = tiny.get("upsampling_scaling_factor", 2) ** (len(tiny.get("decoder_block_out_channels", (0,) * 4)) - 1)
    if factor != 2 ** (len(config.get("block_out_channels", (0,) * 4)) - 1):
        raise _latent_mismatch_error(model)


def _latent_mismatch_error(model: registry.ResolvedModel) -> UsageError:
    return UsageError(
        f"--fast tiny-decoder cannot decode the latents of '{model.name}': their format differs.",
        "Remove tiny-decoder from --fast.",
        settings=("fast",),
    )


def _vae_config(model: registry.ResolvedModel) -> dict[str, Any]:
    """Return the configuration of the model's VAE; empty for a single file, whose VAE is the standard one."""
    return {} if model.is_file else diffusers_folder.read_optional_config(model.path / "vae" / "config.json")
