"""Load the control images of a request, and resolve and check their nets."""

from artgen.jobs.control.control_input import ControlInput

__all__ = ["ControlInput"]
