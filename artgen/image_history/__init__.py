"""Store an entry of each generated image, and search the entries."""
