"""Run commands in a resident process, the worker, which keeps the libraries and models in memory.

`client` sends a command to the worker; it imports only the standard library, `artgen.system` and `artgen.errors`.
`server` is the worker. Both use the messages of `protocol`.
"""
