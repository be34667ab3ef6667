"""Lists: `limit`, opaque keyset cursors, and queries that hold nothing unknown."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from api.problems import Problem, query_problem
from oms.fields import Flaw

DEFAULT_LIMIT = 25
MAX_LIMIT = 100

Item = TypeVar("Item")


def _whole_number(text: object) -> object:
    if isinstance(text, str):
        if not (text.isascii() and text.isdecimal() and len(text) <= 9):
            raise PydanticCustomError("invalid", "a whole number is wanted")
        return int(text)
    return text


def _truth(text: object) -> object:
    return {"true": True, "false": False}.get(text, text) if isinstance(text, str) else text


WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
Truth = Annotated[bool, BeforeValidator(_truth)]


class Query(BaseModel):
    """The parameters of a request; unknown ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ListQuery(Query):
    """The parameters every list has."""

    limit: Annotated[WholeNumber, Field(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT
    cursor: Annotated[str, Field(max_length=1000)] | None = None


Parameters = TypeVar("Parameters", bound=Query)


class QueryOf:
    """A dependency that reads the query as one model; each parameter at most once."""

    def __init__(self, model: type[Query]) -> None:
        self.model = model

    def __call__(self, request: Request) -> Any:
        """Read and check.

        Raises:
            Problem: `query_invalid`.
        """
        items = request.query_params.multi_items()
        given = dict(items)
        if len(given) != len(items):
            names = [name for name, _ in items]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise Problem(
                "query_invalid",
                "See errors.",
                errors=[
                    Flaw(pointer=f"/{name}", code="repeated", detail="Given more than once.")
                    for name in twice
                ],
            )
        try:
            return self.model.model_validate(given)
        except ValidationError as fault:
            raise query_problem(fault.errors(include_url=False, include_input=False)) from None


def encode_cursor(*position: str | int) -> str:
    """Make the opaque cursor that names a position in a list."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """Read a cursor of ours; the first page has none.

    Raises:
        Problem: `query_invalid`, when it holds anything but values of these `kinds`.
    """
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = json.loads(raw.decode("utf-8"))
    except (ValueError, binascii.Error, RecursionError):
        position = None
    if not isinstance(position, list) or [type(part) for part in position] != list(kinds):
        raise bad_cursor()
    if any(not _storable(part) for part in position):
        raise bad_cursor()
    return tuple(position)


def cursor_time(text: str) -> datetime:
    """Read the time in a cursor of ours.

    Raises:
        Problem: `query_invalid`.
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise bad_cursor() from None
    if when.tzinfo is None or not 1970 <= when.year <= 9998:
        raise bad_cursor()
    return when


def bad_cursor() -> Problem:
    """Say that a cursor is none of ours."""
    flaw = Flaw(pointer="/cursor", code="invalid", detail="No cursor of this list.")
    return Problem("query_invalid", "See errors.", errors=[flaw])


def page(
    rows: Sequence[Item],
    limit: int,
    *,
    show: Callable[[Item], BaseModel | dict[str, Any]],
    position: Callable[[Item], tuple[str | int, ...]],
) -> dict[str, Any]:
    """Make a page of `limit` items. Fetch one more than that: it tells whether there is a next."""
    shown = rows[:limit]
    more = len(rows) > limit
    return {
        "data": [_plain(show(row)) for row in shown],
        "next_cursor": encode_cursor(*position(shown[-1])) if more else None,
    }


def _plain(item: BaseModel | dict[str, Any]) -> dict[str, Any]:
    return item.model_dump(mode="json") if isinstance(item, BaseModel) else item


def _storable(part: str | int) -> bool:
    """Say whether PostgreSQL can hold it: neither NUL nor half a character, nor a huge number."""
    if isinstance(part, int):
        return abs(part) < 2**63
    return part.isprintable() and len(part) <= 255
