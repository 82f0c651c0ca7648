"""Select the classes of processors that read images and text, so that they work without torchvision.

In transformers 5, the processors of Qwen2-VL and Qwen3-VL contain a video processor, which needs torchvision. Pipelines
for images do not use the video processor, so artgen omits it if torchvision is not installed. The image processors have
an implementation with Pillow.
"""

import importlib.util
from functools import cache
from typing import Any

from transformers import ProcessorMixin

_VIDEO_PROCESSOR = "video_processor"


def usable_class(cls: Any) -> Any:
    """Return the class itself, or the class without its video processor if torchvision is not installed."""
    is_processor = isinstance(cls, type) and issubclass(cls, ProcessorMixin)
    if not is_processor or _VIDEO_PROCESSOR not in cls.get_attributes() or importlib.util.find_spec("torchvision"):
        return cls
    return _without_video(cls)


@cache
def _without_video(cls: type[Any]) -> type[Any]:
    """Return a subclass without a video processor. It has the same name, which model_index.json contains."""
    attributes = [name for name in cls.get_attributes() if name != _VIDEO_PROCESSOR]
    return type(
        cls.__name__, (cls,), {"__module__": cls.__module__, "get_attributes": staticmethod(lambda: attributes)}
    )
