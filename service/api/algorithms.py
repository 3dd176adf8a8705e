"""`/algorithms`: the learning algorithms, with JSON Schemas of their hyperparameters and their declared properties."""

from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, Field, JsonValue
from rest_framework.request import Request
from rest_framework.response import Response

from service.api.base import ApiViewSet
from service.api.catalogue import described, described_all
from service.api.etag import tagged
from service.api.openapi import answers


class PropertyShown(BaseModel):
    """One declared property and its reason."""

    answer: str = Field(description="yes, no or partly")
    reason: str


class AlgorithmShown(BaseModel):
    """A learning algorithm."""

    kind: str
    name: str = Field(description="what `algorithm` takes in a job")
    summary: str
    hyperparameters: dict[str, JsonValue] = Field(description="JSON Schema: defaults, ranges, meanings")
    properties: dict[str, PropertyShown] = Field(description="what it needs, with the usual hyperparameters")
    extra_state: str = Field(description="kept between steps beyond weights and optimizer")
    trains: list[str] = Field(description="kinds of network that it can train")


class AlgorithmList(BaseModel):
    """All learning algorithms."""

    results: list[AlgorithmShown]


class AlgorithmViewSet(ApiViewSet):
    """The learning algorithms that a job can use."""

    lookup_field, lookup_value_regex = "name", "[^/]+"

    @extend_schema(summary="List the learning algorithms", responses=answers(AlgorithmList))
    def list(self, request: Request) -> Response:
        return tagged(request, {"results": described_all("algorithm")})

    @extend_schema(summary="Describe a learning algorithm", responses=answers(AlgorithmShown, 404))
    def retrieve(self, request: Request, name: str) -> Response:
        return tagged(request, described("algorithm", name))
