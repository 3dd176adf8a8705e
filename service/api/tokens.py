"""`/tokens`: the caller's own tokens. The text of one is answered once, when it is made."""

from django.http import Http404
from drf_spectacular.utils import extend_schema
from knox.models import AuthToken
from pydantic import BaseModel, Field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from service.accounts.tokens import LONGEST_DAYS, make_token, revoke_token, valid_tokens
from service.api.base import ApiViewSet, object_in, signed_in
from service.api.openapi import BODY, answers
from service.jobs.presentation import time_text
from trainers.spec import StrictModel, parse_model


class TokenRequest(StrictModel):
    """A new token."""

    days: int | None = Field(
        default=None, ge=1, le=LONGEST_DAYS, description="how long it opens the service; null: as long as is usual here"
    )


class TokenShown(BaseModel):
    key: str = Field(description="the token's first characters, by which it is revoked; they open nothing")
    created_at: str
    expires_at: str | None
    current: bool = Field(description="the token of this request")


class NewToken(TokenShown):
    token: str = Field(description="the token itself: it cannot be shown again")


class TokenList(BaseModel):
    """Tokens that open the service, newest first."""

    results: list[TokenShown]


class TokenViewSet(ApiViewSet):
    """The caller's own tokens."""

    @extend_schema(summary="List your tokens", responses=answers(TokenList))
    def list(self, request: Request) -> Response:
        return Response({"results": [_shown(token, request) for token in valid_tokens(signed_in(request))]})

    @extend_schema(summary="Make a token", request=TokenRequest, responses=answers(NewToken, *BODY, status=201))
    def create(self, request: Request) -> Response:
        wanted = parse_model(TokenRequest, object_in(request))
        made, text = make_token(signed_in(request), days=wanted.days)
        location = reverse("api:token", kwargs={"key": made.token_key}, request=request)
        body = {**_shown(made, request), "token": text}
        return Response(body, status=201, headers={"Location": location, "Cache-Control": "no-store"})

    @extend_schema(summary="Revoke a token", responses=answers(None, 404, status=204))
    def destroy(self, request: Request, key: str) -> Response:
        if "\x00" in key or not revoke_token(signed_in(request), key):
            raise Http404(f"You have no token that begins with {key[:80]!r}.")
        return Response(status=204)


def _shown(token: AuthToken, request: Request) -> dict[str, object]:
    return TokenShown(
        key=token.token_key,
        created_at=time_text(token.created),
        expires_at=time_text(token.expiry),
        current=getattr(request.auth, "digest", None) == token.digest,
    ).model_dump()
