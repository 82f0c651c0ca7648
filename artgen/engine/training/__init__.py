"""Train LoRAs, complete denoisers and autoencoders."""
