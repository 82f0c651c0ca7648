"""Run the worker: `python -m artgen.worker.server`."""

from artgen.worker.server.serve import serve

if __name__ == "__main__":
    serve()
