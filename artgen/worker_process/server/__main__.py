"""Run the worker: `python -m artgen.worker_process.server [MAX_LOADED KEEP_ALIVE]`.

The working directory is the folder that contains artgen, and therefore the first entry of `sys.path`.
"""

import sys


def main(arguments: list[str]) -> None:
    """Run the worker. Exit with 1 and one line of text if it cannot start."""
    from artgen.worker_process.client.identity import own_identity

    identity = own_identity()
    sys.path.append(sys.path.pop(0))  # packages beside artgen must not replace modules of Python
    from artgen.errors import ArtgenError
    from artgen.worker_process.client.socket_file import WorkerUnavailable
    from artgen.worker_process.server.serve import serve

    try:
        serve(identity, *((int(arguments[0]), arguments[1]) if arguments else ()))
    except (ArtgenError, WorkerUnavailable, OSError) as error:
        sys.exit(f"{error}".splitlines()[0])


if __name__ == "__main__":
    main(sys.argv[1:])
