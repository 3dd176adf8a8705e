"""`/me`: whom the service takes you for."""

from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, Field
from rest_framework.request import Request
from rest_framework.response import Response

from service.api.base import ApiView
from service.api.openapi import answers
from service.jobs.presentation import time_text


class MeShown(BaseModel):
    username: str
    email: str
    is_staff: bool = Field(description="sees everybody's jobs")
    token_expires_at: str | None = Field(description="of the token of this request; null: never, or no token")


class MeView(ApiView):
    """The user of this request."""

    @extend_schema(summary="Whom the service takes you for", responses=answers(MeShown))
    def get(self, request: Request) -> Response:
        user = request.user
        return Response(
            MeShown(
                username=user.get_username(),
                email=getattr(user, "email", ""),
                is_staff=bool(getattr(user, "is_staff", False)),
                token_expires_at=time_text(getattr(request.auth, "expiry", None)),
            ).model_dump()
        )
