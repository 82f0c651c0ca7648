"""Make the control latents of Stable Diffusion 3 reproducible.

The ControlNet pipeline of Stable Diffusion 3 encodes the control maps with noise of torch's global generator. artgen
uses a generator per image, seeded with the seed of the image, so that an image does not depend on its batch. An image
alone equals the image of a script that calls `torch.manual_seed(seed)` before the pipeline.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

_CLASSES = ("SD3ControlNetModel", "SD3MultiControlNetModel")


@contextlib.contextmanager
def seeded_control_latents(pipe: Any, seeds: Sequence[int]) -> Iterator[None]:
    """Sample the control latents of a pipeline with the seeds of the images within the block.

    Args:
        pipe: any pipeline; only a pipeline with ControlNets for Stable Diffusion 3 is changed.
        seeds: seed of each image of the batch.
    """
    if type(getattr(pipe, "controlnet", None)).__name__ not in _CLASSES:
        yield
        return
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    original, before = pipe.vae.encode, pipe.vae.__dict__.get("encode")

    def encode(*args: Any, **kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        output.latent_dist = _SeededDistribution(output.latent_dist, generators)
        return output

    pipe.vae.encode = encode
    try:
        yield
    finally:
        if before is None:
            del pipe.vae.encode
        else:
            pipe.vae.encode = before


class _SeededDistribution:
    """Sample a distribution of latents with one generator per image."""

    def __init__(self, distribution: Any, generators: Sequence[torch.Generator]) -> None:
        self._distribution = distribution
        self._generators = generators

    def sample(self) -> torch.Tensor:
        """Return a sample, shape (k * B, C, h, w). With guidance, each of B images has k = 2 rows: i and B + i."""
        mean = self._distribution.mean
        num_rows = len(mean) // len(self._generators)
        shape = (num_rows, *mean.shape[1:])
        noise = torch.stack([torch.randn(shape, generator=each, dtype=mean.dtype) for each in self._generators], dim=1)
        return mean + self._distribution.std * noise.flatten(0, 1).to(mean)  # type: ignore[no-any-return]
