"""Convert a pickled checkpoint to safetensors in a process of its own.

`artgen.registry.convert` starts this file: `python -P unpickle.py FILE OUTPUT ADDRESS_SPACE_BYTES`. It reads the file
with `torch.load(weights_only=True)`, which creates tensors and containers and calls no other function, and prints one
line of JSON. It imports nothing from artgen, so that it starts with as little code as possible.
"""

import json
import pickle
import pickletools
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import _utils

STATE_DICT_KEYS = ("state_dict", "params_ema", "params", "model_state_dict", "model", "module")
"""Keys under which training programs store the weights, in order of preference."""
EMBEDDING_NAME = "emb_params"
"""Name of the only tensor of an embedding in safetensors files of AUTOMATIC1111."""
NOT_A_CHECKPOINT = "it is not a checkpoint of PyTorch, or it is damaged"
MAX_NAME_CHARS = 200
MAX_NESTING = 4
MAX_LEGACY_PICKLES = 5
"""Number of pickles at the start of a file that was written before the zip format of PyTorch 1.6."""
MAX_INSTRUCTIONS = 5_000_000
"""Largest number of instructions of a pickle. A checkpoint has about 60 per tensor."""
MAX_SIZE_RATIO = 4
"""Largest ratio of the tensors' bytes to the file's bytes. Tensors that share memory are stored separately."""
PLACEHOLDER_PREFIXES = ("pytorch_lightning.", "lightning.", "lightning_fabric.", "omegaconf.", "numpy.")
PLACEHOLDER_NAMES = frozenset(
    {"argparse.Namespace", "typing.Any", "collections.defaultdict", "torch.nn.modules.container.ParameterDict",
     "torch.nn.modules.container.ParameterList"}
)  # fmt: skip
"""Classes of training programs. Their objects are not tensors; `Placeholder` replaces the classes."""


class Placeholder(dict[Any, Any]):
    """Take the place of an object that is not converted. No code of its class runs."""

    def __init__(self, *_: object) -> None:
        super().__init__()

    def __hash__(self) -> int:  # type: ignore[override]  # can be a key of a dictionary
        return id(self)

    def __setstate__(self, state: object) -> None:
        parameters = state.get("_parameters", state) if isinstance(state, dict) else {}
        self.update(parameters if isinstance(parameters, dict) else {})


class UnsafeError(Exception):
    """Report a file that needs more than tensors and containers."""


class DamagedError(Exception):
    """Report a file that contains no usable tensors."""


def convert(path: Path, output: Path) -> dict[str, Any]:
    """Write the tensors of a checkpoint to `output`; return the report.

    Raises:
        UnsafeError: the file refers to functions or classes that are not tensors or containers.
        DamagedError: the file is not a checkpoint.
    """
    is_zip = zipfile.is_zipfile(path)
    placeholders = _check_globals(path, is_zip)
    torch.serialization.add_safe_globals([(Placeholder, name) for name in placeholders])
    content = _load(path, is_zip)
    source, tensors, skipped = _select_tensors(content)
    tensors = _prepare(tensors, path.stat().st_size * MAX_SIZE_RATIO)
    save_file(tensors, output, {"format": "pt"})
    return {"status": "ok", "tensors": len(tensors), "source": source, "skipped": skipped}


def _check_globals(path: Path, is_zip: bool) -> list[str]:
    """Return the classes to replace by `Placeholder`.

    Raises:
        UnsafeError: the pickle names another function or class.
    """
    allowed = torch._weights_only_unpickler._get_allowed_globals()
    found: set[str] = set()
    damage: DamagedError | None = None
    try:
        for name in _iter_globals(path, is_zip):
            found.add(name)
    except DamagedError as error:  # a plain pickle of a function is also damaged as a checkpoint
        damage = error
    names = sorted(found - set(allowed))
    placeholders = [name for name in names if name.startswith(PLACEHOLDER_PREFIXES) or name in PLACEHOLDER_NAMES]
    if unknown := [name for name in names if name not in placeholders]:
        listed = " and ".join(repr(name[:MAX_NAME_CHARS]) for name in unknown[:3])
        raise UnsafeError(f"it requires {listed}, which can run code")
    if damage:
        raise damage
    return placeholders


def _iter_globals(path: Path, is_zip: bool) -> Iterator[str]:
    """Yield the functions and classes that the pickles of a file name, without calling them."""
    with path.open("rb") as file:
        if not is_zip:
            yield from _globals_of_pickles(file, MAX_LEGACY_PICKLES)
            return
        with zipfile.ZipFile(file) as archive:
            members = [name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl"]
            if len(members) != 1:
                raise DamagedError("it is a zip file that PyTorch did not write")
            if any("/code/" in name or name.endswith("/constants.pkl") for name in archive.namelist()):
                raise UnsafeError("it is a TorchScript program, not weights")
            with archive.open(members[0]) as member:
                yield from _globals_of_pickles(member, 1)  # type: ignore[arg-type]


def _globals_of_pickles(file: BinaryIO, count: int) -> Iterator[str]:
    for _ in range(count):
        try:
            for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
                if number > MAX_INSTRUCTIONS:
                    raise DamagedError(f"its pickle has more than {MAX_INSTRUCTIONS:,} instructions")
                if opcode.name in ("GLOBAL", "INST"):
                    yield _current_name(*str(argument).split(" ", 1))
                elif opcode.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4", "OBJ", "NEWOBJ_EX"):
                    raise UnsafeError(f"it uses the pickle instruction {opcode.name}, which PyTorch does not write")
        except ValueError:
            raise DamagedError(NOT_A_CHECKPOINT) from None


def _current_name(module: str, name: str = "") -> str:
    """Return the full name of a class, with the module names of Python 3, as `torch.load` does."""
    module, name = _utils.NAME_MAPPING.get((module, name), (_utils.IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def _load(path: Path, is_zip: bool) -> Any:
    try:
        # A file in the zip format is mapped: the tensors take no memory of the process.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        text = str(error)
        if "global" in text.lower() or "reduce" in text or "build" in text:
            raise UnsafeError("it calls functions that are not necessary for tensors") from None
        raise DamagedError(NOT_A_CHECKPOINT) from None
    except MemoryError:
        raise
    except Exception as error:  # EOFError, KeyError, RuntimeError, ... of a damaged file
        if "memory" in str(error):
            raise MemoryError from None
        raise DamagedError(NOT_A_CHECKPOINT) from None


def _select_tensors(content: Any) -> tuple[str, dict[str, torch.Tensor], list[str]]:
    """Return the key of the weights, the tensors, and the names of the entries that are not converted."""
    keys: list[str] = []
    skipped: list[str] = []
    for _ in range(MAX_NESTING):
        if not isinstance(content, Mapping):
            break
        if "string_to_param" in content:  # an embedding of textual inversion
            skipped += [str(key) for key in content if key != "string_to_param"]
            vectors = _tensors_of(content["string_to_param"])
            if len(vectors) == 1:
                vectors = {EMBEDDING_NAME: vectors.popitem()[1]}
            return "string_to_param", vectors, skipped
        nested = [key for key, value in content.items() if isinstance(value, Mapping) and _has_tensors(value)]
        if _tensors_of(content) or not nested:
            break
        preferred = [key for key in STATE_DICT_KEYS if key in nested] or nested
        if len(nested) > 1 and preferred is nested:  # such as the two parts of an IP-Adapter
            skipped += [str(key) for key in content if key not in nested]
            content = {f"{part}.{name}": value for part in nested for name, value in content[part].items()}
            break
        skipped += [str(key) for key in content if key != preferred[0]]
        keys.append(str(preferred[0]))
        content = content[preferred[0]]
    tensors = _tensors_of(content)
    skipped += [str(key) for key in content if key not in tensors] if isinstance(content, Mapping) else []
    return ".".join(keys), tensors, skipped


def _tensors_of(content: Any) -> dict[str, torch.Tensor]:
    if not isinstance(content, Mapping):
        return {}
    return {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}


def _has_tensors(content: Any, depth: int = MAX_NESTING) -> bool:
    return any(
        isinstance(value, torch.Tensor) or (depth > 0 and isinstance(value, Mapping) and _has_tensors(value, depth - 1))
        for value in content.values()
    )


def _prepare(tensors: Mapping[str, torch.Tensor], max_bytes: int) -> dict[str, torch.Tensor]:
    """Return dense tensors in memory of their own, in the order of their names.

    Raises:
        DamagedError: no tensor was found, or a tensor cannot be stored or is larger than its data.
    """
    if not tensors:
        raise DamagedError("it contains no named tensors")
    prepared: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    for name, value in tensors.items():
        tensor = value.detach()
        if name == "__metadata__" or not name.isprintable():
            raise DamagedError(f"{name[:MAX_NAME_CHARS]!r} cannot be the name of a tensor in a safetensors file")
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise DamagedError(f"its tensor '{name[:MAX_NAME_CHARS]}' is sparse, quantized or without data")
        num_bytes = tensor.numel() * tensor.element_size()
        storage = tensor.untyped_storage()
        max_bytes -= num_bytes
        if num_bytes > storage.nbytes() or max_bytes < 0:
            raise DamagedError(f"its tensor '{name[:MAX_NAME_CHARS]}' is larger than its data in the file")
        is_shared = num_bytes > 0 and storage.data_ptr() in storages
        storages.add(storage.data_ptr())
        prepared[name] = tensor.clone(memory_format=torch.contiguous_format) if is_shared else tensor.contiguous()
    return prepared


def _limit_memory(num_bytes: int) -> None:
    """Limit the address space to the current size plus `num_bytes`, on systems that support this."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + num_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):  # Windows and macOS
        return


def report_of(path: Path, output: Path) -> dict[str, Any]:
    """Convert a file; return the report, which has the status `ok`, `unsafe`, `damaged`, `memory` or `output`."""
    try:
        return convert(path, output)
    except UnsafeError as error:
        return {"status": "unsafe", "reason": str(error)}
    except MemoryError:
        return {"status": "memory"}
    except (zipfile.BadZipFile, NotImplementedError, RecursionError):
        return {"status": "damaged", "reason": "it is damaged"}
    except KeyError as error:
        return {"status": "damaged", "reason": f"safetensors has no type for its {str(error)[:50]} tensors"}
    except (DamagedError, OSError, SafetensorError, ValueError, RuntimeError) as error:
        return {"status": "output" if "os error" in str(error) else "damaged", "reason": str(error)[:300]}


def main(arguments: list[str]) -> None:
    """Convert a file and print the report."""
    warnings.simplefilter("ignore")
    path, output, num_bytes = arguments
    _limit_memory(int(num_bytes))
    print(json.dumps(report_of(Path(path), Path(output))))


if __name__ == "__main__":
    main(sys.argv[1:])
