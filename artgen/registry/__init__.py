"""Find models by name, describe them, and check their files. Torch-free; the network is used only to download.

`parse_reference` interprets a name. `resolve_model` finds or downloads the model. `check_model_files` detects damaged
and unsafe files before slow work, and `verify_model_files` computes hashes. `single_file_config` provides the
configuration files that single checkpoints lack.
"""

from typing import TYPE_CHECKING

from artgen.lazy_imports import lazy_names

if TYPE_CHECKING:
    from artgen.registry.aliases import remove_alias, set_alias
    from artgen.registry.catalog import ModelInfo, known_models, listed_models, user_aliases_path
    from artgen.registry.default_selection import default_model, edit_model
    from artgen.registry.diffusers_folder import read_scheduler_config
    from artgen.registry.extras import HubFiles, fetch_hub_files
    from artgen.registry.hashes import file_hash
    from artgen.registry.location_index import save_location
    from artgen.registry.memory import VAE_TILE_PX, catalog_peak_bytes, estimate_memory, position_limit_px
    from artgen.registry.references import ModelReference, parse_reference, recorded_model_name
    from artgen.registry.resolve import (
        download_model,
        find_local_model,
        find_models_by_hash,
        resolve_model,
        resolve_reference,
        resolve_usable_model,
    )
    from artgen.registry.resolved import ResolvedModel, SingleFile, VaeFile
    from artgen.registry.single_file_configs import single_file_config
    from artgen.registry.vae import find_vaes_by_hash, resolve_vae
    from artgen.registry.verify import FileCheck, check_model_files, verify_model_files

BUNDLED_MODEL = "tiny"
"""Name of the model that is part of the package."""

__all__ = [
    "BUNDLED_MODEL",
    "VAE_TILE_PX",
    "FileCheck",
    "HubFiles",
    "ModelInfo",
    "ModelReference",
    "ResolvedModel",
    "SingleFile",
    "VaeFile",
    "catalog_peak_bytes",
    "check_model_files",
    "default_model",
    "download_model",
    "edit_model",
    "estimate_memory",
    "fetch_hub_files",
    "file_hash",
    "find_local_model",
    "find_models_by_hash",
    "find_vaes_by_hash",
    "known_models",
    "listed_models",
    "parse_reference",
    "position_limit_px",
    "read_scheduler_config",
    "recorded_model_name",
    "remove_alias",
    "resolve_model",
    "resolve_reference",
    "resolve_usable_model",
    "resolve_vae",
    "save_location",
    "set_alias",
    "single_file_config",
    "user_aliases_path",
    "verify_model_files",
]

_MODULES = {
    "aliases": ("remove_alias", "set_alias"),
    "catalog": ("ModelInfo", "known_models", "listed_models", "user_aliases_path"),
    "default_selection": ("default_model", "edit_model"),
    "diffusers_folder": ("read_scheduler_config",),
    "extras": ("HubFiles", "fetch_hub_files"),
    "hashes": ("file_hash",),
    "location_index": ("save_location",),
    "memory": ("VAE_TILE_PX", "catalog_peak_bytes", "estimate_memory", "position_limit_px"),
    "references": ("ModelReference", "parse_reference", "recorded_model_name"),
    "resolve": (
        "download_model",
        "find_local_model",
        "find_models_by_hash",
        "resolve_model",
        "resolve_reference",
        "resolve_usable_model",
    ),
    "resolved": ("ResolvedModel", "SingleFile", "VaeFile"),
    "single_file_configs": ("single_file_config",),
    "vae": ("find_vaes_by_hash", "resolve_vae"),
    "verify": ("FileCheck", "check_model_files", "verify_model_files"),
}
"""Names of each module, which is imported when the first of the names is used."""

__getattr__ = lazy_names(__name__, _MODULES)
