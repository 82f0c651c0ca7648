"""Check that the machine supports the devices and the memory settings of requests. Does not import torch."""

from collections.abc import Sequence

from artgen.jobs import checks
from artgen.jobs.acceleration import check_acceleration
from artgen.spec.base_requests import Request


def check_machine(requests: Sequence[Request]) -> None:
    """Check each combination of a device with a memory setting once.

    Raises:
        UsageError: a device does not exist, or does not support a setting.
    """
    for device, offload in dict.fromkeys((each.device, getattr(each, "offload", None)) for each in requests):
        checks.check_device(device, offload)
    for device, budget in dict.fromkeys((each.device, getattr(each, "memory_budget", None)) for each in requests):
        checks.check_memory_budget(device, budget)
    for device, quantize in dict.fromkeys((each.device, getattr(each, "quantize", None)) for each in requests):
        checks.check_quantize(device, quantize)
    for device, acceleration in dict.fromkeys((each.device, getattr(each, "acceleration", None)) for each in requests):
        check_acceleration(device, acceleration)
