"""The OpenAPI document: what our own dependencies read, and what every call may answer."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.answers import if_match
from api.auth import Roles, caller
from api.body import JsonBody
from api.idempotency import optional_key, required_key
from api.lists import QueryOf
from api.problems import OWN_PROBLEMS, PROBLEM_JSON, TITLES

_REF = "#/components/schemas/{model}"

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "errors"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "For machines; never renamed."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "RFC 6901, into the body."},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}


def describe(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Let the application describe itself once, on the first question."""
    routes = [
        route
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
    ]

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, routes)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # the framework's documented way


def _document(app: FastAPI, routes: Sequence[APIRoute]) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Problem"] = _PROBLEM
    models = _bodies(routes)
    _, defined = models_json_schema([(m, "validation") for m in models], ref_template=_REF)
    for name, schema in defined.get("$defs", {}).items():
        schemas.setdefault(name, schema)
    for route in routes:
        for method in route.methods or ():
            _complete(document["paths"][route.path_format][method.lower()], route)
    _show_examples(document)
    return document


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    parameters = operation.setdefault("parameters", [])
    calls = list(_calls(route.dependant))
    operation["responses"].pop("422", None)
    own = operation.pop(OWN_PROBLEMS, None)
    if own is not None:
        operation["responses"] |= _problems({*own, *_usual_problems(route, calls)})
    operation["responses"]["default"] = _problem("A problem (RFC 9457).")
    for call in calls:
        if isinstance(call, JsonBody):
            schema = {"$ref": _REF.format(model=call.model.__name__)}
            operation["requestBody"] = {
                "required": not call.may_be_empty,
                "content": {"application/json": {"schema": schema}},
            }
        elif isinstance(call, QueryOf):
            parameters += _query_parameters(call.model)
        elif call is if_match:
            parameters.append(_header("If-Match", required=False))
    if required_key in calls:
        parameters.append(_header("Idempotency-Key", required=True))
    elif optional_key in calls:
        parameters.append(_header("Idempotency-Key", required=False))


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model="Problem")}
    return {"description": description, "content": {PROBLEM_JSON: {"schema": schema}}}


def _problems(codes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What is answered with each status that is no success: its codes, and what they mean."""
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for code in sorted(codes):
        status, title = TITLES[code]
        by_status[status].append(f"- `{code}`: {title}")
    return {
        str(status): _problem("\n".join(lines)) | {"x-codes": [x.split("`")[1] for x in lines]}
        for status, lines in sorted(by_status.items())
    }


def _usual_problems(route: APIRoute, calls: Sequence[object]) -> Iterator[str]:
    """The codes that come with what a route reads, whatever it does."""
    yield from ("internal_error", "unavailable")
    if caller in calls:
        yield "unauthenticated"
    if any(isinstance(call, Roles) for call in calls):
        yield "forbidden"
    if route.param_convertors:
        yield "not_found"
    if any(isinstance(call, JsonBody) for call in calls):
        yield from ("malformed_json", "body_too_large", "validation_failed")
    if any(isinstance(call, QueryOf) for call in calls):
        yield "query_invalid"
    if if_match in calls:
        yield "version_conflict"
    if required_key in calls:
        yield "idempotency_key_missing"
    if optional_key in calls:
        for why in ("invalid", "in_flight", "reused"):
            yield f"idempotency_key_{why}"


@cache
def examples() -> list[dict[str, Any]]:
    """Calls with their answers, one after the other, as a test really sent them.

    Each has `name`, `role`, `method`, `path` (of the document), `request`, `status`, `answer`.
    """
    read = files("api").joinpath("examples", "returns.json").read_text(encoding="utf-8")
    told: list[dict[str, Any]] = json.loads(read)
    return told


def _show_examples(document: dict[str, Any]) -> None:
    for each in examples():
        operation = document["paths"][each["path"]][each["method"]]
        if each["request"] is not None and each["status"] < 400:
            _add_example(operation["requestBody"], each["name"], each["request"])
        _add_example(operation["responses"][str(each["status"])], each["name"], each["answer"])


def _add_example(shown: dict[str, Any], name: str, value: Any) -> None:
    for content in shown["content"].values():
        content.setdefault("examples", {})[name] = {"summary": name, "value": value}


def _query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    needed = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": field}
        for name, field in schema["properties"].items()
    ]


def _header(name: str, *, required: bool) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": required, "schema": {"type": "string"}}


def _bodies(routes: Sequence[APIRoute]) -> list[type[BaseModel]]:
    found = {
        call.model
        for route in routes
        for call in _calls(route.dependant)
        if isinstance(call, JsonBody)
    }
    return sorted(found, key=lambda model: model.__name__)


def _calls(dependant: Dependant) -> Iterator[object]:
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)
