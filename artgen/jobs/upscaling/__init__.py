"""Prepare the jobs that enlarge an image."""
