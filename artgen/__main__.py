"""The console script, and `python -m artgen`."""

import sys


def run() -> None:
    """Starts the command line."""
    try:
        from artgen import process

        process.take()
        from artgen.cli.interrupts import leave_at_once

        leave_at_once()
    except KeyboardInterrupt:
        sys.stderr.write("error: Interrupted.\n")
        raise SystemExit(130) from None
    from artgen.cli.main import run as main

    with process.ending():
        main()


if __name__ == "__main__":
    run()
