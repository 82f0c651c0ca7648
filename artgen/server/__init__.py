"""Answer HTTP requests: an images API, and the APIs of OpenAI and A1111."""
