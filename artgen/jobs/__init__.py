"""Convert requests to jobs that can run, without torch: resolve the model, load the inputs, fill in defaults, validate."""
