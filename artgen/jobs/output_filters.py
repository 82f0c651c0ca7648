"""Apply output filters to requests: check the words of the prompts, find the classifiers, and check the model.

Everything that can be refused without an image is refused here, before weights are read.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from artgen.errors import ArtgenError, FilteredError, ModelUnavailableError, UsageError
from artgen.events import Listener, note_listener
from artgen.registry.diffusers_folder import read_model_index
from artgen.registry.filter_models import FilterModel, resolve_filter_model
from artgen.registry.resolved import ResolvedModel
from artgen.spec.base_requests import Request
from artgen.spec.filter_policies import NO_FILTER, FilterPolicy
from artgen.spec.prompt_filter import check_words
from artgen.spec.requests import Sample
from artgen.spec.selected_filters import SelectedFilters, effective_names, find_filters

if TYPE_CHECKING:
    from artgen.jobs.drafts import JobDraft

RECORD_FIELD = "filter_results"
"""Field of a record with the results of the filters."""


@dataclass(frozen=True)
class JobFilters:
    """Store the output filters of a job.

    Attributes:
        policies: selected policies.
        models: classifiers of the policies that have one.
        results: results of the word lists, for the record.
        notes: notes about words of policies whose action is `note`.
        refusal: reason why the prompt is refused; None if it is not.
        uses_checker: a policy uses the safety checker of the model, which has one.
    """

    policies: tuple[FilterPolicy, ...] = ()
    models: tuple[FilterModel, ...] = ()
    results: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refusal: FilteredError | None = None
    uses_checker: bool = False

    @property
    def checks_pixels(self) -> bool:
        """Return whether a classifier checks the finished image."""
        return bool(self.models)

    @property
    def refuses_images(self) -> bool:
        """Return whether a filter can refuse a finished image."""
        return any(model.policy.refuses for model in self.models) or (self.uses_checker and self.checker_refuses)

    @property
    def checker_policies(self) -> tuple[FilterPolicy, ...]:
        """Return the policies that use the safety checker of the model."""
        return tuple(each for each in self.policies if each.safety_checker)

    @property
    def checker_refuses(self) -> bool:
        """Return whether an image is refused that the safety checker of the model flags."""
        return not self.uses_checker or any(each.refuses for each in self.checker_policies)

    def checker_results(self, *, is_flagged: bool) -> list[str]:
        """Return the results of the model's safety checker for the record; empty if no policy uses it."""
        used = self.checker_policies if self.uses_checker else ()
        return [f"{each.name} safety_checker: {'noted' if is_flagged else 'passed'}" for each in used]


class FilterCache:
    """Find the filters of requests. Several requests share policies and classifiers."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._models: dict[tuple[FilterPolicy, bool], FilterModel] = {}

    def check_prompts(self, requests: Sequence[Request]) -> "list[JobDraft]":
        """Return a draft of each request with its filters and the results of the word lists.

        Raises:
            UsageError: a policy is unknown.
            InputFileError: a configuration file or a word list is not valid.
            FilteredError: the prompts of all requests are refused.
        """
        from artgen.jobs.drafts import JobDraft

        found: dict[tuple[str, ...], SelectedFilters] = {}
        drafts = []
        for request in requests:
            if request.filter not in found:
                found[request.filter] = find_filters(effective_names(request.filter))
            if selected := found[request.filter]:
                # Another machine of a batch can have another configuration.
                found_words = check_words(request, selected)
                policies = tuple(policy for policy, _ in selected.values())
                filters = JobFilters(policies, (), found_words.results, found_words.notes, found_words.refusal)
                drafts.append(JobDraft(request.replace(filter=tuple(selected)), filters=filters))
            else:
                drafts.append(JobDraft(request))
        refusals = [each.filters.refusal for each in drafts if each.filters.refusal is not None]
        if refusals and len(refusals) == len(drafts):
            raise refusals[0]
        return drafts

    def add_to(self, draft: "JobDraft") -> "JobDraft":
        """Return the draft with the classifiers of its filters, after a check of its model. Others are unchanged.

        Raises:
            UsageError: the safety checker is switched off, or the classifier does not have a label.
            ModelUnavailableError: the model has no safety checker, or a classifier cannot be used.
            RefusedError: see `resolve_filter_model`.
        """
        filters, model = draft.filters, draft.entry.model
        if not filters.policies:
            return draft
        used = [self._find(policy, draft.request.offline) for policy in filters.policies if policy.filter_model]
        uses_checker = _uses_checker(filters, draft.request, model, has_classifier=bool(used))
        notes = tuple(filter(None, (each.download_note for each in used)))
        filters = replace(filters, models=tuple(used), uses_checker=uses_checker)
        return replace(draft, filters=filters, notes=(*draft.notes, *notes))

    @property
    def has_previews(self) -> bool:
        """Return whether the files of a classifier are not on the disk."""
        return any(model.download_bytes for model in self._models.values())

    def download(self) -> None:
        """Download the classifiers whose files are not on the disk."""
        for (policy, offline), model in self._models.items():
            if model.download_bytes:
                found = resolve_filter_model(policy, offline=offline, listener=self._listener)
                self._models[policy, offline] = found

    def _find(self, policy: FilterPolicy, offline: bool) -> FilterModel:
        key = policy, offline
        if key not in self._models:
            self._models[key] = resolve_filter_model(policy, offline=offline, download=False, listener=self._listener)
        return self._models[key]


NO_FILTERS = JobFilters()


def prepare_filters(typed: Iterable[str], on_note: Callable[[str], object]) -> tuple[str, ...]:
    """Check the filters of a server before it starts, and download their classifiers.

    Args:
        typed: names of the filters; empty: the filters of the configuration.
        on_note: receives notes.

    Returns:
        The names of the filters of all requests; `none` if no filter is used.

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: a filter cannot be used.
    """
    names = effective_names(typed)
    for policy, _ in find_filters(names).values():
        if policy.filter_model:
            resolve_filter_model(policy, listener=note_listener(on_note))
    return names or (NO_FILTER,)


def filtered_error(policy: FilterPolicy, reason: str, hint: str) -> FilteredError:
    """Return the error for an image that a policy refuses."""
    return FilteredError(f"The filter '{policy.name}' refused the image: {reason}.", hint)


def with_results(record: dict[str, Any], filters: JobFilters, more: Iterable[str] = ()) -> dict[str, Any]:
    """Return the record of an image with the results of all filters."""
    results = [*filters.results, *record.get(RECORD_FIELD, ()), *more]
    return {**record, RECORD_FIELD: results} if results else record


def _uses_checker(filters: JobFilters, request: Request, model: ResolvedModel | None, *, has_classifier: bool) -> bool:
    """Return whether the safety checker of the model runs because of a policy.

    Raises:
        UsageError: the request switches the safety checker off.
        ModelUnavailableError: the model has no safety checker.
    """
    policies = filters.checker_policies
    is_generated = hasattr(request, "safety_checker") or isinstance(request, Sample)
    if not policies or model is None or not is_generated:  # an image is only enlarged or denoised
        return False
    if not getattr(request, "safety_checker", True):
        raise UsageError(
            f"Cannot combine --no-safety-checker and the filter '{policies[0].name}', which uses the safety checker.",
            "Remove --no-safety-checker.",
            settings=("safety_checker",),
        )
    if has_safety_checker(model):
        return True
    required = next((each for each in policies if not each.is_strict), None)
    is_bundled = model.revision is None and not model.is_local
    if required is None and (has_classifier or is_bundled):
        return False
    raise _no_checker_error(required or policies[0], model)


def _no_checker_error(policy: FilterPolicy, model: ResolvedModel) -> ArtgenError:
    hint = "Use another --model, or a filter with a filter_model."
    if policy.is_strict:
        hint = f"Add a filter with a filter_model: --filter {policy.name},NAME. docs/filters.md shows an example."
    return ModelUnavailableError(
        f"Cannot use '{model.name}' with the filter '{policy.name}': the model has no safety checker.", hint
    )


def has_safety_checker(model: ResolvedModel) -> bool:
    """Return whether the pipeline of a model has a safety checker. A single file has no safety checker."""
    if model.is_file:
        return False
    entry = read_model_index(model.path, model.omitted).get("safety_checker")
    return isinstance(entry, list) and all(isinstance(each, str) for each in entry)
