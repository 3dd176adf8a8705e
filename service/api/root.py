"""`/api/v1/`: the addresses of the API."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from service.api.base import ApiView
from service.api.openapi import answers

NAMES = (
    "algorithms",
    "networks",
    "datasets",
    "recipes",
    "jobs",
    "comparisons",
    "experiments",
    "webhooks",
    "workers",
    "me",
    "tokens",
    "health",
    "schema",
    "docs",
)


class RootView(ApiView):
    """Where things are."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(summary="Where things are", responses=answers(OpenApiTypes.OBJECT, public=True))
    def get(self, request: Request) -> Response:
        return Response({name: reverse(f"api:{name}", request=request) for name in NAMES})
