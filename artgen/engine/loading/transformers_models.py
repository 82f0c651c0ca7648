"""Load the models of transformers that compute masks and control maps, with processors that use Pillow; cache them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from safetensors import SafetensorError

from artgen.engine.loading import loaded_models, pipeline_cache
from artgen.engine.loading.loaded_parts import add_part
from artgen.engine.loading.oom import first_line, is_device_lost, is_oom
from artgen.errors import ModelUnavailableError
from artgen.events import Listener, Loading
from artgen.system.files import FileIdentity


class ModelSource(NamedTuple):
    """Describe a model to load.

    Attributes:
        title: what the model is, for events and messages.
        name: name of the model, for messages.
        folder: folder with the files; None if they are not downloaded.
        files: identities of the files.
        classes: names of the classes of the model and of its processor.
        hint: hint of the error for damaged files.
    """

    title: str
    name: str
    folder: Path | None
    files: tuple[FileIdentity, ...]
    classes: tuple[str, str]
    hint: str


@dataclass(frozen=True)
class ModelWithProcessor:
    """Store a model of transformers with its processor.

    Attributes:
        model: module in evaluation mode, fp32.
        processor: processor that does not need torchvision.
        device: device name of torch.
    """

    model: Any
    processor: Any
    device: str

    @property
    def components(self) -> dict[str, Any]:
        """Return the modules, for the count of memory."""
        return {"model": self.model}

    def run(self, inputs: Any, **options: Any) -> Any:
        """Return the outputs of the model for the tensors of a processor, which are moved to the device."""
        with torch.inference_mode():
            return self.model(**{name: value.to(self.device) for name, value in inputs.items()}, **options)


def load_model(source: ModelSource, device: str, listener: Listener) -> ModelWithProcessor:
    """Load a model, or reuse the loaded one.

    Args:
        source: model with all files on the disk.
        device: device name of torch.
        listener: receives the event of the loading.

    Raises:
        ModelUnavailableError: the files are damaged or do not fit each other.
    """
    key = (source.title, *source.classes, device)
    entry = loaded_models.find(source, key)
    if entry is None:
        loaded_models.reserve_part()
        listener(Loading(source.title))
        loaded = _load(source, device)
        entry = add_part(key, source.files, loaded, source.name, device, "fp32")
    entry.active, entry.used = False, True
    value: ModelWithProcessor = entry.value
    return value


def _load(source: ModelSource, device: str) -> ModelWithProcessor:
    if source.folder is None:
        raise ValueError(f"the {source.title} is not downloaded")
    model_class, processor_class = (getattr(transformers, name) for name in source.classes)
    options = {"local_files_only": True}
    try:
        with pipeline_cache.silence_libraries():
            module, report = model_class.from_pretrained(
                source.folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options
            )
            processor = processor_class.from_pretrained(source.folder, **options)
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        if is_oom(error) or is_device_lost(error):
            raise
        raise _load_error(source, first_line(error).rstrip(".")) from error
    if missing := sorted(report["missing_keys"]):
        raise _load_error(source, f"its weights lack the tensor {missing[0]}")
    return ModelWithProcessor(module.eval().to(device), processor, device)


def _load_error(source: ModelSource, reason: str) -> ModelUnavailableError:
    return ModelUnavailableError(f"Cannot load the {source.title} '{source.name}': {reason}.", source.hint)
