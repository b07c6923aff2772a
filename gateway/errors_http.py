"""Errors over HTTP: every refusal is JSON, `{"error":{"code":...,"message":...}}`."""

from __future__ import annotations

import logging

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from actors.errors import InternalError, ServiceError, http_status

log = logging.getLogger(__name__)

#: aiohttp's own refusals: status -> code, sentence.
_REFUSALS: dict[int, tuple[str, str]] = {
    403: ("forbidden", "Requests from this web page or host name are not accepted."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method."),
    413: ("body_too_large", "The request's body is larger than 256 KiB."),
    415: ("unsupported_media_type", "Send the body as application/json."),
    426: ("upgrade_required", "This address speaks WebSocket."),
}


def error_response(code: str, message: str, status: int) -> web.Response:
    """Return the JSON of an error."""
    body = orjson.dumps({"error": {"code": code, "message": message}})
    return web.Response(body=body, status=status, content_type="application/json")


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into a JSON error; what is unexpected is logged in full."""
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        if refusal.status < 400:
            raise  # a redirect
        return _refusal_response(refusal)
    except ServiceError as error:
        status = http_status(error.code)
        if status >= 500:
            log.warning("%s %s: %s (%s)", request.method, request.path, error, error.code)
        return error_response(error.code, str(error), status)
    except ConnectionError:
        raise  # the client has gone; nobody is left to be told
    except Exception:
        if request.writer.output_size:
            raise  # a part of the answer is out: aiohttp logs the error and cuts the connection
        log.exception("%s %s failed", request.method, request.path)
        return error_response(InternalError.code, str(InternalError()), 500)


def _refusal_response(refusal: web.HTTPException) -> web.Response:
    code, sentence = _REFUSALS.get(refusal.status, ("invalid_input", refusal.reason))
    response = error_response(code, sentence, refusal.status)
    if "Allow" in refusal.headers:
        response.headers["Allow"] = refusal.headers["Allow"]
    return response
