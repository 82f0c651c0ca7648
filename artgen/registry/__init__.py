"""The models artgen knows and finds: names to files, defaults, checks. Imports no torch and opens no connection itself.

The story: `parse` says what a name means, `resolve` finds or downloads it, `check` looks for damage before anything
slow, `verify` computes hashes, `single_file_config` lends single checkpoints the configuration files they lack.
"""

from artgen.registry.cards import ModelInfo, known_models, remove_alias, set_alias, user_aliases_path
from artgen.registry.checking import FileCheck, check_model_files, verify_model_files
from artgen.registry.configs import single_file_config
from artgen.registry.demands import VAE_TILE_PX, estimate_memory
from artgen.registry.folders import read_scheduler_config
from artgen.registry.hashes import file_hash
from artgen.registry.models import ResolvedModel
from artgen.registry.parts import HubFiles, fetch_hub_files
from artgen.registry.references import ModelReference, parse_reference
from artgen.registry.resolving import find_local_model, resolve_model

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
