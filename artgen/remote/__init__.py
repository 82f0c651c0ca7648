"""Run jobs on a server of artgen."""
