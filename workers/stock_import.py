"""Send an import of stock to the API: opened, in parts, applied. Every step may be repeated."""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from workers.api_client import ApiClient, ApiRefused

Json = dict[str, Any]
Report = Callable[[str, int, int], None]
"""Told what is done, how much of it, and of how much."""

IMPORTS = "/v1/stock/imports"
ROWS_IN_A_PART, BYTES_IN_A_PART = 5_000, 900_000
PARTS_AT_ONCE = 3
ASK_AGAIN_SECONDS = 1.0


def _silent(what: str, done: int, total: int) -> None:
    pass


async def import_stock(
    api: ApiClient,
    header: Json,
    rows: Sequence[Json],
    *,
    known_by_content: bool = False,
    dry_run: bool = False,
    report: Report = _silent,
) -> Json:
    """Import rows under the header's reference; the same again changes nothing.

    Args:
        api: Whom to send it to.
        header: What `POST /v1/stock/imports` takes.
        rows: What its parts take. The same rows make the same parts.
        known_by_content: The reference says what is in it, so an applied one need not be sent.
        dry_run: Only say what would change.
        report: Told how far it is.

    Returns:
        The import; `again` is true where it had been applied before.

    Raises:
        ApiRefused: nothing was changed.
        ApiUnreachable: the same again goes on where this ended.
    """
    opened = (await api.post(IMPORTS, header, key=str(uuid.uuid4()))).body
    again = opened["state"] == "applied"
    if again and known_by_content:
        return opened | {"again": True}
    path = f"{IMPORTS}/{opened['id']}"
    done = 0
    slots = asyncio.Semaphore(PARTS_AT_ONCE)

    async def send(number: int, part: Sequence[Json]) -> None:
        nonlocal done
        async with slots:
            await api.put(f"{path}/parts/{number}", {"rows": part})
        done += len(part)
        report("sent", done, len(rows))

    try:
        async with asyncio.TaskGroup() as group:
            for number, part in enumerate(parts_of(rows), start=1):
                group.create_task(send(number, part))
    except ExceptionGroup as several:
        raise several.exceptions[0] from None  # it speaks for the others
    report("applied", 0, len(rows))
    body = {"rows": len(rows), "dry_run": dry_run}
    while (answer := await api.post(f"{path}/apply", body, key=str(uuid.uuid4()))).status == 202:
        await asyncio.sleep(ASK_AGAIN_SECONDS)
        if (await api.get(path))["state"] == "refused":
            # Asking again would check it again, and might take as long again.
            results = f"{path}/results?outcome=refused"
            raise ApiRefused(422, {"code": "import_refused", "results": results})
    report("applied", len(rows), len(rows))
    return answer.body | {"again": again}


def parts_of(rows: Sequence[Json]) -> Iterator[list[Json]]:
    """Cut rows into parts that fit into a request."""
    part: list[Json] = []
    size = 0
    for row in rows:
        takes = len(json.dumps(row)) + 2
        if part and (len(part) == ROWS_IN_A_PART or size + takes > BYTES_IN_A_PART):
            yield part
            part, size = [], 0
        part.append(row)
        size += takes
    if part:
        yield part
