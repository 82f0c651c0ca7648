"""Training: LoRAs, whole denoisers and autoencoders."""
