"""Find the image classifier of an output filter: a hub id, or a folder on the disk."""

from dataclasses import dataclass
from pathlib import Path

from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Listener, no_op
from artgen.registry.extras import cached_hub_files
from artgen.registry.hub import cache as hub_cache
from artgen.registry.hub import client
from artgen.registry.hub.named_files import select_named
from artgen.registry.hub.names import HUB_ID_PATTERN, is_revision
from artgen.registry.model_configs import read_config
from artgen.registry.transformers_models import ListedModel, check_model_folder, fetch_listed, model_files
from artgen.spec.fields import describe_value
from artgen.spec.filter_policies import FilterPolicy
from artgen.system.counts import format_bytes
from artgen.system.files import FileIdentity

FILES = ("config.json", "model.safetensors", "preprocessor_config.json")

_TITLE = "image classifier"
_CLASS_SUFFIX = "ForImageClassification"
_HINT = "filter_model is a hub id (OWNER/NAME) or the folder of an image classifier of transformers."


@dataclass(frozen=True)
class FilterModel:
    """Represent the image classifier of a policy.

    Attributes:
        policy: policy that names the classifier, its labels and the threshold.
        folder: folder with the files; None if they are not downloaded.
        source: hub id or `local`.
        revision: commit of the hub repository; empty for a local model.
        labels: labels of the policy, in the spelling of the classifier.
        is_multi_label: an image can have several labels; otherwise the probabilities of all labels sum to 1.
        download_bytes: size of the missing files in bytes; 0 if all are on the disk.
    """

    policy: FilterPolicy
    folder: Path | None = None
    source: str = "local"
    revision: str = ""
    labels: tuple[str, ...] = ()
    is_multi_label: bool = False
    download_bytes: int = 0

    @property
    def files(self) -> tuple[FileIdentity, ...]:
        """Return the identities of the files of a downloaded model, for the cache of loaded models."""
        return model_files(self.folder)

    @property
    def download_note(self) -> str:
        """Return a sentence about the download that the classifier needs; empty if its files are on the disk."""
        if not self.download_bytes:
            return ""
        size = format_bytes(self.download_bytes)
        return f"The {_TITLE} '{self.source}' (see its page for the license) will be downloaded: about {size}."


def resolve_filter_model(
    policy: FilterPolicy, *, offline: bool = False, download: bool = True, listener: Listener = no_op
) -> FilterModel:
    """Find the classifier of a policy on the disk, or download it, and check that it has the labels of the policy.

    Args:
        policy: policy with a `filter_model`.
        offline: do not use the network.
        download: download missing files; else the result describes them.
        listener: receives the events of downloads.

    Raises:
        UsageError: the name is neither a hub id nor a folder, or a label is unknown.
        ModelUnavailableError: the files are not on the disk and the network is disabled, or it is not a classifier.
        RefusedError: the weights are a pickle, or the configuration contains code.
    """
    typed = policy.filter_model or ""
    if (folder := policy.path(typed)).is_dir():
        check_model_folder(folder, _TITLE, _HINT)
        return _described(FilterModel(policy, folder))
    repo, at, revision = typed.partition("@")
    if not HUB_ID_PATTERN.fullmatch(repo) or (at and not is_revision(revision)):
        raise UsageError(
            f"Cannot use the filter '{policy.name}': its filter_model {describe_value(typed)} is not a folder.", _HINT
        )
    revisions = (revision or "main",)
    listed = ListedModel(source=repo, license="", download_size=0, files=FILES, revisions=revisions)
    if not (offline or hub_cache.is_offline() or cached_hub_files(repo, FILES, revisions)):
        files = select_named(client.fetch_listing(repo, revision or None), FILES)
        size = sum(file.size for file in files)
        if not download:
            return FilterModel(policy, source=repo, download_bytes=size)
        listed = ListedModel(source=repo, license="", download_size=size, files=FILES, revisions=revisions)
    found = fetch_listed(listed, "filter_model =", offline=offline, download=True, listener=listener)
    if found is None:
        raise TypeError("the files of a download have a folder")
    return _described(FilterModel(policy, found, repo, found.name))


def _described(model: FilterModel) -> FilterModel:
    """Return a classifier with its labels, as its configuration defines them."""
    if model.folder is None:
        return model
    policy, config = model.policy, read_config(model.folder / "config.json")
    title = f"Cannot use '{policy.filter_model}' for the filter '{policy.name}'"
    classes = config.get("architectures") or ()
    if not any(str(each).endswith(_CLASS_SUFFIX) for each in classes):
        names = ", ".join(map(str, classes)) or describe_value(config.get("model_type"))
        raise ModelUnavailableError(f"{title}: it is not an {_TITLE}, but {names}.", _HINT)
    if not (model.folder / "preprocessor_config.json").is_file():
        raise ModelUnavailableError(f"{title}: it has no preprocessor_config.json.", _HINT)
    known = config.get("id2label")
    by_name = {str(label).casefold(): str(label) for label in known.values()} if isinstance(known, dict) else {}
    if unknown := [label for label in policy.labels if label.casefold() not in by_name]:
        raise UsageError(
            f"{title}: it does not have the label {describe_value(unknown[0])}.",
            f"Labels: {', '.join(by_name.values()) or 'none'}.",
        )
    is_multi_label = config.get("problem_type") == "multi_label_classification" or len(by_name) == 1
    labels = tuple(dict.fromkeys(by_name[label.casefold()] for label in policy.labels))
    return FilterModel(policy, model.folder, model.source, model.revision, labels, is_multi_label)
