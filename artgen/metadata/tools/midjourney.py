"""Read the description of Midjourney images: `PROMPT --ar 2:3 --v 6 Job ID: UUID`. sd-parsers does not read it."""

import re
from collections.abc import Mapping

from artgen.metadata.external_record import ExternalRecord, valid_fields
from artgen.metadata.features import make_feature

_JOB_ID = re.compile(r"\s*Job ID: ([0-9a-fA-F-]{36})\s*$")
_OPTION = re.compile(r"\s--([a-z]{1,20})\b ?")
_NAMES = ("Description", "ImageDescription", "xmp:description")
_KNOWN = {"v", "ar", "aspect", "s", "stylize", "style", "chaos", "c", "q", "quality", "niji", "seed", "no", "iw", "raw",
          "version", "weird", "tile", "stop", "sref", "cref", "profile", "personalize", "p"}  # fmt: skip
MAX_DESCRIPTION_CHARS = 20_000


def read_midjourney(texts: Mapping[str, str]) -> ExternalRecord | None:
    """Return the record; None if no description has the ID of a job of Midjourney, or two of its options."""
    for name in _NAMES:
        text = texts.get(name, "")[:MAX_DESCRIPTION_CHARS]
        job = _JOB_ID.search(text[-80:])
        body = text[: -len(job[0])] if job else text
        parts = _OPTION.split(f" {body}")
        options = dict(zip(parts[1::2], (value.strip() for value in parts[2::2]), strict=True))
        if not job and len(_KNOWN & options.keys()) < 2:
            continue
        values = {
            "prompt": parts[0].strip(),
            "negative_prompt": options.pop("no", None),
            "seed": options.pop("seed", None),
        }
        fields, rejected = valid_fields(values | {"prompt_weights": "none", "model": "Midjourney"})
        features = tuple(make_feature(f"--{option}", value) for option, value in options.items())
        other = {"Job ID": job[1]} if job else {}
        return ExternalRecord("midjourney", fields, (), (), features, other | rejected)
    return None
