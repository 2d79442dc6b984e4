"""The base of every HTTP endpoint: JSON in, JSON out, and every failure as the same envelope."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import orjson
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.http.request import RawPostDataException, UnreadablePostError
from django.middleware.csrf import CsrfViewMiddleware
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from ..conf import get_settings
from ..database import release_request_connections, run_db
from ..engine import Engine, background_engine, get_engine
from ..exceptions import (
    CSRFFailed,
    DatabaseUnavailable,
    InvalidRequest,
    LLMStreamError,
    MalformedJSON,
    MethodNotAllowed,
    PermissionDenied,
    TooLarge,
    UnsupportedMediaType,
)
from ..fields import Fields
from ..permissions import get_policy

logger = logging.getLogger("llmstream.http")

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Endpoint(View):
    """An async view that answers JSON.

    Exempt from LoginRequiredMiddleware and from the CSRF middleware, whose answers are HTML: sign-in and the CSRF token
    are checked here, and answered in JSON. Never in an ATOMIC_REQUESTS transaction, which async views cannot have.
    """

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., Any]:
        """Return the view function with what every endpoint needs."""
        view = super().as_view(**initkwargs)
        return csrf_exempt(login_not_required(transaction.non_atomic_requests(view)))

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        """Run the handler of the method; turn every failure into its envelope."""
        try:
            handler = getattr(self, (request.method or "").lower(), None)
            if handler is None or request.method not in self.allowed:
                raise MethodNotAllowed
            response: HttpResponseBase = await handler(request, *args, **kwargs)
        except LLMStreamError as error:
            return self.failure(request, error)
        except DjangoPermissionDenied:
            return self.failure(request, PermissionDenied())
        except SuspiciousOperation:  # more parameters than Django takes
            return self.failure(request, InvalidRequest())
        except DatabaseError:
            logger.warning("The database failed", exc_info=True)
            return self.failure(request, DatabaseUnavailable(retry_after_ms=1_000))
        except Exception:
            logger.exception("A request failed")
            return self.failure(request, LLMStreamError())
        return response

    @property
    def allowed(self) -> list[str]:
        """The methods of this endpoint."""
        return [method.upper() for method in ("get", "post", "patch", "delete") if hasattr(self, method)]

    def failure(self, request: HttpRequest, error: LLMStreamError) -> HttpResponse:
        """Answer with an error's envelope."""
        response = json_response(error.envelope(), status=error.status)
        if isinstance(error, MethodNotAllowed):
            response["Allow"] = ", ".join(self.allowed)
        if error.retry_after_ms is not None:
            response["Retry-After"] = str(-(-error.retry_after_ms // 1000))
        return response

    async def work(self, func: Callable[..., Any], *args: Any) -> Any:
        """Run synchronous work that starts with the request: CSRF check first, on the database executor.

        What middleware opened is given back before: a request that holds one connection while it waits for another
        would empty a small pool with its like.
        """
        await release_request_connections()
        if self.request.method not in _SAFE_METHODS:
            serving_engine(self.request)  # there before the commit, so that the commit becomes known elsewhere
        return await run_db(self._checked, func, self.request, *args)

    def _checked(self, func: Callable[..., Any], request: HttpRequest, *args: Any) -> Any:
        if request.method not in _SAFE_METHODS:
            # Before the CSRF check, which would parse a form however long it is.
            self.check_body(request)
            if get_policy().needs_csrf(request):
                _check_csrf(request)
        return func(request, *args)

    def check_body(self, request: HttpRequest) -> None:
        """Raise for a body that this endpoint does not take, by its headers: by default anything but short JSON."""
        if body_length(request, get_settings().max_body_bytes) and request.content_type != "application/json":
            raise UnsupportedMediaType


def serving_engine(request: HttpRequest) -> Engine:
    """Return the engine that runs what this request starts; WSGI, without a loop that lives on, gets one of its own."""
    return get_engine() if isinstance(request, ASGIRequest) else background_engine()


def body_length(request: HttpRequest, most: int) -> int:
    """Return the length of a request's body by its header; raises TooLarge or InvalidRequest."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal():
        raise InvalidRequest
    if int(length) > most:
        raise TooLarge
    return int(length)


def json_response(data: Any, status: int = 200) -> HttpResponse:
    """Answer JSON that no cache keeps."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return HttpResponse(orjson.dumps(data), content_type="application/json", status=status, headers=headers)


def read_body(request: HttpRequest) -> Fields:
    """Read the request's JSON object, empty when there is no body.

    Raises UnsupportedMediaType, TooLarge or MalformedJSON.
    """
    limit = get_settings().max_body_bytes
    try:
        raw = request.body
    except RequestDataTooBig:
        raise TooLarge from None
    except UnreadablePostError:
        raise MalformedJSON from None
    except RawPostDataException:
        # A form: the CSRF check has looked for its token there.
        raise UnsupportedMediaType from None
    if len(raw) > limit:
        raise TooLarge
    if not raw:
        return Fields({})
    if request.content_type != "application/json":
        raise UnsupportedMediaType
    return Fields.parse(raw)


class _CSRFCheck(CsrfViewMiddleware):
    """Django's own check, which here tells the reason and leaves the answer to us."""

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def check_reader(request: HttpRequest) -> None:
    """Raise PermissionDenied for a page of another site, which could not read a stream but would hold it open.

    Trusted are those that may write, by ``CSRF_TRUSTED_ORIGINS``.
    """
    if not get_policy().needs_csrf(request):
        return
    check = _CSRFCheck(lambda _: HttpResponse())
    if "Origin" in request.headers:
        trusted = check._origin_verified(request)  # type: ignore[attr-defined]
    else:
        trusted = request.headers.get("Sec-Fetch-Site") != "cross-site"
    if not trusted:
        raise PermissionDenied


def _check_csrf(request: HttpRequest) -> None:
    check = _CSRFCheck(lambda _: HttpResponse())
    check.process_request(request)
    if check.process_view(request, lambda _: HttpResponse(), (), {}) is not None:
        raise CSRFFailed
