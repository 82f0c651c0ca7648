"""Register functions that build tiny pipelines, and save each pipeline once."""

import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

Builder = Callable[[], DiffusionPipeline]

BUILDERS: dict[str, Builder] = {}
"""Functions that build a pipeline, by the name of the model, for example `flux-dev`."""


def model(build: Builder) -> Builder:
    """Register a builder. The name of the model is the name of the function with dashes."""
    BUILDERS[build.__name__.replace("_", "-")] = build
    return build


def model_with(package: str) -> Callable[[Builder], Builder]:
    """Register a builder if a package is installed."""
    return model if importlib.util.find_spec(package) else lambda build: build


def build_model(name: str) -> DiffusionPipeline:
    """Build a pipeline with random weights, which depend only on the builder."""
    torch.manual_seed(0)
    pipeline = BUILDERS[name]()
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            _fill_zeros(component)
            component.eval()
    return pipeline


def _fill_zeros(module: torch.nn.Module) -> None:
    """Fill weights that are initialized with zeros. Without this, the prompt has no effect on some models."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(std=0.1)


class Zoo(Mapping[str, Path]):
    """Map the name of a model to its folder, and build the folder at the first access.

    Attributes:
        root: the folder that contains the folders of the models.
    """

    def __init__(self, root: Path) -> None:
        """Use an existing folder. Folders of models that it contains are not built again."""
        self.root = root

    def __getitem__(self, name: str) -> Path:
        """Return the folder of a model in diffusers' layout."""
        if not re.fullmatch(r"[a-z0-9-]+", name) or name not in BUILDERS:
            raise KeyError(f"'{name}' is not one of {', '.join(BUILDERS)}")
        folder = self.root / name
        if not (folder / "model_index.json").exists():
            # diffusers writes model_index.json first, so an interrupted build would look complete
            unfinished = self.root / f".{name}"
            build_model(name).save_pretrained(unfinished)
            unfinished.rename(folder)
        return folder

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of all models, also of those that are not built."""
        return iter(BUILDERS)

    def __len__(self) -> int:
        """Return the number of models."""
        return len(BUILDERS)
