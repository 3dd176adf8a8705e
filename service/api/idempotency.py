"""`Idempotency-Key`: a create that is sent twice, since its answer was lost, makes one thing and is answered twice.

    return once(request, lambda: Response(…, status=201, headers={"Location": …}))

The key's row is inserted in the transaction that does the work. A second request with the same key waits at the
unique index until the first has committed, and then finds its answer; should the first fail, nothing is stored and
the second does the work. So only successes are repeated, and no request can see a half-done one.
"""

import hashlib
import json
import re
from collections.abc import Callable
from datetime import timedelta

from django.db import transaction
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from service.api.base import signed_in
from service.api.models import RepeatableAnswer
from service.api.problem import ApiError, HeaderError

HEADER = "Idempotency-Key"
KEPT = timedelta(hours=24)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_WANTED = "1 to 255 visible ASCII characters, such as a UUID"


class BadKey(ApiError):
    """A key that cannot be stored."""

    code, title = "invalid-idempotency-key", "The Idempotency-Key is not usable"


class KeyReused(ApiError):
    """The same key with another request: one of the two is a mistake."""

    status, code, title = 422, "idempotency-key-reused", "This Idempotency-Key was used for another request"


def once(request: Request, work: Callable[[], Response]) -> Response:
    """The answer of `work`, done at most once per key. Raises BadKey, KeyReused, and whatever `work` raises."""
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return work()
    if not _KEY.fullmatch(key):
        detail = f"{HEADER} must be {_WANTED}."
        raise BadKey(detail, errors=[HeaderError(HEADER, detail, key, (_WANTED,))])
    fingerprint = _fingerprint(request)
    with transaction.atomic():
        user = signed_in(request)
        mine = RepeatableAnswer.objects.filter(user=user)
        mine.filter(created_at__lt=timezone.now() - KEPT).delete()
        RepeatableAnswer.objects.bulk_create(
            [RepeatableAnswer(user=user, key=key, fingerprint=fingerprint)], ignore_conflicts=True
        )
        row = mine.select_for_update().get(key=key)
        if row.fingerprint != fingerprint:
            detail = (
                f"{HEADER} {key!r} came before, at {row.created_at:%H:%M:%S} UTC, with another address or body. "
                "Use a new key for a new request."
            )
            raise KeyReused(detail, errors=[HeaderError(HEADER, detail, key)])
        if row.status:
            headers = {"Location": row.location, "Idempotent-Replayed": "true"}
            return Response(row.body, status=row.status, headers=headers)
        answer = work()
        row.status, row.body, row.location = answer.status_code, answer.data, answer.headers.get("Location", "")
        row.save(update_fields=["status", "body", "location"])
        return answer


def _fingerprint(request: Request) -> str:
    asked = [request.method, request.path, sorted(request.query_params.lists()), request.data]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
