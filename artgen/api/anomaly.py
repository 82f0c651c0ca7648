"""Score how anomalous images are."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from artgen.api.arguments import api_function
from artgen.api.call import start_call
from artgen.api.image_lists import image_files, is_single_image
from artgen.api.keyword_types import AnomalyKeywords
from artgen.errors import OutputError, UsageError
from artgen.spec.python_values import path_text

if TYPE_CHECKING:
    from artgen.api.image_lists import ImagesInput
    from artgen.engine.anomaly.result import AnomalyResult
    from artgen.jobs.anomaly import Anomaly

_OVERWRITE_HINT = "Choose another name, or add overwrite=True."


@api_function("anomaly")
def anomaly(
    images: "ImagesInput | None" = None, **settings: Unpack[AnomalyKeywords]
) -> "AnomalyResult | list[AnomalyResult]":
    """Score how anomalous images are, and locate anomalous regions.

    Noise of several levels is added to the image, and a diffusion model denoises it. The score is the difference
    between the image and its reconstructions. With `fit`, the score of normal images gives a p-value and a verdict. One
    image gives one result; several images or a folder give a list, the most anomalous image first. All images are read
    before a model is loaded.

    Args:
        images: path, folder, PIL image, array or result, or a list of them. None: only write the file `save_fit`.

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: A value, an image or the model is invalid.
        NonFiniteError: The model produced NaN or infinity.
        OutputError: The file `save_fit` exists already, or cannot be written.
    """
    with start_call("anomaly", settings) as call:
        from artgen.jobs import anomaly as anomaly_jobs

        if images is None and "save_fit" not in call.values:
            raise UsageError(
                "Cannot run anomaly: an input image, or fit with save_fit, is missing.", "artgen.anomaly('fox.png')"
            )
        save_fit, overwrite = call.values.pop("save_fit", None), call.values.pop("overwrite", False)
        request = anomaly_jobs.Anomaly(**call.values)
        fit_file = (
            None if save_fit is None else check_fit_file(path_text(save_fit, "save_fit"), request, overwrite=overwrite)
        )
        files = [] if images is None else image_files(images, call.listener.add_note)
        sizes = {file: anomaly_jobs.load_input_image(file).image.size for file in files}
        job = anomaly_jobs.prepare_anomaly_job(request, call.listener)
        for file, size in sizes.items():
            job.check_size(file, size)
        from artgen.engine.anomaly.detector import AnomalyDetector, load_fit
        from artgen.outputs import write_user_file

        detector = AnomalyDetector(job, call.listener)
        normal = detector.fit() if job.normal_paths else load_fit(job)
        if fit_file is not None and normal is not None:
            write_user_file(fit_file, normal.to_safetensors(), overwrite=overwrite, hint=_OVERWRITE_HINT)
        results = [detector.score(file, normal, number, len(files)) for number, file in enumerate(files, 1)]
    if images is not None and is_single_image(images):
        return results[0]
    return sorted(results, key=lambda result: -result.score)


def check_fit_file(text: str, request: "Anomaly", *, overwrite: bool) -> Path:
    """Return the path of the file of statistics, before images are read.

    Raises:
        UsageError: the request has no folder of normal images, or the suffix is not .safetensors.
        OutputError: the file exists already.
    """
    from artgen.outputs import path_of_file_option

    path = path_of_file_option(text, "fit.safetensors", "save_fit")
    if request.fit is None or not os.path.isdir(request.fit):  # noqa: PTH112 - Path.is_dir raises for long names
        raise UsageError("Cannot use save_fit without a folder of normal images.", "Add fit='normal/'.")
    if path.suffix != ".safetensors":
        raise UsageError(
            f"Cannot save the fit to '{path}': the suffix must be .safetensors.", "save_fit='normal.safetensors'"
        )
    if path.exists() and not overwrite:
        raise OutputError(f"'{path}' exists already.", _OVERWRITE_HINT)
    return path
