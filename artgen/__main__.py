"""Run the command line: the console script, and `python -m artgen`."""

import sys


def run() -> None:
    """Run the command line."""
    try:
        from artgen.system import process

        process.configure_process()
        from artgen.cli.interrupts import exit_on_sigint

        exit_on_sigint()
    except KeyboardInterrupt:
        sys.stderr.write("error: Interrupted.\n")
        raise SystemExit(130) from None
    with process.paused_gc():
        from artgen.cli.main import run as main
    with process.fast_exit():
        main()


if __name__ == "__main__":
    run()
