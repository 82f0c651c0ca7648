"""Find the license of a model: in the catalog, in the files of the model, or in the description of a download."""

import re
from pathlib import Path

from artgen.registry.license_terms import UNKNOWN_NAMES
from artgen.registry.resolved import ResolvedModel
from artgen.registry.web.store import read_description
from artgen.system.external_data import read_optional

MAX_CARD_BYTES = 1 << 20

_FIELD = re.compile(r"^(license|license_name): *['\"]?([^'\"\r\n#]{1,100})", re.MULTILINE)


def model_license(model: ResolvedModel) -> str:
    """Return the license of a model, as the catalog, its files or Civitai state it; empty if none of them does."""
    if model.license.lower() not in UNKNOWN_NAMES:
        return model.license
    return license_of_file(model.path) if model.is_file else license_of_card(model.path)


def license_of_file(path: Path) -> str:
    """Return the license in the description of a downloaded file; empty if it has none."""
    text = read_description(path).get("license")
    return text if isinstance(text, str) else ""


def license_of_card(folder: Path) -> str:
    """Return the license in the header of a README of the hub; empty if the folder has no such file."""
    text = (read_optional(folder / "README.md", MAX_CARD_BYTES) or b"").decode("utf-8", "replace")
    header = re.match(r"---\r?\n(.*?)\n---", text, re.DOTALL)
    if header is None:
        return ""
    fields = {match[1]: match[2].strip() for match in _FIELD.finditer(header[1])}
    name = fields.get("license", "")
    return fields.get("license_name", name) if name == "other" else name
