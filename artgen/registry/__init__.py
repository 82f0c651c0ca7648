"""The models artgen knows and finds: names to files, defaults, checks. Imports no torch and opens no connection itself.

The story: `parse` says what a name means, `resolve` finds or downloads it, `check` looks for damage before anything
slow, `verify` computes hashes, `single_file_config` lends single checkpoints the configuration files they lack.
"""

from artgen.registry.cards import ModelCard, aliases, remove_alias, set_alias, user_aliases_path
from artgen.registry.checking import Finding, check, verify
from artgen.registry.configs import single_file_config
from artgen.registry.demands import TILE, demand
from artgen.registry.folders import read_scheduler
from artgen.registry.hashes import file_hash
from artgen.registry.models import ResolvedModel
from artgen.registry.parts import Part, find_part
from artgen.registry.references import Reference, parse
from artgen.registry.resolving import find, resolve

__all__ = [
    "TILE",
    "Finding",
    "ModelCard",
    "Part",
    "Reference",
    "ResolvedModel",
    "aliases",
    "check",
    "demand",
    "file_hash",
    "find",
    "find_part",
    "parse",
    "read_scheduler",
    "remove_alias",
    "resolve",
    "set_alias",
    "single_file_config",
    "user_aliases_path",
    "verify",
]
