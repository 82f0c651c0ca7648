"""Provide the functions of the Python API: one function for each command."""
