"""The console script, and `python -m artgen`."""

import gc
import sys


def run() -> None:
    """Starts the command line."""
    # Collecting garbage while modules load is for nothing; drawing turns it on again.
    gc.disable()
    try:
        from artgen.cli.interrupts import leave_at_once

        leave_at_once()
    except KeyboardInterrupt:
        sys.stderr.write("error: Interrupted.\n")
        raise SystemExit(130) from None
    from artgen.cli.main import run as main

    main()


if __name__ == "__main__":
    run()
