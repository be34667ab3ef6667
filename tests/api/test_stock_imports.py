"""Imports of stock: sent in parts, refused whole or applied whole, once."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api import stock_imports
from tests.api.conftest import Api, key

IMPORTS = "/v1/stock/imports"
Row = dict[str, Any]
references = (f"night {n}" for n in itertools.count())


async def opened(
    api: Api, *, who: httpx.AsyncClient | None = None, **header: Any
) -> httpx.Response:
    body = {"reference": next(references), "kind": "counts"} | header
    return await (who or api.operator).post(IMPORTS, json=body, headers=key())


async def sent(api: Api, *parts: list[Row], **header: Any) -> str:
    """Open an import and send its parts; its path."""
    answer = await opened(api, **header)
    assert answer.status_code in (200, 201), answer.text
    path = f"{IMPORTS}/{answer.json()['id']}"
    for number, rows in enumerate(parts, start=1):
        taken = await api.operator.put(f"{path}/parts/{number}", json={"rows": rows})
        assert taken.status_code == 200, taken.text
    return path


async def applied(api: Api, path: str, rows: int, **more: Any) -> httpx.Response:
    return await api.operator.post(f"{path}/apply", json={"rows": rows} | more)


async def imported(api: Api, *rows: Row, **header: Any) -> httpx.Response:
    return await applied(api, await sent(api, list(rows), **header), len(rows))


async def on_hand(api: Api, sku: str, location: str = "wh-paris") -> int:
    levels = (await api.operator.get(f"/v1/stock/{sku}")).json()["locations"]
    return next((int(level["on_hand"]) for level in levels if level["location"] == location), 0)


async def results(api: Api, path: str, **query: Any) -> list[Row]:
    found = await api.operator.get(f"{path}/results", params={"limit": 100} | query)
    return list(found.json()["data"])


def count(sku: str, units: int, location: str = "wh-paris") -> Row:
    return {"sku": sku, "location": location, "on_hand": units}


async def test_an_import_in_parts_counts_stock_and_tells_what_came_of_each_row(api: Api) -> None:
    await api.has("IN-1", units=4)
    await api.has("IN-2", units=7)
    await api.has("IN-3", units=0)
    path = await sent(api, [count("IN-1", 9), count("IN-2", 7)], [count("IN-3", 2)])

    assert (await api.operator.get(path)).json()["state"] == "open"
    assert await on_hand(api, "IN-1") == 4
    answer = await applied(api, path, 3)

    assert answer.status_code == 200
    assert answer.json().items() >= {"state": "applied", "parts": 2, "rows": 3}.items()
    assert answer.json()["result"] == {
        "changed": 2, "unchanged": 1, "superseded": 0, "vanished": 0,
        "units_added": 7, "units_removed": 0,
    }  # fmt: skip
    told = [(r["row"], r["sku"], r["outcome"], r["changed_by"]) for r in await results(api, path)]
    assert told == [
        (1, "IN-1", "changed", 5),
        (2, "IN-2", "unchanged", 0),
        (3, "IN-3", "changed", 2),
    ]
    assert [r["row"] for r in await results(api, path, outcome="changed")] == [1, 3]
    assert [r["row"] for r in await results(api, path, outcome="unchanged")] == [2]
    assert await results(api, path, outcome="vanished") == []
    assert [await on_hand(api, f"IN-{n}") for n in (1, 2, 3)] == [9, 7, 2]


async def test_results_are_read_page_by_page(api: Api) -> None:
    await api.has("PAGED", units=1)
    places = [f"place-{n}" for n in range(7)]
    for place in places:
        await api.has("PAGED", location=place, units=0)
    path = await sent(api, *([count("PAGED", 1, place)] for place in places))
    await applied(api, path, 7)

    seen: list[int] = []
    cursor: Row | None = {}
    while cursor is not None:
        page = (await api.operator.get(f"{path}/results", params={"limit": 3} | cursor)).json()
        seen += [row["row"] for row in page["data"]]
        cursor = page["next_cursor"] and {"cursor": page["next_cursor"]}

    assert seen == [1, 2, 3, 4, 5, 6, 7]


async def test_applying_again_or_importing_again_changes_nothing_and_answers_the_same(
    api: Api,
) -> None:
    await api.has("ONCE", units=5)
    row = {"sku": "ONCE", "location": "wh-paris", "delta": 3}
    header = {"reference": "once", "kind": "deltas"}
    path = await sent(api, [row], **header)

    first = await applied(api, path, 1)
    again = await applied(api, path, 1)
    same = await sent(api, [row], **header)
    third = await applied(api, same, 1)

    assert first.status_code == again.status_code == third.status_code == 200
    assert first.json() == again.json() == third.json()
    assert await on_hand(api, "ONCE") == 8


async def test_ten_who_apply_at_once_apply_it_once(api: Api) -> None:
    await api.has("CROWD", units=5)
    path = await sent(api, [{"sku": "CROWD", "location": "wh-paris", "delta": 3}], kind="deltas")

    answers = await asyncio.gather(*(applied(api, path, 1) for _ in range(10)))

    assert {answer.status_code for answer in answers} <= {200, 202}
    assert (await applied(api, path, 1)).json()["state"] == "applied"
    assert await on_hand(api, "CROWD") == 8


async def test_an_import_with_errors_is_refused_whole_and_names_them_all(api: Api) -> None:
    await api.has("GOOD", units=5)
    path = await sent(
        api,
        [count("GOOD", 9), count("NONE", 1), count("GOOD", 3, "nowhere")],
        [count("GOOD", 4)],
    )

    refused = await applied(api, path, 4)

    assert (refused.status_code, refused.json()["code"]) == (422, "import_refused")
    told = [(e["row"], e["pointer"], e["code"]) for e in refused.json()["errors"]]
    assert told == [
        (2, "/parts/1/rows/1/sku", "sku_unknown"),
        (3, "/parts/1/rows/2/location", "location_unknown"),
        (4, "/parts/2/rows/0/sku", "repeated"),
    ]
    assert await on_hand(api, "GOOD") == 5
    assert (await api.operator.get(path)).json()["state"] == "refused"
    assert [r["outcome"] for r in await results(api, path)] == ["left", *["refused"] * 3]
    assert [r["row"] for r in await results(api, path, outcome="refused")] == [2, 3, 4]


async def test_a_refused_import_may_be_mended_under_its_reference(api: Api) -> None:
    await api.has("MENDED", units=5)
    header = {"reference": "to be mended"}
    path = await sent(api, [count("MENDED", 9), count("WRONG", 1)], **header)
    assert (await applied(api, path, 2)).status_code == 422

    again = await sent(api, [count("MENDED", 9)], **header)

    assert again == path
    assert (await applied(api, path, 1)).json()["state"] == "applied"
    assert await on_hand(api, "MENDED") == 9


async def test_a_refused_import_is_checked_again_when_the_article_is_known(api: Api) -> None:
    await api.has("LATE-1", units=0)
    path = await sent(api, [count("LATE-1", 9), count("LATE-2", 1)])
    assert (await applied(api, path, 2)).status_code == 422
    await api.has("LATE-2", units=0)

    assert (await applied(api, path, 2)).json()["state"] == "applied"
    assert await on_hand(api, "LATE-2") == 1


async def test_corrections_that_would_leave_less_than_nothing_are_refused(api: Api) -> None:
    await api.has("LESS", units=5)
    await api.has("MORE", units=5)
    refused = await imported(
        api,
        {"sku": "MORE", "location": "wh-paris", "delta": 2},
        {"sku": "LESS", "location": "wh-paris", "delta": -6},
        kind="deltas",
    )

    (error,) = refused.json()["errors"]
    assert error.items() >= {
        "pointer": "/parts/1/rows/1/delta", "code": "stock_negative",
        "detail": "5 on hand, -1 after this", "row": 2,
    }.items()  # fmt: skip
    assert (await on_hand(api, "LESS"), await on_hand(api, "MORE")) == (5, 5)


async def test_what_is_damaged_goes_beside_the_stock(api: Api) -> None:
    await api.has("BROKEN", units=5)
    row = {"sku": "BROKEN", "location": "wh-paris", "delta": -2, "reason": "damaged"}

    assert (await imported(api, row, kind="deltas")).status_code == 200

    (level,) = (await api.operator.get("/v1/stock/BROKEN")).json()["locations"]
    assert (level["on_hand"], level["damaged"]) == (3, 2)


async def test_what_moved_since_a_count_stays_moved(api: Api) -> None:
    await api.has("SINCE", units=10)
    taken_at = datetime.now(UTC).isoformat()
    await api.adjust({"sku": "SINCE", "location": "wh-paris", "delta": -3, "reason": "sold"})

    await imported(api, count("SINCE", 8), taken_at=taken_at)

    assert await on_hand(api, "SINCE") == 5, "8 were there, 3 have left since"


async def test_an_older_count_does_not_undo_a_newer_one(api: Api) -> None:
    await api.has("OLD", units=10)
    await api.has("OLD-2", units=10)
    before = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    await imported(api, count("OLD", 7))
    await api.adjust({"sku": "OLD-2", "location": "wh-paris", "set": 6, "reason": "count"})

    path = await sent(api, [count("OLD", 8), count("OLD-2", 8)], taken_at=before)
    result = (await applied(api, path, 2)).json()["result"]

    assert (result["superseded"], result["changed"]) == (2, 0)
    assert {r["outcome"] for r in await results(api, path)} == {"superseded"}
    assert (await on_hand(api, "OLD"), await on_hand(api, "OLD-2")) == (7, 6)


async def test_a_newer_count_is_not_bent_by_what_an_older_one_set_right(api: Api) -> None:
    await api.has("NEW", units=10)
    first, second = datetime.now(UTC).isoformat(), datetime.now(UTC).isoformat()
    await imported(api, count("NEW", 8), taken_at=first)

    await imported(api, count("NEW", 8), taken_at=second)

    assert await on_hand(api, "NEW") == 8


async def of_a_snapshot(api: Api, place: str, **header: Any) -> str:
    for sku in ("KEPT", "GONE"):
        await api.has(sku, location=place, units=4)
    path = await sent(
        api, [{"sku": "KEPT", "on_hand": 3}], kind="snapshot", location=place, **header
    )
    assert (await applied(api, path, 1)).status_code == 200
    return path


async def vanishings(api: Api, place: str) -> list[tuple[str, bool]]:
    async with api.engine.connect() as tx:
        found = await tx.execute(
            text(
                "SELECT sku, data->'put_to_zero' FROM stock_events"
                " WHERE kind = 'stock.vanished' AND location = :place ORDER BY id"
            ),
            {"place": place},
        )
        return [(sku, zero) for sku, zero in found]


async def test_what_vanished_from_a_snapshot_is_told_once_and_stays(api: Api) -> None:
    path = await of_a_snapshot(api, "shelf-1")
    await of_a_snapshot(api, "shelf-1")

    told = [(r["row"], r["sku"], r["outcome"]) for r in await results(api, path)]
    assert told == [(1, "KEPT", "changed"), (None, "GONE", "vanished")]
    assert await vanishings(api, "shelf-1") == [("GONE", False)]
    assert await on_hand(api, "GONE", "shelf-1") == 4


async def test_what_vanished_is_put_to_zero_where_the_import_says_so(api: Api) -> None:
    path = await of_a_snapshot(api, "shelf-2", missing="zero")

    gone = (await results(api, path))[-1]
    assert (gone["outcome"], gone["changed_by"]) == ("vanished", -4)
    assert await vanishings(api, "shelf-2") == [("GONE", True)]
    assert await on_hand(api, "GONE", "shelf-2") == 0


async def test_what_came_after_the_snapshot_has_not_vanished(api: Api) -> None:
    await api.has("NOW", location="shelf-3", units=0)
    await api.has("KEPT", location="shelf-3", units=1)
    taken_at = datetime.now(UTC).isoformat()
    await api.adjust({"sku": "NOW", "location": "shelf-3", "delta": 5, "reason": "received"})

    path = await sent(
        api, [{"sku": "KEPT", "on_hand": 1}], kind="snapshot", location="shelf-3",
        missing="zero", taken_at=taken_at,
    )  # fmt: skip
    answer = await applied(api, path, 1)

    assert answer.json()["result"]["vanished"] == 0
    assert await on_hand(api, "NOW", "shelf-3") == 5


async def test_a_lost_part_is_not_read_as_articles_that_are_gone(api: Api) -> None:
    await api.has("PART", units=1)
    path = await sent(api, [count("PART", 2)])
    too_few = await applied(api, path, 2)
    third = {"rows": [count("PART", 2, "wh-oslo")]}
    await api.operator.put(f"{path}/parts/3", json=third)
    a_gap = await applied(api, path, 2)

    for answer in (too_few, a_gap):
        assert (answer.status_code, answer.json()["code"]) == (409, "import_incomplete")
    assert "Part 2 has not come" in a_gap.json()["detail"]
    assert await on_hand(api, "PART") == 1


async def test_a_part_may_be_sent_again_but_never_with_other_rows(api: Api) -> None:
    await api.has("AGAIN", units=1)
    path = await sent(api, [count("AGAIN", 2)])
    part = f"{path}/parts/1"

    same = await asyncio.gather(
        *(api.operator.put(part, json={"rows": [count("AGAIN", 2)]}) for _ in range(5))
    )
    other = await api.operator.put(part, json={"rows": [count("AGAIN", 3)]})
    await applied(api, path, 1)
    afterwards = await api.operator.put(part, json={"rows": [count("AGAIN", 2)]})
    one_more = await api.operator.put(f"{path}/parts/2", json={"rows": [count("AGAIN", 2)]})

    assert {each.json()["rows"] for each in [*same, afterwards]} == {1}
    assert (other.status_code, other.json()["code"]) == (409, "part_reused")
    assert (one_more.status_code, one_more.json()["code"]) == (409, "invalid_state")


async def test_a_reference_names_one_import(api: Api) -> None:
    first = await opened(api, reference="mine")
    again = await opened(api, reference="mine")
    other = await opened(api, reference="mine", kind="deltas")

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert (other.status_code, other.json()["code"]) == (409, "reference_reused")


async def test_a_dry_run_tells_the_differences_and_changes_nothing(api: Api) -> None:
    await api.has("DRY", units=4)
    path = await sent(api, [count("DRY", 9)])

    tried = (await applied(api, path, 1, dry_run=True)).json()

    assert tried["state"] == "open"
    assert tried["result"]["units_added"] == 5
    assert tried["differences"] == [
        {"sku": "DRY", "location": "wh-paris", "on_hand": 4, "changed_by": 5}
    ]
    assert await on_hand(api, "DRY") == 4
    assert (await applied(api, path, 1)).json()["state"] == "applied"


@pytest.mark.parametrize(
    ("header", "pointer"),
    [
        ({"kind": "snapshot"}, "/location"),
        ({"kind": "counts", "missing": "zero"}, "/missing"),
        ({"kind": "guess"}, "/kind"),
        ({"taken_at": "2999-01-01T00:00:00Z"}, "/taken_at"),
        ({"taken_at": "yesterday"}, "/taken_at"),
        ({"reference": ""}, "/reference"),
    ],
)
async def test_an_import_that_makes_no_sense_is_not_opened(
    api: Api, header: Row, pointer: str
) -> None:
    refused = await opened(api, **header)

    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("header", "row", "pointer"),
    [
        ({}, {"location": "wh-paris"}, "on_hand"),
        ({}, {"on_hand": 1}, "location"),
        ({}, {"on_hand": -1, "location": "wh-paris"}, "on_hand"),
        ({}, {"on_hand": "1", "location": "wh-paris"}, "on_hand"),
        ({}, {"on_hand": 1, "delta": 1, "location": "wh-paris"}, "delta"),
        ({}, {"on_hand": 1, "reason": "x", "location": "wh-paris"}, "reason"),
        ({}, {"on_hand": 1, "location": "wh-paris", "colour": "red"}, "colour"),
        ({"location": "wh-paris"}, {"on_hand": 1, "location": "wh-oslo"}, "location"),
        ({"kind": "deltas"}, {"on_hand": 1, "location": "wh-paris", "delta": 1}, "on_hand"),
        ({"kind": "deltas"}, {"location": "wh-paris"}, "delta"),
    ],
)
async def test_rows_that_make_no_sense_are_refused_by_their_pointer(
    api: Api, header: Row, row: Row, pointer: str
) -> None:
    await api.has("ROW")
    path = f"{IMPORTS}/{(await opened(api, **header)).json()['id']}"
    good: Row = {"sku": "ROW", "location": "wh-paris"}
    good |= {"delta": 1} if header.get("kind") == "deltas" else {"on_hand": 1}

    refused = await api.operator.put(f"{path}/parts/1", json={"rows": [good, {"sku": "ROW"} | row]})

    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    assert [error["pointer"] for error in refused.json()["errors"]] == [f"/rows/1/{pointer}"]
    assert (await api.operator.get(path)).json()["rows"] == 0


async def test_a_node_imports_its_own_stock_and_sees_no_other_import(api: Api) -> None:
    await api.has("MINE", units=1)
    await api.has("MINE", location="wh-oslo", units=1)
    theirs = await sent(api, [count("MINE", 2)])
    mine = await opened(api, who=api.node, kind="snapshot", location="wh-paris")
    path = f"{IMPORTS}/{mine.json()['id']}"
    row = {"rows": [{"sku": "MINE", "on_hand": 2}]}

    assert (await api.node.put(f"{path}/parts/1", json=row)).status_code == 200
    done = await api.node.post(f"{path}/apply", json={"rows": 1})
    elsewhere = await opened(api, who=api.node, kind="snapshot", location="wh-oslo")
    counts = (await opened(api, who=api.node)).json()["id"]
    foreign = {"rows": [count("MINE", 2, "wh-oslo")]}

    assert done.json()["state"] == "applied"
    assert await on_hand(api, "MINE") == 2
    for answer in (
        elsewhere,
        await api.node.put(f"{IMPORTS}/{counts}/parts/1", json=foreign),
        await api.node.get(theirs),
        await api.node.post(f"{theirs}/apply", json={"rows": 1}),
        await api.other_node.get(path),
        await api.other_node.get(f"{path}/results"),
    ):
        assert answer.status_code == 404
    assert (await api.channel.get(path)).status_code == 403
    listed = (await api.node.get(IMPORTS)).json()["data"]
    assert {each["id"] for each in listed} == {mine.json()["id"], counts}


async def test_imports_are_listed_newest_first_by_location_kind_and_state(api: Api) -> None:
    await api.has("LIST", location="list", units=0)
    header: Row = {"kind": "snapshot", "location": "list"}
    ids = [(await opened(api, **header)).json()["id"] for _ in range(3)]

    first = (await api.operator.get(f"{IMPORTS}?location=list&limit=2")).json()
    cursor: Row = {"location": "list", "cursor": first["next_cursor"]}
    second = (await api.operator.get(IMPORTS, params=cursor)).json()
    none = await api.operator.get(IMPORTS, params={"location": "list", "state": "applied"})

    assert [each["id"] for each in first["data"] + second["data"]] == ids[::-1]
    assert none.json()["data"] == []


async def test_who_does_not_want_to_wait_asks_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.has("SLOW", units=1)
    path = await sent(api, [count("SLOW", 2)])
    monkeypatch.setattr(stock_imports, "PATIENCE_SECONDS", 0.2)

    async with api.engine.begin() as locker:
        await locker.execute(text("SELECT FROM stock_levels WHERE sku = 'SLOW' FOR UPDATE"))
        early = await applied(api, path, 1)
        meanwhile = await applied(api, path, 1)
    while (late := await applied(api, path, 1)).status_code == 202:
        assert late.headers["Retry-After"] == "1"

    assert (early.status_code, meanwhile.status_code) == (202, 202)
    assert late.json()["result"]["changed"] == 1
    assert await on_hand(api, "SLOW") == 2


async def test_at_night_when_all_send_their_stock_some_are_asked_to_wait(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.has("NIGHT", units=1)
    path = await sent(api, [count("NIGHT", 2)])

    with monkeypatch.context() as busy:
        busy.setattr(stock_imports, "APPLIED_AT_ONCE", 0)
        early = await applied(api, path, 1)

    assert (early.status_code, early.headers["Retry-After"]) == (202, "1")
    assert await on_hand(api, "NIGHT") == 1
    assert (await applied(api, path, 1)).json()["state"] == "applied"
