"""Rate limits, per second and per user (per address for strangers): generous, against loops that run away.

Settings: ALTPROP_RATE_ANONYMOUS, ALTPROP_RATE_READ, ALTPROP_RATE_WRITE, such as "200/second"; "" lifts one.
"""

from django.conf import settings
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

DEFAULT_RATES = {"anonymous": "50/second", "read": "200/second", "write": "100/second"}


class RequestRate(SimpleRateThrottle):
    """One throttle whose rate depends on who asks and whether the request changes anything."""

    def __init__(self) -> None:
        """The rate is chosen with the request in hand."""

    def allow_request(self, request: Request, view: object) -> bool:
        self.scope = _scope(request)
        self.rate = getattr(settings, f"ALTPROP_RATE_{self.scope.upper()}", DEFAULT_RATES[self.scope]) or None
        self.num_requests, self.duration = self.parse_rate(self.rate)
        return super().allow_request(request, view)  # type: ignore[arg-type]  # any view will do

    def get_cache_key(self, request: Request, view: object) -> str:
        user = request.user
        ident = str(user.pk) if user and user.is_authenticated else self.get_ident(request)
        return self.cache_format % {"scope": self.scope, "ident": ident}


def _scope(request: Request) -> str:
    if not (request.user and request.user.is_authenticated):
        return "anonymous"
    return "read" if request.method in SAFE_METHODS else "write"
