"""Load pipelines: cache, components, weights, device, offloading, schedulers, LoRAs."""
