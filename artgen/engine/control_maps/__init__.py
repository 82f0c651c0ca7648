"""Compute control maps of images, one module per preprocessor. No module needs torchvision."""
