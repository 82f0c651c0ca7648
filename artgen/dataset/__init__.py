"""Read a folder of training images: scan, decode, caption, check licenses, remove duplicates. Torch-free."""
