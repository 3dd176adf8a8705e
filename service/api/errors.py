"""Every exception that leaves a view, and every error that Django answers itself, as problem+json.

`exception_handler` is REST framework's EXCEPTION_HANDLER; the `django_*` views are the handlers of the root URLconf,
for what never reaches a view: an unknown URL, a forged Host header, a crash in a middleware.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import uuid_utils.compat as uuid
from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from service.api.problem import MEDIA_TYPE, ApiError, HeaderError, WrongPart, problem
from service.jobs.errors import CheckpointCorrupt, TransitionRefused
from service.jobs.models import Job
from trainers.errors import FieldError, SpecError

logger = logging.getLogger(__name__)

API_ROOT = "/api"
HINT = "See /api/v1/docs for the addresses there are."
TITLES = {
    400: "The request cannot be understood",
    401: "Who are you?",
    403: "You may not do that",
    404: "Not found",
    405: "Not this method",
    406: "Not in this form",
    413: "The body is too large",
    415: "Not this kind of body",
    429: "Too many requests",
}


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> Response:
    """The answer to a request whose view raised `exc`."""
    set_rollback()
    body, headers = describe(exc, context.get("request"))
    return Response(body, status=body["status"], headers=headers, content_type=MEDIA_TYPE)


def describe(exc: Exception, request: Any = None) -> tuple[dict[str, Any], dict[str, str]]:
    """Problem and headers for an exception. One that nobody foresaw is logged, and answered by its incident number."""
    match exc:
        case ApiError():
            return problem(
                code=exc.code, title=exc.title, status=exc.status, detail=exc.detail, errors=exc.errors
            ), exc.headers
        case SpecError():
            title = "The job cannot be trained as asked"
            return problem(code=exc.code, title=title, status=400, detail=str(exc), errors=exc.errors), {}
        case TransitionRefused():
            title = "That is not possible in this state"
            return problem(code="transition-refused", title=title, status=409, detail=str(exc)), {}
        case Job.DoesNotExist():
            return _plain(404, "The job was deleted a moment ago."), {}
        case CheckpointCorrupt():
            logger.error("%s", exc)
            title = "The stored checkpoint is damaged"
            return problem(code="checkpoint-corrupt", title=title, status=500, detail=str(exc)), {}
        case exceptions.APIException():
            return _framework(exc, request)
        case Http404():
            detail = str(exc) or "There is nothing at this address that you may see."
            return _plain(404, detail), {}
        case PermissionDenied():
            return _plain(403, str(exc) or "You may not do that."), {}
        case RequestDataTooBig():
            return _plain(413, str(exc)), {}
        case SuspiciousOperation() | BadRequest():
            return _plain(400, str(exc)), {}
        case OperationalError() | InterfaceError():
            logger.error("the database did not answer: %s", exc)
            detail = "The database does not answer. Nothing was stored by this request; try again in a few seconds."
            body = problem(code="database-unavailable", title="The service is not whole", status=503, detail=detail)
            return body, {"Retry-After": "5"}
    return _unforeseen(exc, request), {}


def _framework(exc: exceptions.APIException, request: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """REST framework's own exceptions."""
    headers: dict[str, str] = {}
    detail = str(exc.detail)
    errors: list[WrongPart] = []
    match exc:
        case exceptions.ValidationError():
            errors = _fields(exc.detail, "#")
            detail = " ".join(error.detail for error in errors)
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            # REST framework has already turned 401 into 403 where no authentication class can ask for credentials.
            if exc.status_code == 401:
                headers["WWW-Authenticate"] = getattr(exc, "auth_header", "Token")
                detail = detail.rstrip(".") + ". Send the header `Authorization: Token …`."
                errors = [HeaderError("Authorization", detail, None, ("Token …",))]
        case exceptions.NotFound():
            detail = "There is nothing at this address that you may see."
        case exceptions.MethodNotAllowed():
            allowed = tuple(name for name in _methods(request) if name != "OPTIONS")
            detail = f"{request.method} is not possible here; {', '.join(allowed)} is." if allowed else detail
        case exceptions.UnsupportedMediaType():
            got = request.content_type if request is not None else None
            detail = f"The body must be JSON, sent with Content-Type: application/json; got {got or 'none'}."
            errors = [HeaderError("Content-Type", detail, got, ("application/json",))]
        case exceptions.NotAcceptable():
            got = request.META.get("HTTP_ACCEPT") if request is not None else None
            detail = f"Answers here are application/json; the Accept header allows only {got}."
            errors = [HeaderError("Accept", detail, got, ("application/json",))]
        case exceptions.Throttled():
            wait = max(1, math.ceil(getattr(exc, "wait", None) or 1))
            headers["Retry-After"] = str(wait)
            detail = f"Too many requests. The next one is taken in {wait} s."
    return _plain(exc.status_code, detail, errors), headers


def _plain(status: int, detail: str, errors: Sequence[WrongPart] = ()) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    code = phrase.lower().replace(" ", "-")
    return problem(code=code, title=TITLES.get(status, phrase), status=status, detail=detail, errors=errors)


def _unforeseen(exc: BaseException | None, request: Any) -> dict[str, Any]:
    incident = str(uuid.uuid7())
    where = f"{request.method} {request.path}" if request is not None else "a request"
    logger.error("incident %s in %s", incident, where, exc_info=exc)
    return problem(
        code="internal-error",
        title="The service made a mistake",
        status=500,
        detail=f"This is a fault of the service, not of your request. Its log has the details under {incident}.",
        incident=incident,
    )


def _fields(detail: Any, pointer: str) -> list[WrongPart]:
    """REST framework's nested error lists, flat."""
    if isinstance(detail, dict):
        return [error for key, value in detail.items() for error in _fields(value, f"{pointer}/{key}")]
    if isinstance(detail, list):
        return [error for value in detail for error in _fields(value, pointer)]
    return [FieldError(pointer, str(detail))]


def _methods(request: Any) -> list[str]:
    view = (request.parser_context or {}).get("view") if request is not None else None
    return list(view.allowed_methods) if view is not None else []


# What Django answers itself ----------------------------------------------------------------------


def is_api(request: HttpRequest) -> bool:
    """Whether the address belongs to the API, whose errors are JSON; elsewhere people read them as pages."""
    return request.path == API_ROOT or request.path.startswith(API_ROOT + "/")


def unknown_address(request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
    """404 for an address under /api that is none."""
    return _answer(_plain(404, f"There is nothing at {request.path}. {HINT}"))


def django_400(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400 of the root URLconf: a forged Host, too many form fields, a body that is too large."""
    if not is_api(request):
        return defaults.bad_request(request, exception)
    body, _ = describe(exception if isinstance(exception, SuspiciousOperation | BadRequest) else BadRequest(), request)
    return _answer(body)


def django_403(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """handler403 of the root URLconf."""
    if not is_api(request):
        return defaults.permission_denied(request, exception or PermissionDenied())
    return _answer(_plain(403, str(exception or "") or "You may not do that."))


def django_404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404 of the root URLconf."""
    return unknown_address(request) if is_api(request) else defaults.page_not_found(request, exception)


def django_500(request: HttpRequest) -> HttpResponse:
    """handler500 of the root URLconf; Django has logged the exception, this adds the incident's number."""
    return _answer(_unforeseen(None, request)) if is_api(request) else defaults.server_error(request)


def _answer(body: dict[str, Any]) -> JsonResponse:
    return JsonResponse(body, status=body["status"], content_type=MEDIA_TYPE)
