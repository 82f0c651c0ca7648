"""`python -m artgen`."""

from artgen.cli.main import run

run()
