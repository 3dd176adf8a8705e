"""`/datasets`: the data sets, with their sources, licences, files and a JSON Schema of each one's options."""

from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, Field, JsonValue
from rest_framework.request import Request
from rest_framework.response import Response

from service.api.base import ApiViewSet
from service.api.catalogue import described, described_all
from service.api.etag import tagged
from service.api.openapi import answers


class DatasetShown(BaseModel):
    """A data set."""

    kind: str
    name: str = Field(description="what `dataset` takes in a job")
    title: str
    summary: str
    task: str = Field(description="what a network must do with it")
    source: str
    licence: str
    sizes: dict[str, JsonValue] = Field(description="samples in each split")
    endless: bool = Field(description="a stream: `training.steps_per_epoch` says how long an epoch is")
    usual_network: dict[str, JsonValue] = Field(description="the network of a job that names none")
    files: list[dict[str, JsonValue]] = Field(description="what is downloaded, with sizes and sums")
    options: dict[str, JsonValue] = Field(description="JSON Schema of `dataset_options`")


class DatasetList(BaseModel):
    """All data sets."""

    results: list[DatasetShown]


class DatasetViewSet(ApiViewSet):
    """The data sets that a job can train on."""

    lookup_field, lookup_value_regex = "name", "[^/]+"

    @extend_schema(summary="List the data sets", responses=answers(DatasetList))
    def list(self, request: Request) -> Response:
        return tagged(request, {"results": described_all("data set")})

    @extend_schema(summary="Describe a data set", responses=answers(DatasetShown, 404))
    def retrieve(self, request: Request, name: str) -> Response:
        return tagged(request, described("data set", name))
