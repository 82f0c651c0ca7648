"""Make the engine thread-safe: one lock around everything that reads or changes its global state."""

import threading

ENGINE_LOCK = threading.RLock()
"""Lock of the global state of the engine.

The state is the cached pipeline with its LoRAs and hooks, the other caches, and the switches of torch, diffusers,
transformers and accelerate that a loading model sets. Threads generate one after another; the libraries use all cores
for one image. The lock is not held between two results of a generator. It is reentrant, because a listener may call
the library.
"""
