"""Every "no" and every fault as `application/problem+json` (RFC 9457), with a code never renamed.

Routes raise `Problem`; nothing else here turns into an answer but what the framework and the
database raise. A fault we did not foresee is a 500 that tells nothing about our insides.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from oms.cancelling import Refusal
from oms.fields import Flaw

log = structlog.get_logger()

PROBLEM_JSON = "application/problem+json"

TITLES: dict[str, tuple[int, str]] = {
    "malformed_json": (400, "The body is no JSON we can read"),
    "idempotency_key_missing": (400, "An Idempotency-Key is needed"),
    "idempotency_key_invalid": (400, "The Idempotency-Key is no key"),
    "unauthenticated": (401, "No valid API key"),
    "signature_invalid": (401, "The signature does not fit"),
    "forbidden": (403, "Not for this role"),
    "not_found": (404, "There is no such thing"),
    "method_not_allowed": (405, "This cannot be done here"),
    "idempotency_key_in_flight": (409, "The first request under this key is still at work"),
    "reference_reused": (409, "The reference names something else"),
    "part_reused": (409, "Other rows were sent under this number"),
    "import_incomplete": (409, "Not all rows have come"),
    "stock_changed": (409, "The stock is not what was expected"),
    "already_shipped": (409, "The goods are on their way"),
    "invalid_state": (409, "This does not fit the state"),
    "not_parked": (409, "The step is not parked"),
    "label_void": (410, "The label is not to be used any more"),
    "version_conflict": (412, "It has changed since it was read"),
    "body_too_large": (413, "The body is larger than 1 MiB"),
    "validation_failed": (422, "The request is not valid"),
    "query_invalid": (422, "The query is not valid"),
    "rate_missing": (422, "A currency has no rate"),
    "idempotency_key_reused": (422, "The key names another request"),
    "sku_unknown": (422, "No such article"),
    "location_unknown": (422, "No such location"),
    "channel_unknown": (422, "No such channel"),
    "address_invalid": (422, "The address is impossible"),
    "delivery_method_unsupported": (422, "This delivery method is not offered"),
    "tender_unsupported": (422, "This tender is not taken"),
    "tenders_do_not_match_total": (422, "The tenders do not add up to the total"),
    "insufficient_stock": (422, "Not enough stock"),
    "payment_declined": (422, "The payment was declined"),
    "not_returnable": (422, "This cannot be returned"),
    "resolution_unsupported": (422, "This resolution is not offered"),
    "import_refused": (422, "The import has errors"),
    "stock_negative": (422, "Stock cannot fall below zero"),
    "line_unknown": (422, "There is no such line"),
    "quantity_too_large": (422, "More units than there are"),
    "not_all_packed": (422, "Something picked is in no parcel"),
    "fulfillment_order_unknown": (422, "The order has no such fulfillment order"),
    "code_wrong": (422, "The code is wrong"),
    "internal_error": (500, "A fault of ours"),
    "unavailable": (503, "Not available right now"),
    "reconciling": (503, "Restored, and being compared with the outside"),
}
"""Status and title of every code. `docs/integrate.md` says what to do about each."""


OWN_PROBLEMS = "x-own-problems"


def may_answer(*codes: str) -> dict[str, Any]:
    """Say for the OpenAPI document with which codes of its own a route refuses.

    Those that come with its body, key, query or path are known. For `openapi_extra` of a route.
    """
    assert set(codes) <= TITLES.keys()
    return {OWN_PROBLEMS: list(codes)}


class Problem(Exception):
    """An answer other than success. `code` is one of `TITLES`."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[Flaw] | Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail
        self.status, self.title = TITLES[code]
        self.errors = [
            each.model_dump() if isinstance(each, BaseModel) else dict(each) for each in errors
        ]
        self.headers = dict(headers or {})
        self.extra = extra

    def body(self) -> dict[str, Any]:
        """The problem as RFC 9457 writes it."""
        return {
            "type": f"urn:oms:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "errors": self.errors,
            **self.extra,
        }

    def response(self) -> JSONResponse:
        """The answer to send."""
        return JSONResponse(
            self.body(), status_code=self.status, headers=self.headers, media_type=PROBLEM_JSON
        )


def refused(refusal: Refusal) -> Problem:
    """Turn a command's "no" into a problem that names the field, where there is one."""
    errors = (
        [Flaw(pointer=refusal.pointer, code=refusal.code, detail=refusal.detail)]
        if refusal.pointer
        else []
    )
    return Problem(refusal.code, refusal.detail, errors=errors)


def not_found() -> Problem:
    """Say the same for what does not exist and for what belongs to somebody else."""
    return Problem("not_found", "There is nothing here that you may see.")


def unknown_field(field: str) -> Problem:
    """Say that the `sku`, `location` or `channel` that is named does not exist."""
    flaw = Flaw(pointer=f"/{field}", code=f"{field}_unknown", detail="There is none.")
    return Problem(f"{field}_unknown", "Nothing was changed.", errors=[flaw])


def unavailable(what: str) -> Problem:
    """Say that `what` cannot be reached; nothing was done that was not acknowledged."""
    return Problem("unavailable", f"{what} cannot be reached.", headers={"Retry-After": "1"})


def reconciling() -> Problem:
    """Say that no order is taken after a restore, until it is known what was done meanwhile."""
    return Problem(
        "reconciling",
        "No orders are taken until the restored books agree with the outside.",
        headers={"Retry-After": "60"},
    )


def install(app: FastAPI) -> None:
    """Answer every exception with a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _path_invalid)
    app.add_exception_handler(HTTPException, _framework)
    for fault in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(fault, _database_down)
    app.add_exception_handler(DBAPIError, _database_fault)
    app.add_exception_handler(Exception, _bug)


async def _problem(_: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, Problem)
    return problem.response()


async def _framework(_: Request, fault: Exception) -> JSONResponse:
    """Only routing raises these: an unknown path, or a method the path does not have."""
    assert isinstance(fault, HTTPException)
    if fault.status_code == 405:
        headers = dict(fault.headers or {})
        return Problem(
            "method_not_allowed", "The path has other methods.", headers=headers
        ).response()
    return Problem("not_found", "No such path.").response()


async def _path_invalid(request: Request, fault: Exception) -> JSONResponse:
    """Bodies and queries are read by our own dependencies, so this is an id in the path."""
    assert isinstance(fault, RequestValidationError)
    if request.method != "PUT":
        return not_found().response()
    flaws = [
        Flaw(pointer=f"/{error['loc'][-1]}", code="not_allowed", detail=str(error["msg"]))
        for error in fault.errors()
    ]
    return Problem("validation_failed", "The path names no possible id.", errors=flaws).response()


def query_problem(errors: Iterable[Mapping[str, Any]]) -> Problem:
    """Turn Pydantic's errors about a query into a problem; a pointer names the parameter."""
    flaws = []
    for error in errors:
        name = str(error["loc"][0]) if error["loc"] else ""
        code = "unknown_parameter" if error["type"] == "extra_forbidden" else "invalid"
        flaws.append(Flaw(pointer=f"/{name}", code=code, detail=str(error["msg"])))
    return Problem("query_invalid", "See errors.", errors=flaws)


async def _database_down(request: Request, fault: Exception) -> JSONResponse:
    log.warning("database_unavailable", path=request.url.path, fault=type(fault).__name__)
    return unavailable("The database").response()


async def _database_fault(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, DBAPIError)
    if fault.connection_invalidated:
        return await _database_down(request, fault)
    return await _bug(request, fault)


async def _bug(request: Request, fault: Exception) -> JSONResponse:
    # The message of a database error holds its parameters, hence personal data: only its type.
    log.error("request_failed", path=request.url.path, fault=type(fault).__name__)
    return Problem("internal_error", "We were told, and will look.").response()
