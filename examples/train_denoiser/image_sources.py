"""Define the sources of the training images.

The images are photographs with CC0 license or in the public domain, from packages of the Python and npm registries. The
held-out images are for the benchmark; the training does not use them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Represent one archive: package, SHA-256, used files, license and author.

    The field names are the keys of `provenance.json`.
    """

    package: str
    version: str
    registry: str
    archive: str
    sha256: str
    licence: str
    author: str
    taken: tuple[str, ...]


IMAGE_LIST_FILE = "images.json"
"""List of the fetched images with their hashes, in the folder of the fetched images."""

SKIMAGE = "skimage/data/"
SOURCES = (
    Source(
        "scikit-image", "0.26.0", "PyPI",
        "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        "CC0 or public domain, as listed for each image in skimage.data",
        "CC0 Textures (brick, grass, gravel), the authors listed in skimage.data, NASA (hubble_deep_field)",
        tuple(SKIMAGE + name for name in (
            "hubble_deep_field.jpg", "ihc.png", "retina.jpg", "brick.png", "cell.png", "coins.png", "grass.png",
            "gravel.png",
        )),
    ),
    Source(
        "scipy", "1.9.3", "PyPI",
        "scipy-1.9.3-cp38-cp38-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "cff3a5295234037e39500d35316a4c5794739433528310e117b8a9a0c76d20fc",
        "public domain", "public-domain-image.com, as listed in scipy.misc",
        ("scipy/misc/face.dat",),
    ),
    Source(
        "matplotlib", "3.11.0", "PyPI",
        "matplotlib-3.11.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "630eee0e67d35cce2019a0e670719f4816e3b86aff0fa72729f6c69786fceb45",
        "public domain", "James S. Davis, United States Navy",
        ("matplotlib/mpl-data/sample_data/grace_hopper.jpg",),
    ),
    Source(
        "@pmndrs/assets", "1.7.0", "npm", "pmndrs-assets-1.7.0.tgz",
        "152bd218a3390703f184f0c6ce16e73c8f0a87f32d38530d418a09d33d8208dc",
        "CC0-1.0", "Poly Haven, https://polyhaven.com/hdris",
        tuple(f"package/hdri/{name}.exr.js" for name in (
            "apartment", "bridge", "city", "dawn", "esplanade", "forest", "hall", "lab", "lobby", "night", "park",
            "sky", "studio", "sunrise", "sunset", "venice", "warehouse", "workshop",
        )),
    ),
)  # fmt: skip
# Images of scikit-image for the benchmark. All are CC0 or public domain.
HELD_OUT = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "camera.png")
# Panoramas for validation during the training, which are not training data.
VALIDATION_PANORAMAS = ("forest", "venice")
