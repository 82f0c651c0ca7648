"""What `artgen anomaly` is made of: reconstructions, how they are compared, what is normal, and heat maps."""
