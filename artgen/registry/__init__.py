"""The models artgen knows and finds: names to files, defaults, checks. Imports no torch and opens no connection itself.

The story: `parse` says what a name means, `resolve` finds or downloads it, `check` looks for damage before anything
slow, `verify` computes hashes, `single_file_config` lends single checkpoints the configuration files they lack.
"""

from artgen.registry.aliases import remove_alias, set_alias
from artgen.registry.catalog import ModelInfo, known_models, user_aliases_path
from artgen.registry.diffusers_folder import read_scheduler_config
from artgen.registry.extras import HubFiles, fetch_hub_files
from artgen.registry.hashes import file_hash
from artgen.registry.memory import VAE_TILE_PX, estimate_memory
from artgen.registry.references import ModelReference, parse_reference
from artgen.registry.resolve import find_local_model, resolve_model
from artgen.registry.resolved import ResolvedModel
from artgen.registry.single_file_configs import single_file_config
from artgen.registry.verify import FileCheck, check_model_files, verify_model_files

__all__ = [
    "VAE_TILE_PX",
    "FileCheck",
    "HubFiles",
    "ModelInfo",
    "ModelReference",
    "ResolvedModel",
    "check_model_files",
    "estimate_memory",
    "fetch_hub_files",
    "file_hash",
    "find_local_model",
    "known_models",
    "parse_reference",
    "read_scheduler_config",
    "remove_alias",
    "resolve_model",
    "set_alias",
    "single_file_config",
    "user_aliases_path",
    "verify_model_files",
]
