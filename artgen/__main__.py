"""Run the command line: the console script, and `python -m artgen`."""

import sys


def run() -> None:
    """Run the command line in the worker, or in this process."""
    try:
        from artgen.worker_process.client import run_in_worker

        if (exit_code := run_in_worker(sys.argv[1:])) is not None:
            raise SystemExit(exit_code)
        from artgen.system import process

        process.configure_process()
        from artgen.cli.interrupts import exit_on_sigint

        exit_on_sigint()
    except KeyboardInterrupt:
        sys.stderr.write("error: Interrupted.\n")
        raise SystemExit(130) from None
    with process.paused_gc():
        from artgen.cli.main import run as main
        from artgen.cli.status_line import status_line
    with process.fast_exit():
        try:
            main()
        finally:
            status_line.close()


if __name__ == "__main__":
    run()
