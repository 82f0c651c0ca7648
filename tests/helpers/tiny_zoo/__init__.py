"""Build real pipelines of many architectures at tiny sizes.

The classes come from diffusers and transformers. The weights are random. Each function builds one model in less
than a second. The fixture `zoo` of `conftest.py` returns a `Zoo`: `zoo["flux-dev"]` is the folder of a model. Models
that need a package outside of artgen's dependencies are registered only if the package is installed.
"""

from tiny_zoo import flux, further, kandinsky, noise, qwen, single_encoder, stable_diffusion  # noqa: F401
from tiny_zoo.registry import BUILDERS, Zoo, build_model

__all__ = ["BUILDERS", "Zoo", "build_model"]
