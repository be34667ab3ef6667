"""PUT, GET and lists of whole resources, the same for every kind of master data."""

from collections.abc import Mapping
from typing import Any

from fastapi import Response
from pydantic import BaseModel
from sqlalchemy import RowMapping, Table
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.db import master
from api.answers import answer, version_conflict
from api.lists import ListQuery, cursor_time, decode_cursor, page
from api.problems import not_found


def shown(model: type[BaseModel], row: RowMapping) -> BaseModel:
    """Make the resource of a row: the columns it has fields for."""
    return model.model_validate({name: row[name] for name in model.model_fields}, strict=False)


async def put_resource(
    db: AsyncEngine,
    table: Table,
    id: str,
    values: Mapping[str, Any],
    *,
    if_version: int | None,
    model: type[BaseModel],
) -> Response:
    """Write a resource whole: 201 when it is new, else 200.

    Raises:
        Problem: `version_conflict`.
    """
    async with db.begin() as tx:
        outcome = await master.put(tx, table, id, values, if_version)
    if isinstance(outcome, master.Changed):
        raise version_conflict()
    status = 201 if outcome.created else 200
    resource = shown(model, outcome.row)
    return answer(resource, status, version=outcome.row["version"]).response()


async def list_resources(
    db: AsyncEngine, table: Table, query: ListQuery, model: type[BaseModel]
) -> Response:
    """List resources, newest first. A cursor tells when the last one shown was made, and its id."""
    position = decode_cursor(query.cursor, str, str)
    after = None if position is None else (cursor_time(position[0]), position[1])
    async with db.connect() as tx:
        rows = await master.list_newest(tx, table, after=after, limit=query.limit + 1)
    body = page(
        rows,
        query.limit,
        show=lambda row: shown(model, row),
        position=lambda row: (row["created_at"].isoformat(), row["id"]),
    )
    return answer(body).response()


async def read_resource(db: AsyncEngine, table: Table, id: str, model: type[BaseModel]) -> Response:
    """Read a resource.

    Raises:
        Problem: `not_found`.
    """
    async with db.connect() as tx:
        row = await master.get(tx, table, id)
    if row is None:
        raise not_found()
    return answer(shown(model, row), version=row["version"]).response()
