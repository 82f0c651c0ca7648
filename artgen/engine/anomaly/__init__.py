"""Implement `artgen anomaly`: reconstructions, feature maps, statistics of normal images, and heat maps."""
