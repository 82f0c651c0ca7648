"""Test revisions of the default mask models and preprocessors: weights that only some revisions have."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import hub_server
import pytest
from safetensors_files import filled_bytes

from artgen.errors import ModelUnavailableError
from artgen.registry import mask_models, preprocessors
from artgen.registry.control_nets import net_entries
from artgen.registry.hub import cache, client
from artgen.registry.image_prompts import adapter
from artgen.registry.mask_models import mask_model_entries, resolve_mask_model

PINNED = hub_server.OTHER_COMMIT
PULL_REQUEST = "refs/pr/6"
WEIGHTS = "model.safetensors"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    """Run a hub with CLIPSeg, whose revisions are searched in the order PINNED, main, PULL_REQUEST."""
    entry = mask_model_entries()["clipseg"]
    entry = replace(entry, source="owner/tiny", revisions=(PINNED, "main", PULL_REQUEST))
    monkeypatch.setattr(mask_models, "mask_model_entries", lambda: MappingProxyType({"clipseg": entry}))
    monkeypatch.setattr(client, "sleep", lambda seconds: None)
    files = {name: json.dumps({"model_type": "clipseg", "name": name}).encode() for name in entry.files}
    files |= {WEIGHTS: filled_bytes({"a": (2,)}), "pytorch_model.bin": b"pickle"}
    with hub_server.serve(hub_server.Hub(files)) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.mark.parametrize("revision", [PINNED, "main", PULL_REQUEST])
def test_first_revision_with_safetensors_weights_is_downloaded(hub: hub_server.Hub, revision: str) -> None:
    hub.only_at = {WEIGHTS: revision}
    assert resolve_mask_model("clipseg", download=False).download_bytes == 605000000
    assert not hub.requests
    found = resolve_mask_model("clipseg")
    assert found.folder is not None
    assert (found.folder / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert found.provenance() == {"mask_model_source": [f"owner/tiny@{PINNED}"]}
    assert set(hub.downloads()) == set(mask_model_entries()["clipseg"].files)
    hub.requests.clear()
    if revision != PINNED:
        assert (cache.repository_folder("owner/tiny") / "refs" / revision).read_text() == PINNED
    assert resolve_mask_model("clipseg", offline=True) == found
    assert not hub.requests


def test_pickled_weights_are_refused_with_the_commands_that_convert_them(hub: hub_server.Hub) -> None:
    del hub.files[WEIGHTS]
    with pytest.raises(ModelUnavailableError) as caught:
        resolve_mask_model("clipseg")
    assert "does not contain model.safetensors" in caught.value.message
    for text in ("hf download owner/tiny --local-dir FOLDER", "artgen models convert FOLDER", "--mask-model FOLDER"):
        assert text in caught.value.hint
    assert not hub.downloads()


def test_default_weights_were_verified_on_the_hub() -> None:
    """The verified files contain the weights of each entry, except for entries without a public record."""
    listed = [*mask_model_entries().items(), *preprocessors.preprocessor_entries().items()]
    for name, entry in listed:
        assert WEIGHTS in entry.verified, name
    for name, part in (*adapter.adapter_entries().items(), *adapter.encoder_entries().items()):
        file = part.file if isinstance(part, adapter.AdapterEntry) else f"{part.folder}/{WEIGHTS}"
        assert part.verified == (file,), name
    unverified = [name for name, net in net_entries().items() if not net.verified and net.bundled_folder is None]
    assert unverified == ["gray-sd15"]
    for net in net_entries().values():
        assert all(Path(file).suffix == ".safetensors" for file in net.verified)
        assert not net.file or net.verified == (net.file,)
