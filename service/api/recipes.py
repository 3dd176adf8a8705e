"""`/recipes`: published results that can be repeated, with the paper's figure and the specs that repeat it."""

from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, Field, JsonValue
from rest_framework.request import Request
from rest_framework.response import Response

from service.api.base import ApiViewSet
from service.api.catalogue import described, described_all
from service.api.etag import tagged
from service.api.openapi import answers


class RecipeShown(BaseModel):
    """A published result, or a demonstration."""

    kind: str
    name: str
    title: str
    summary: str
    algorithm: str
    source: str = Field(description="arXiv id and place")
    figures: list[dict[str, JsonValue]] = Field(description="what the source reports, and how sure that is")
    quick: dict[str, JsonValue] = Field(description="minutes on two CPU cores: arms, seeds, cost")
    paper: dict[str, JsonValue] | None = Field(default=None, description="as the paper ran it")


class RecipeList(BaseModel):
    """All recipes."""

    results: list[RecipeShown]


class RecipeViewSet(ApiViewSet):
    """Published results and how to repeat them."""

    lookup_field, lookup_value_regex = "name", "[^/]+"

    @extend_schema(summary="List the recipes", responses=answers(RecipeList))
    def list(self, request: Request) -> Response:
        return tagged(request, {"results": described_all("recipe")})

    @extend_schema(summary="Describe a recipe", responses=answers(RecipeShown, 404))
    def retrieve(self, request: Request, name: str) -> Response:
        return tagged(request, described("recipe", name))
