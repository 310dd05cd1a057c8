"""What every request passes on its way to a handler, in this order, and what every answer gets on its way back."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import web

from admin_api.auth import PRINCIPAL, identify
from admin_api.dialect import Handler
from admin_api.errors import ApiError, refusal
from admin_api.origin import POLICY
from admin_api.switchboard import SWITCHBOARD
from state.errors import StoreError
from state.refusal import Refused

REQUEST_ID: Final = web.RequestKey("request_id", str)

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_LOG: Final = logging.getLogger(__name__)


@web.middleware
async def number(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id: the client's own, if it has the form of one."""
    _number(request)
    return await handler(request)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a request fails with into the answer that its dialect has for it."""
    try:
        return await handler(request)
    except ApiError as error:
        failure = error
    except Refused as refused:
        failure = refusal(refused)
    except web.HTTPException as error:
        failure = _from_aiohttp(request, error)
    except StoreError as error:
        # Its text is the line for the operator; where it was raised says nothing about a full disk.
        _LOG.error("a change was not saved, request %s: %s", request[REQUEST_ID], error)
        failure = ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "The change could not be saved; the node's log says why.")
    except Exception:  # noqa: BLE001 - the caller gets an answer whatever is wrong, and the log has the rest
        _LOG.exception("%s %s failed, request %s", request.method, request.path, request[REQUEST_ID])
        failure = ApiError(
            HTTPStatus.INTERNAL_SERVER_ERROR, f"Something is wrong in the node, see {request[REQUEST_ID]} in its log."
        )
    return request.app[SWITCHBOARD].dialect(request).render(failure)


@web.middleware
async def answer_preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a browser that asks whether a page may send a request (Fetch standard, section 4.8)."""
    method = request.headers.get("Access-Control-Request-Method")
    if request.method != "OPTIONS" or method is None or "Origin" not in request.headers:
        return await handler(request)
    switchboard = request.app[SWITCHBOARD]
    grants: Mapping[str, str] = {}
    if switchboard.dialect(request).any_origin:
        match = await request.app.router.resolve(request.clone(method=method))
        grants = request.app[POLICY].preflight(request, switchboard.endpoint(match))
    return web.Response(status=HTTPStatus.NO_CONTENT, headers=grants)


@web.middleware
async def check_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a page of somebody else asks for."""
    request.app[POLICY].check(request, request.app[SWITCHBOARD].endpoint(request.match_info))
    return await handler(request)


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find out who asks, where that matters."""
    switchboard = request.app[SWITCHBOARD]
    endpoint = switchboard.endpoint(request.match_info)
    if endpoint is not None and endpoint.access == "protected":
        request[PRINCIPAL] = await identify(switchboard.dialect(request).authenticators, request)
    return await handler(request)


async def finish_head(request: web.Request, response: web.StreamResponse) -> None:
    """Add what every answer carries; on the signal, because a stream sends its head before its handler returns."""
    if REQUEST_ID not in request:  # aiohttp refuses an unknown Expect before any middleware
        _number(request)
    response.headers["Server"] = "zexio"
    response.headers["X-Request-Id"] = request[REQUEST_ID]
    response.headers["X-Content-Type-Options"] = "nosniff"
    switchboard = request.app[SWITCHBOARD]
    if request.method != "OPTIONS" and switchboard.dialect(request).any_origin:
        response.headers.update(request.app[POLICY].grants(request, switchboard.endpoint(request.match_info)))


def _number(request: web.Request) -> None:
    given = request.headers.get("X-Request-Id", "")
    request[REQUEST_ID] = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> ApiError:
    status = HTTPStatus(error.status)
    match status:
        case HTTPStatus.NOT_FOUND:
            return ApiError(status, f"There is nothing at {request.path}.")
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allow = error.headers.get("Allow", "")
            return ApiError(
                status, f"{request.method} is not for {request.path}, only {allow}.", headers={"Allow": allow}
            )
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return ApiError(status, "The body is too large.")
        case _:
            return ApiError(status, error.reason)
