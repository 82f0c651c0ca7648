"""Answer requests of OpenAI's images API: `/v1/images/generations`, `/v1/images/edits` and `/v1/models`."""
