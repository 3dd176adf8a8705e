"""`/networks`: the kinds of network, with a JSON Schema of each one's options."""

from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, Field, JsonValue
from rest_framework.request import Request
from rest_framework.response import Response

from service.api.base import ApiViewSet
from service.api.catalogue import described, described_all
from service.api.etag import tagged
from service.api.openapi import answers


class NetworkShown(BaseModel):
    """A kind of network."""

    kind: str
    name: str = Field(description="what `network.kind` takes in a job")
    summary: str
    options: dict[str, JsonValue] = Field(description="JSON Schema of `network`")


class NetworkList(BaseModel):
    """All kinds of network."""

    results: list[NetworkShown]


class NetworkViewSet(ApiViewSet):
    """The kinds of network that a job can train."""

    lookup_field, lookup_value_regex = "name", "[^/]+"

    @extend_schema(summary="List the kinds of network", responses=answers(NetworkList))
    def list(self, request: Request) -> Response:
        return tagged(request, {"results": described_all("network")})

    @extend_schema(summary="Describe a kind of network", responses=answers(NetworkShown, 404))
    def retrieve(self, request: Request, name: str) -> Response:
        return tagged(request, described("network", name))
