"""Define everything that a request can contain: settings, requests, records, seeds, schedulers. Torch-free."""
