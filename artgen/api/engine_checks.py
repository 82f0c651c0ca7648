"""Run the checks of the engine that need no weights, for dry runs and for batches."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from artgen.events import Listener, no_op

if TYPE_CHECKING:
    from artgen.engine.check_requests import RequestChecker
    from artgen.jobs.job import Job
    from artgen.registry import ResolvedModel


def create_checker(listener: Listener = no_op) -> "RequestChecker":
    """Import the engine, and return a checker; see `artgen.engine.check_requests`."""
    from artgen.engine import fast_import

    fast_import.import_engine()
    from artgen.engine.check_requests import RequestChecker

    return RequestChecker(listener)


def check_jobs(jobs: "Sequence[Job]", listener: Listener) -> None:
    """Check prepared jobs.

    Raises:
        UsageError, ModelUnavailableError: a job cannot run.
    """
    from artgen.engine.select_engine import needs_torch

    if not any(map(needs_torch, jobs)):
        return
    create_checker(listener)
    from artgen.engine import check_requests

    check_requests.check_jobs(jobs, listener)


def check_model(model: "ResolvedModel | None") -> None:
    """Check that a model can be loaded; do nothing for None.

    Raises:
        ModelUnavailableError: the model cannot be loaded.
    """
    if model is not None:
        create_checker()
        from artgen.engine.loading import pipeline_cache

        pipeline_cache.check_loadable(model)
