"""Read the settings of the worker from the environment and the configuration files."""

import os
from dataclasses import dataclass
from typing import Any

from artgen.errors import UsageError
from artgen.spec import config, settings
from artgen.spec.quantities import check_quantity
from artgen.spec.settings import WorkerSettings, parse_keep_alive, parse_value


@dataclass(frozen=True)
class WorkerLimits:
    """Store the limits of a worker.

    Attributes:
        max_loaded: maximum number of loaded models, >= 1.
        keep_alive_seconds: idle time after which the worker exits, in seconds.
    """

    max_loaded: int
    keep_alive_seconds: float


def worker_limits(max_loaded: int | None = None, keep_alive: str | None = None) -> WorkerLimits:
    """Return the limits of a new worker. Check all settings of the worker.

    Args:
        max_loaded: maximum number of loaded models; None for the setting.
        keep_alive: idle time such as `10m`; None for the setting.

    Raises:
        UsageError: an argument or a variable of the environment is invalid.
        InputFileError: a configuration file is invalid.
    """
    found = [_setting(name) for name in ("worker", "max_loaded", "keep_alive")]
    defaults = WorkerSettings()
    values = WorkerSettings(
        max_loaded=max_loaded if max_loaded is not None else found[1] or defaults.max_loaded,
        keep_alive=keep_alive if keep_alive is not None else found[2] or defaults.keep_alive,
    )
    settings.validate(values)
    return WorkerLimits(values.max_loaded, parse_keep_alive(values.keep_alive))


def _setting(name: str) -> Any:
    """Return a setting of the environment or a configuration file, which has been checked; None if it is unset."""
    variable = f"ARTGEN_{name.upper()}"
    if text := os.environ.get(variable):
        try:
            value = parse_value(WorkerSettings, name, text)
            settings.validate(WorkerSettings(**{name: value}))
            check_quantity(name, value)
        except UsageError as error:
            raise UsageError(error.message.replace(name, variable, 1), error.hint) from error
        return value
    found = (config.read_config_file(path).get(name) for path in config.config_files())
    return next((value for value in found if value is not None), None)
