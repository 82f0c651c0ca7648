"""Apply optimizations and approximations to a cached pipeline, one per file."""
