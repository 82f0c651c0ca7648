"""Answer requests of the API of AUTOMATIC1111's web UI (A1111), `/sdapi/v1/...`, which many programs use."""
