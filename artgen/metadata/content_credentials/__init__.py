"""Sign images and verify signatures: C2PA content credentials (https://spec.c2pa.org).

The modules import c2pa and cryptography only when an image is signed or verified.
"""
