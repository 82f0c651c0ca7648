"""Generate and edit images with diffusion models.

Every command of the command line is also a function::

    import artgen

    image = artgen.txt2img("a red fox in the snow", seed=7)
    image.save("fox.png")

The import of artgen is fast: torch and diffusers are imported when a function first needs them.
"""

TYPE_CHECKING = False  # type checkers treat this name as True; the import of `typing` takes longer than the rest
if TYPE_CHECKING:
    from artgen._version import __version__
    from artgen.api.anomaly import anomaly
    from artgen.api.batch import batch
    from artgen.api.batch_folder import batch_status, verify_batch
    from artgen.api.batch_results import BatchResult, BatchResults, InvalidBatchError
    from artgen.api.cache import CacheEntry, ClearedCache, clear_cache, list_cache
    from artgen.api.control_maps import ControlMap, control_map
    from artgen.api.doctor import DoctorReport, doctor
    from artgen.api.gallery import gallery
    from artgen.api.history_functions import (
        export_history,
        forget_history,
        history_entry,
        history_file,
        import_history,
        rate_history,
        scan_history,
        search_history,
        tag_history,
    )
    from artgen.api.images import denoise, edit, img2img, inpaint, outpaint, sample, txt2img, upscale
    from artgen.api.info import FileInfo, info
    from artgen.api.mask import SelectedMask, mask
    from artgen.api.model_downloads import PulledFile
    from artgen.api.model_functions import (
        convert_model,
        list_models,
        model_path,
        pull_model,
        recommend_models,
        remove_alias,
        remove_model,
        set_alias,
        show_model,
        verify_model,
    )
    from artgen.api.model_lists import ModelDetails
    from artgen.api.model_operations import ModelCard
    from artgen.api.morph import morph
    from artgen.api.morph_frames import Morph
    from artgen.api.noise import noise
    from artgen.api.noise_strip import NoiseStrip
    from artgen.api.preset_functions import save_preset
    from artgen.api.prompt import explain_prompt
    from artgen.api.rank import ImageScore, rank
    from artgen.api.reconstruct import reconstruct
    from artgen.api.replay import replay
    from artgen.api.request_functions import find_anomalies, generate, generate_all
    from artgen.api.schedulers import SchedulerInfo, list_schedulers
    from artgen.api.sheet import sheet
    from artgen.api.sheet_pages import Sheet
    from artgen.api.signing import SigningKeyInfo, create_signing_key, signing_key
    from artgen.api.styles import list_styles
    from artgen.api.train import TrainingResult, train
    from artgen.api.trained_words import TrainedWords, model_words
    from artgen.api.variations import variations
    from artgen.api.verify import VerifiedFile, verify
    from artgen.api.worker_functions import WorkerStatus, start_worker, stop_worker, worker_status
    from artgen.engine.anomaly.result import AnomalyResult
    from artgen.engine.results import FailedImage, GeneratedImage
    from artgen.errors import (
        ArtgenError,
        DeviceLostError,
        FilteredError,
        InputFileError,
        MemoryExhaustedError,
        ModelUnavailableError,
        NonFiniteError,
        OutputError,
        RefusedError,
        SomeFailedError,
        UsageError,
    )
    from artgen.gallery_site.pages import GalleryResult
    from artgen.image_history.entry import HistoryEntry
    from artgen.image_history.marks import ImageMarks, ImportedMarks
    from artgen.image_history.scan import ScanResult
    from artgen.jobs.anomaly import Anomaly
    from artgen.spec.base_requests import Request
    from artgen.spec.presets import list_presets, remove_preset
    from artgen.spec.requests import Edit, Img2Img, Inpaint, Outpaint, Sample, Txt2Img
    from artgen.spec.restoration_requests import Denoise, Upscale


_LAZY_IMPORTS = {
    **dict.fromkeys(
        ("txt2img", "img2img", "inpaint", "outpaint", "edit", "denoise", "sample", "upscale"), "artgen.api.images"
    ),
    **dict.fromkeys(
        ("Denoise", "Edit", "Img2Img", "Inpaint", "Outpaint", "Sample", "Txt2Img", "Upscale"), "artgen.spec.requests"
    ),
    "Request": "artgen.spec.base_requests",
    "anomaly": "artgen.api.anomaly",
    **dict.fromkeys(("CacheEntry", "ClearedCache", "clear_cache", "list_cache"), "artgen.api.cache"),
    **dict.fromkeys(("doctor", "DoctorReport"), "artgen.api.doctor"),
    **dict.fromkeys(
        (
            *("convert_model", "list_models", "model_path", "pull_model", "recommend_models", "remove_alias"),
            *("remove_model", "set_alias", "show_model", "verify_model"),
        ),
        "artgen.api.model_functions",
    ),
    "ModelDetails": "artgen.api.model_lists",
    "ModelCard": "artgen.api.model_operations",
    "PulledFile": "artgen.api.model_downloads",
    **dict.fromkeys(("ControlMap", "control_map"), "artgen.api.control_maps"),
    "noise": "artgen.api.noise",
    "NoiseStrip": "artgen.api.noise_strip",
    "explain_prompt": "artgen.api.prompt",
    **dict.fromkeys(("SelectedMask", "mask"), "artgen.api.mask"),
    **dict.fromkeys(("ImageScore", "rank"), "artgen.api.rank"),
    "reconstruct": "artgen.api.reconstruct",
    **dict.fromkeys(("SchedulerInfo", "list_schedulers"), "artgen.api.schedulers"),
    "sheet": "artgen.api.sheet",
    "Sheet": "artgen.api.sheet_pages",
    "list_styles": "artgen.api.styles",
    **dict.fromkeys(("TrainingResult", "train"), "artgen.api.train"),
    **dict.fromkeys(("TrainedWords", "model_words"), "artgen.api.trained_words"),
    **dict.fromkeys(("list_presets", "remove_preset"), "artgen.spec.presets"),
    "save_preset": "artgen.api.preset_functions",
    **dict.fromkeys(("WorkerStatus", "start_worker", "stop_worker", "worker_status"), "artgen.api.worker_functions"),
    **dict.fromkeys(("VerifiedFile", "verify"), "artgen.api.verify"),
    **dict.fromkeys(("SigningKeyInfo", "create_signing_key", "signing_key"), "artgen.api.signing"),
    "batch": "artgen.api.batch",
    **dict.fromkeys(("batch_status", "verify_batch"), "artgen.api.batch_folder"),
    **dict.fromkeys(("BatchResult", "BatchResults", "InvalidBatchError"), "artgen.api.batch_results"),
    **dict.fromkeys(("FailedImage", "GeneratedImage"), "artgen.engine.results"),
    **dict.fromkeys(("FileInfo", "info"), "artgen.api.info"),
    "gallery": "artgen.api.gallery",
    "GalleryResult": "artgen.gallery_site.pages",
    **dict.fromkeys(
        (
            *("export_history", "forget_history", "history_entry", "history_file", "import_history"),
            *("rate_history", "scan_history", "search_history", "tag_history"),
        ),
        "artgen.api.history_functions",
    ),
    "HistoryEntry": "artgen.image_history.entry",
    **dict.fromkeys(("ImageMarks", "ImportedMarks"), "artgen.image_history.marks"),
    "ScanResult": "artgen.image_history.scan",
    "replay": "artgen.api.replay",
    "Morph": "artgen.api.morph_frames",
    "morph": "artgen.api.morph",
    "variations": "artgen.api.variations",
    **dict.fromkeys(("find_anomalies", "generate", "generate_all"), "artgen.api.request_functions"),
    "Anomaly": "artgen.jobs.anomaly",
    "AnomalyResult": "artgen.engine.anomaly.result",
    **dict.fromkeys(
        (
            *("ArtgenError", "DeviceLostError", "FilteredError", "NonFiniteError", "OutputError", "RefusedError"),
            *("InputFileError", "MemoryExhaustedError", "ModelUnavailableError", "SomeFailedError", "UsageError"),
        ),
        "artgen.errors",
    ),
    "__version__": "artgen._version",
}
"""Module of each public name, which is imported when the name is first used."""

__all__ = [
    "Anomaly",
    "AnomalyResult",
    "ArtgenError",
    "BatchResult",
    "BatchResults",
    "CacheEntry",
    "ClearedCache",
    "ControlMap",
    "Denoise",
    "DeviceLostError",
    "DoctorReport",
    "Edit",
    "FailedImage",
    "FileInfo",
    "FilteredError",
    "GalleryResult",
    "GeneratedImage",
    "HistoryEntry",
    "ImageMarks",
    "ImageScore",
    "Img2Img",
    "ImportedMarks",
    "Inpaint",
    "InputFileError",
    "InvalidBatchError",
    "MemoryExhaustedError",
    "ModelCard",
    "ModelDetails",
    "ModelUnavailableError",
    "Morph",
    "NoiseStrip",
    "NonFiniteError",
    "Outpaint",
    "OutputError",
    "PulledFile",
    "RefusedError",
    "Request",
    "Sample",
    "ScanResult",
    "SchedulerInfo",
    "SelectedMask",
    "Sheet",
    "SigningKeyInfo",
    "SomeFailedError",
    "TrainedWords",
    "TrainingResult",
    "Txt2Img",
    "Upscale",
    "UsageError",
    "VerifiedFile",
    "WorkerStatus",
    "__version__",
    "anomaly",
    "batch",
    "batch_status",
    "clear_cache",
    "control_map",
    "convert_model",
    "create_signing_key",
    "denoise",
    "doctor",
    "edit",
    "explain_prompt",
    "export_history",
    "find_anomalies",
    "forget_history",
    "gallery",
    "generate",
    "generate_all",
    "history_entry",
    "history_file",
    "img2img",
    "import_history",
    "info",
    "inpaint",
    "list_cache",
    "list_models",
    "list_presets",
    "list_schedulers",
    "list_styles",
    "mask",
    "model_path",
    "model_words",
    "morph",
    "noise",
    "outpaint",
    "pull_model",
    "rank",
    "rate_history",
    "recommend_models",
    "reconstruct",
    "remove_alias",
    "remove_model",
    "remove_preset",
    "replay",
    "sample",
    "save_preset",
    "scan_history",
    "search_history",
    "set_alias",
    "sheet",
    "show_model",
    "signing_key",
    "start_worker",
    "stop_worker",
    "tag_history",
    "train",
    "txt2img",
    "upscale",
    "variations",
    "verify",
    "verify_batch",
    "verify_model",
    "worker_status",
]


def __getattr__(name: str) -> object:
    if name in _LAZY_IMPORTS:
        import importlib

        return getattr(importlib.import_module(_LAZY_IMPORTS[name]), name)
    raise AttributeError(f"module 'artgen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"TYPE_CHECKING"})
