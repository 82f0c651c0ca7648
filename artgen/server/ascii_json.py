"""Send JSON that contains text of clients."""

import json
from typing import Any

from starlette.responses import JSONResponse


class AsciiJson(JSONResponse):
    """Send JSON in ASCII. Text of a client can contain surrogates, which UTF-8 cannot encode."""

    def render(self, content: Any) -> bytes:
        """Return the bytes of the body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
