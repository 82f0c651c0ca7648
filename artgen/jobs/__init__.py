"""Convert requests to jobs, without torch: resolve the model, load the inputs, fill in defaults, validate."""
