"""ETag and If-None-Match: a client that polls is answered 304 while nothing has changed."""

import hashlib
import json
from typing import Any

from django.utils.http import parse_etags
from rest_framework.request import Request
from rest_framework.response import Response


def tagged(request: Request, data: Any) -> Response:
    """200 with `data` and its ETag, or 304 where the client has exactly this."""
    text = json.dumps(data, sort_keys=True, default=str).encode()
    etag = f'"{hashlib.blake2b(text, digest_size=16).hexdigest()}"'
    if holds(request, etag):
        return Response(status=304, headers={"ETag": etag})
    return Response(data, headers={"ETag": etag})


def holds(request: Request, etag: str) -> bool:
    """Whether If-None-Match says that the client has this version (weak comparison, RFC 9110 section 13.1.2)."""
    sent = parse_etags(request.META.get("HTTP_IF_NONE_MATCH", ""))
    return "*" in sent or etag in {tag.removeprefix("W/") for tag in sent}
