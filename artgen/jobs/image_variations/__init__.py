"""Plan variations of an image and morphs between images. This package imports no torch."""
