"""Read the description of a model from the API of Civitai, and select a file. Every answer is validated.

API: https://developer.civitai.com/site/reference/models and .../model-versions
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from artgen.errors import ModelUnavailableError
from artgen.registry.hub import client
from artgen.registry.hub.client import MAX_LISTING_BYTES, RETRY_STATUS_CODES
from artgen.registry.hub.network_settings import check_token, headers_with_token
from artgen.registry.hub.transfer import Answer, Server, TransientError, open_answer, read_body
from artgen.registry.model_folders import Kind
from artgen.registry.web.addresses import CIVITAI_ENDPOINT, CivitaiSource, civitai_endpoint
from artgen.registry.web.civitai_files import CivitaiFile, select_file, text_of, whole_number, words_of
from artgen.spec import shared_config
from artgen.system.external_data import parse_json

KINDS: Mapping[str, Kind] = {
    "checkpoint": "model",
    "lora": "lora",
    "locon": "lora",
    "dora": "lora",
    "vae": "vae",
    "textualinversion": "embedding",
    "controlnet": "controlnet",
    "upscaler": "upscaler",
}
"""Kind of each type of Civitai, in lower case."""
MAX_LISTED_VERSIONS = 8
TOKEN_HINT = "Create an API key at https://civitai.com/user/account, and set CIVITAI_TOKEN to it."


@dataclass(frozen=True)
class CivitaiModel:
    """Describe a version of a model, with the file to download.

    Attributes:
        model: number of the model.
        version: number of the version.
        kind: kind of the files.
        details: fields of the description next to the file: `name`, `base_model`, `license`, `trigger_words`, ...
        file: selected file.
        notes: sentences for the user.
    """

    model: int
    version: int
    kind: Kind
    details: Mapping[str, Any]
    file: CivitaiFile
    notes: tuple[str, ...]


def server() -> Server:
    """Return the description of Civitai for messages."""
    return Server(f"Civitai at {civitai_endpoint()}", "Check CIVITAI_ENDPOINT.", needs_encryption=True)


def headers(url: str) -> dict[str, str]:
    """Return the headers of a request. Only Civitai itself receives the access token.

    Raises:
        UsageError: the access token is not valid.
    """
    own, other = urlsplit(civitai_endpoint()), urlsplit(url)
    is_own = (own.scheme, own.hostname, own.port) == (other.scheme, other.hostname, other.port)
    return headers_with_token(access_token() if is_own else None)


def access_token() -> str | None:
    """Return the user's access token: `CIVITAI_TOKEN`, else the setting `civitai_token`.

    Raises:
        UsageError: the token cannot be part of an HTTP header.
    """
    if text := os.environ.get("CIVITAI_TOKEN", "").strip():
        return check_token("CIVITAI_TOKEN", text, TOKEN_HINT)
    text = shared_config.civitai_token() or ""
    return check_token("The setting civitai_token", text, TOKEN_HINT) if text else None


def fetch_model(source: CivitaiSource) -> CivitaiModel:
    """Fetch the description of a model, and select its version and its file.

    Raises:
        ModelUnavailableError: the model or the version is unknown, has no file that artgen reads, or Civitai cannot be
            reached or sends an answer that is not valid.
        RefusedError: the version contains only pickles, or a scan found malicious code.
        UsageError: the access token is not valid.
    """
    try:
        model_id = source.model
        if model_id is None:
            model_id = whole_number(_fetch(f"model-versions/{source.version}", source)["modelId"])
        answer = _fetch(f"models/{model_id}", source)
        versions = [version for version in answer["modelVersions"] if isinstance(version, dict)]
        model_name = text_of(answer.get("name")) or str(model_id)
        version = _select_version(source, model_name, versions)
        return _describe(source, model_id, answer, version)
    except (KeyError, TypeError, ValueError):
        raise ModelUnavailableError(
            f"Cannot read '{source.name}': the answer of {server().name} is not valid.", server().hint
        ) from None


def _fetch(path: str, source: CivitaiSource) -> dict[str, Any]:
    url = f"{civitai_endpoint()}/api/v1/{path}"

    def fetch() -> Any:
        with open_answer(url, headers(url), server(), other_hosts=False) as answer:
            check_status(answer, source.name)
            return parse_json(read_body(answer, MAX_LISTING_BYTES))

    table = client.retry(fetch, server())
    if not isinstance(table, dict):
        raise TypeError(type(table))
    return table


def check_status(answer: Answer, name: str) -> None:
    """Convert an error status of Civitai to an error.

    Raises:
        TransientError: Civitai is busy.
        ModelUnavailableError: all other errors.
    """
    status = answer.status
    if status in (200, 206):
        return
    if status in RETRY_STATUS_CODES:
        raise TransientError(f"it returns status {status}")
    if status == 416:
        raise TransientError("it has no more bytes of the file")
    if status in (401, 403):
        if access_token():
            raise ModelUnavailableError(
                f"Cannot download '{name}': Civitai does not accept your access token for it (status {status}).",
                "The token is wrong, or the model is in early access or private: see its page.",
            )
        raise ModelUnavailableError(
            f"Cannot download '{name}': Civitai requires that you log in (status {status}).", TOKEN_HINT
        )
    if status in (400, 404, 410):
        raise ModelUnavailableError(f"Cannot find '{name}' on Civitai.", "Copy the address of the model's page.")
    raise ModelUnavailableError(f"{answer.server.name} returns status {status} for '{name}'.", "Try again later.")


def _select_version(source: CivitaiSource, model_name: str, versions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    if not versions:
        raise ModelUnavailableError(f"'{source.name}' ({model_name}) has no published version.", "See its page.")
    if source.version is None:
        return versions[0]
    by_id = [version for version in versions if str(version.get("id")) == source.version]
    by_name = [version for version in versions if text_of(version.get("name")).lower() == source.version.lower()]
    if matches := by_id or by_name:
        return matches[0]
    listed = [f"{version.get('id')} ({text_of(version.get('name'))})" for version in versions[:MAX_LISTED_VERSIONS]]
    more = f" and {len(versions) - MAX_LISTED_VERSIONS} more" if len(versions) > MAX_LISTED_VERSIONS else ""
    raise ModelUnavailableError(
        f"'{model_name}' (civitai:{source.model}) has no version '{source.version}'.",
        f"Its versions: {', '.join(listed)}{more}.",
    )


def _describe(
    source: CivitaiSource, model_id: int, answer: Mapping[str, Any], version: Mapping[str, Any]
) -> CivitaiModel:
    version_id, model_type = whole_number(version["id"]), text_of(answer.get("type"))
    name, version_name = text_of(answer.get("name")) or str(model_id), text_of(version.get("name"))
    kind = KINDS.get(model_type.lower())
    if kind is None:
        raise ModelUnavailableError(
            f"Cannot use '{name}' (civitai:{model_id}): its type is '{model_type}'.",
            "artgen uses checkpoints, LoRAs, VAEs, embeddings, ControlNets and upscalers.",
        )
    if text_of(version.get("usageControl")) not in ("", "Download"):
        raise ModelUnavailableError(
            f"Cannot download '{name}' (civitai:{model_id}@{version_id}): its creator allows only use on the website.",
            "Choose another model.",
        )
    base_model = text_of(version.get("baseModel"))
    notes = [f"{name}, version {version_name or version_id}: {model_type} for {base_model or 'an unknown base model'}."]
    if text_of(version.get("availability")) == "EarlyAccess":
        end = text_of(version.get("earlyAccessEndsAt"))[:10]
        until = f" until {end}" if end else ""
        notes.append(f"The version is in early access{until}. Only some accounts can download it.")
    file, note = select_file(source, f"civitai:{model_id}@{version_id}", version)
    creator = answer.get("creator")
    details = {
        "name": name,
        "version": version_name,
        "type": model_type,
        "base_model": base_model,
        "creator": text_of(creator.get("username")) if isinstance(creator, dict) else "",
        "license": license_text(answer),
        "trigger_words": words_of(version.get("trainedWords")),
        "description": f"{name} {version_name}".strip(),
        "source": f"civitai:{model_id}@{version_id}",
        "page": f"{CIVITAI_ENDPOINT}/models/{model_id}?modelVersionId={version_id}",
    }
    return CivitaiModel(model_id, version_id, kind, details, file, (*notes, *note))


def license_text(answer: Mapping[str, Any]) -> str:
    """Return the permissions of a model as one text; the license of the base model applies too."""
    commercial = answer.get("allowCommercialUse")
    if isinstance(commercial, str):  # such as "{Image,Rent}" in older answers
        commercial = re.findall(r"\w+", commercial)
    parts = ["commercial use: unknown"]
    if isinstance(commercial, list):
        uses = [text_of(use) for use in commercial[:8] if text_of(use) not in ("", "None")]
        parts = [f"commercial use: {', '.join(uses) or 'no'}"]
    if answer.get("allowNoCredit") is False:
        parts.append("credit required")
    if answer.get("allowDerivatives") is False:
        parts.append("no derivatives")
    if answer.get("allowDifferentLicense") is False:
        parts.append("derivatives: same permissions")
    return f"Civitai ({'; '.join(parts)})"
