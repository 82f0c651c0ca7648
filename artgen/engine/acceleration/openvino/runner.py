"""Compute the output of a module with OpenVINO: convert it, cache the converted model, compile and run it."""

import contextlib
import gc
import hashlib
import inspect
import json
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import diffusers
import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import nn

from artgen.engine.acceleration.openvino import convert
from artgen.engine.acceleration.openvino.arguments import Structure, flatten
from artgen.engine.acceleration.openvino.compiled import (
    MAX_STORED_BYTES,
    Compiled,
    compilation_properties,
    compile_model,
    import_compiled,
)
from artgen.engine.acceleration.openvino.errors import wrapped_errors
from artgen.engine.acceleration.openvino.library import import_openvino, version
from artgen.engine.loading import loaded_models
from artgen.engine.loading.oom import is_oom
from artgen.errors import OutputError
from artgen.events import Listener, Notice
from artgen.registry import openvino_cache

MAX_COMPILED_BYTES = 4 << 30
"""Largest size of the compiled models of a module in memory, besides the models that the current call uses."""

CACHE_FORMAT = 1
"""Version of the conversion; a change converts all models again."""

ANY_SHAPE_CLASSES = ("UNet2DConditionModel", "UNet2DModel", "Decoder")
"""Classes whose converted models compute inputs of any shape correctly. The conversion of other classes stores values
that depend on the shapes, such as position embeddings, so that each shape needs its own conversion."""

EXAMPLE_SIDE = 8
"""Smallest side of the sample with which these classes are converted, in latent pixels."""


@dataclass
class _CompiledModels:
    """Store the compiled models of a module.

    Attributes:
        by_key: compiled models by key, least recently used first.
        num_calls: number of pipeline calls that used the module.
    """

    by_key: dict[str, Compiled] = field(default_factory=dict)
    num_calls: int = 0


_compiled_models: "weakref.WeakKeyDictionary[Any, _CompiledModels]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class ModuleSource:
    """Describe the module that OpenVINO runs.

    Attributes:
        label: denoiser or VAE decoder, for messages.
        model: name of the model, as recorded.
        weights: SHA-256 of the weights.
        dtype: dtype of the pipeline: fp32 or bf16.
        config: configuration of the module.
        loras: LoRAs on the module: hashes and scales.
    """

    label: str
    model: str
    weights: str
    dtype: str
    config: Mapping[str, Any]
    loras: tuple[Any, ...] = ()


class Runner:
    """Compute the output of a module with OpenVINO during one pipeline call.

    The module is converted at its first call.
    """

    def __init__(self, module: nn.Module, source: ModuleSource, listener: Listener, facts: dict[str, str]) -> None:
        """Create the runner of a pipeline call.

        Args:
            module: module on the CPU.
            source: properties of the module.
            listener: receives notes about the conversion.
            facts: receives the entries of the record: version and precision of OpenVINO.
        """
        self.module = module
        self._source = source
        self._listener = listener
        self._facts = facts
        self._nbytes = sum(parameter.nbytes for parameter in module.parameters())
        self._models = _compiled_models.setdefault(module, _CompiledModels())
        self._models.num_calls += 1
        self._signature = inspect.signature(type(module).forward)
        parameters = self._signature.parameters.items()
        self._defaults = {
            name: each.default for name, each in parameters if each.default is not inspect.Parameter.empty
        }
        self._properties: dict[str, Any] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output that the module returns for these arguments."""
        arguments = self._signature.bind(self.module, *args, **kwargs).arguments
        arguments = {**dict(list(arguments.items())[1:]), **arguments.get("kwargs", {})}
        arguments.pop("kwargs", None)
        returns_dict = arguments.pop("return_dict", True)
        if isinstance(arguments.get("timestep"), int | float):
            arguments["timestep"] = torch.tensor(arguments["timestep"])
        given = {
            name: value
            for name, value in arguments.items()
            if value is not self._defaults.get(name, inspect.Parameter.empty)
        }
        if "return_dict" in self._signature.parameters:
            given["return_dict"] = False
        tensors: list[torch.Tensor] = []
        structure = flatten(given, "arguments", tensors)
        with wrapped_errors(self._source):
            compiled = self._compiled(structure, tensors)
            output = compiled.infer(tensors)
        if "return_dict" not in given:
            return output
        return Transformer2DModelOutput(sample=output[0]) if returns_dict else output

    def _compiled(self, structure: Structure, tensors: list[torch.Tensor]) -> Compiled:
        """Return the model for these arguments; compile it, and convert it first if it is not cached."""
        if self._properties is None:
            self._properties = self._module_properties()
        properties = self._properties | {"arguments": structure}
        shapes = [list(tensor.shape) for tensor in tensors]
        memory_key = json.dumps([properties, torch.get_num_threads(), shapes], default=str)
        compiled = self._models.by_key.pop(memory_key, None)
        if compiled is None:
            self._release_unused()
            key = _digest(json.dumps(properties | self._shape_properties(shapes), sort_keys=True, default=str))
            compiled = self._load_or_compile(key, structure, tensors)
            loaded_models.add_bytes(self.module, self._nbytes)
        compiled.last_call = self._models.num_calls
        self._models.by_key[memory_key] = compiled
        self._facts.update(openvino=version(), openvino_precision=compiled.precision)
        return compiled

    def _module_properties(self) -> dict[str, Any]:
        """Return the properties of the module and of the libraries that affect the converted model."""
        layers = (*self.module.named_modules(), *getattr(self.module, "attn_processors", {}).items())
        return {
            "format": CACHE_FORMAT,
            "openvino": import_openvino().__version__,
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "class": type(self.module).__qualname__,
            "layers": _digest("\n".join(f"{name} {type(layer).__qualname__}" for name, layer in layers)),
            "weights": self._source.weights,
            "dtype": self._source.dtype,
            "config": {key: value for key, value in self._source.config.items() if not key.startswith("_")},
            "loras": self._source.loras,
        }

    def _shape_properties(self, shapes: list[list[int]]) -> dict[str, Any]:
        """Return the properties of the shapes of the inputs that affect the converted model."""
        return {"exact": self._is_exact(shapes[0])} if self._takes_any_shape else {"shapes": shapes}

    @property
    def _takes_any_shape(self) -> bool:
        return type(self.module).__name__ in ANY_SHAPE_CLASSES

    def _is_exact(self, sample_shape: list[int]) -> bool:
        """Return whether the sides are multiples of the UNet's factor; otherwise it upsamples to explicit sizes."""
        factor = 2 ** int(getattr(self.module, "num_upsamplers", 0))
        return all(side % factor == 0 for side in sample_shape[-2:])

    def _example(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return inputs for the conversion: smaller ones if the shape has no effect, because they need less time."""
        if not self._takes_any_shape:
            return tensors
        num_levels = len(self._source.config.get("down_block_types") or ())
        side = max(EXAMPLE_SIDE, 2**num_levels) + (not self._is_exact(list(tensors[0].shape)))
        return [tensor[..., :side, :side] if tensor.ndim == 4 else tensor for tensor in tensors]

    def _load_or_convert(self, key: str, structure: Structure, tensors: list[torch.Tensor]) -> Any:
        """Return the converted model from the cache, or convert the module and write the cache."""
        name = f"the {self._source.label} of '{self._source.model}'"
        waiting = Notice(f"Waiting for another process that converts {name} to OpenVINO.")
        with openvino_cache.conversion_lock(key, partial(self._listener, waiting)):
            if (path := openvino_cache.read_model(key)) is not None:
                try:
                    return convert.read(path)
                except RuntimeError as error:
                    if is_oom(error):
                        raise
                    _discard(key)
            self._listener(Notice(f"Converting {name} to OpenVINO."))
            example = self._example(tensors)
            model = convert.convert(self.module, structure, example)
            try:
                path = openvino_cache.write_model(self._description(key, example), partial(convert.save, model))
            except OutputError as error:
                self._listener(Notice(f"The converted model is not cached. {error.message} {error.hint}".rstrip()))
                return model
        del model
        gc.collect()  # The trace contains reference cycles.
        return convert.read(path)

    def _load_or_compile(self, key: str, structure: Structure, tensors: list[torch.Tensor]) -> Compiled:
        """Return the compiled model from the cache, or compile the converted model with a key."""
        shapes = None if self._needs_dynamic_shapes() else [list(tensor.shape) for tensor in tensors]
        dtype = self._source.dtype
        if self._nbytes > MAX_STORED_BYTES:
            return compile_model(self._load_or_convert(key, structure, tensors), shapes, dtype)
        compiled_key = _digest(json.dumps([key, shapes, compilation_properties(dtype)]))
        if (path := openvino_cache.read_model(compiled_key)) is not None:
            description = openvino_cache.describe_model(compiled_key)
            try:
                return import_compiled(path, description.outputs if description else "", dtype)
            except (RuntimeError, ValueError, OSError) as error:
                if is_oom(error):
                    raise
                _discard(compiled_key)
        compiled = compile_model(self._load_or_convert(key, structure, tensors), shapes, dtype)
        with contextlib.suppress(OutputError):  # `_load_or_convert` sends a note
            description = self._description(compiled_key, tensors, json.dumps(compiled.outputs))
            openvino_cache.write_model(description, compiled.export)
        return compiled

    def _description(self, key: str, tensors: list[torch.Tensor], outputs: str = "") -> openvino_cache.CachedModel:
        return openvino_cache.CachedModel(
            key,
            self._source.model,
            type(self.module).__name__,
            self._source.dtype,
            ", ".join("x".join(map(str, tensor.shape)) or "1" for tensor in tensors),
            version(),
            outputs,
        )

    def _needs_dynamic_shapes(self) -> bool:
        """Return whether the compiler of OpenVINO 2026.4 crashes if the shapes of the inputs are static."""
        blocks = self._source.config.get("down_block_types") or ()
        return type(self.module).__name__ == "Kandinsky3UNet" or any("SimpleCrossAttn" in block for block in blocks)

    def _release_unused(self) -> None:
        """Release the compiled models that this call does not use, until one more model fits into the limit."""
        compiled = self._models.by_key
        unused = [key for key, each in compiled.items() if each.last_call != self._models.num_calls]
        for key in unused:
            if (len(compiled) + 1) * self._nbytes <= MAX_COMPILED_BYTES:
                break
            del compiled[key]
            loaded_models.add_bytes(self.module, -self._nbytes)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _discard(key: str) -> None:
    """Remove an unreadable entry of the cache, unless the folder is not writable."""
    with contextlib.suppress(OutputError):
        openvino_cache.remove_models([key])
