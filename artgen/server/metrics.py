"""Measure the server, and serve the measurements in the text format of Prometheus."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from artgen.system import hardware

if TYPE_CHECKING:
    from artgen.server.job_queue import JobQueue, ServerJob

IMAGE_SECONDS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
"""Upper limits of the buckets of the seconds per image."""


class Metrics:
    """Count the jobs and images of a queue. Each server has its own registry."""

    def __init__(self, queue: "JobQueue") -> None:
        """Create the metrics, and observe the queue."""
        self.registry = CollectorRegistry(auto_describe=True)
        self._jobs = Counter("artgen_jobs", "Ended jobs by final state.", ["state"], registry=self.registry)
        self._errors = Counter("artgen_errors", "Failed jobs by type of the error.", ["type"], registry=self.registry)
        self._seconds = Histogram(
            "artgen_image_seconds",
            "Seconds per image, without the loading of the model.",
            buckets=IMAGE_SECONDS,
            registry=self.registry,
        )
        self.responses = Counter(
            "artgen_http_responses", "HTTP responses by status code.", ["status"], registry=self.registry
        )
        self.registry.register(_QueueCollector(queue))
        queue.on_image = self._seconds.observe
        queue.on_end = self._count_job

    def _count_job(self, job: "ServerJob") -> None:
        self._jobs.labels(job.state).inc()
        if job.error is not None:
            self._errors.labels(type(job.error).__name__).inc()

    def text(self) -> bytes:
        """Return all metrics in the text format."""
        return generate_latest(self.registry)


class _QueueCollector(Collector):
    """Read the present state of the queue and of the process."""

    def __init__(self, queue: "JobQueue") -> None:
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        from artgen.engine.loading import loaded_models

        queue = self._queue
        yield GaugeMetricFamily("artgen_queue_depth", "Waiting jobs.", value=queue.depth)
        yield GaugeMetricFamily("artgen_running_jobs", "Running jobs.", value=int(queue.current is not None))
        yield GaugeMetricFamily("artgen_result_bytes", "Size of the kept images.", value=queue.result_bytes)
        models = loaded_models.loaded_models()
        yield GaugeMetricFamily("artgen_loaded_models", "Loaded models.", value=len(models))
        nbytes = sum(each.nbytes for each in models)
        yield GaugeMetricFamily("artgen_model_bytes", "Size of the tensors of the loaded models.", value=nbytes)
        memory = hardware.resident_bytes()
        if memory is not None:
            yield GaugeMetricFamily("artgen_memory_bytes", "Main memory of the process.", value=memory)


def routes() -> list[BaseRoute]:
    """Return the route of the metrics."""
    return [Route("/metrics", show_metrics)]


async def show_metrics(request: Request) -> Response:
    """Return all metrics."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)
