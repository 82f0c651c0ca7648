"""Access the operating system: hardware, processes, files, paths, terminal."""
