"""Run many jobs from prompt files, folders and sweeps: resumable after a crash, each job once."""
