"""Define and validate anomaly requests (torch-free)."""

from artgen.jobs.anomaly.fit_file import AnomalyConfig, FitHeader, min_normal_images, read_fit_header
from artgen.jobs.anomaly.images import load_input_image, read_image_sizes
from artgen.jobs.anomaly.prepare import AnomalyJob, prepare_anomaly_job
from artgen.jobs.anomaly.request import Anomaly

__all__ = [
    "Anomaly",
    "AnomalyConfig",
    "AnomalyJob",
    "FitHeader",
    "load_input_image",
    "min_normal_images",
    "prepare_anomaly_job",
    "read_fit_header",
    "read_image_sizes",
]
