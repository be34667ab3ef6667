from datetime import UTC, datetime
from typing import Any

import httpx

from adapters.db.running_low import tell_running_low
from tests.api.conftest import Api

PATH = "/v1/stock/changes?channel=web-fr"


async def everything(api: Api, cursor: str | None = None) -> tuple[dict[str, int], str]:
    return await everything_of(api, "web-fr", cursor)


async def everything_of(
    api: Api, channel: str, cursor: str | None = None
) -> tuple[dict[str, int], str]:
    copy: dict[str, int] = {}
    while True:
        after = f"&cursor={cursor}" if cursor else ""
        path = f"/v1/stock/changes?channel={channel}&limit=2{after}"
        page = (await api.operator.get(path)).json()
        copy |= {row["sku"]: row["available"] for row in page["data"]}
        cursor = page["next_cursor"]
        if not page["more"]:
            return copy, page["next_cursor"]


async def a_channel(api: Api) -> None:
    for channel in ("web-fr", "other"):
        await api.operator.put(f"/v1/channels/{channel}", json={"name": "Web"})


async def test_a_channel_copies_the_stock_and_keeps_its_copy_true(api: Api) -> None:
    await a_channel(api)
    for sku, units in (("C-1", 3), ("C-2", 4), ("C-3", 0)):
        await api.has(sku, units=units)

    copy, cursor = await everything(api)
    await api.adjust({"sku": "C-2", "location": "wh-paris", "delta": -1})
    changed, cursor = await everything(api, cursor)
    await api.operator.put("/v1/stock/C-1/wh-paris/policy", json={"safety_stock": 2})
    kept_back, cursor = await everything(api, cursor)
    nothing, _ = await everything(api, cursor)

    assert copy.items() >= {"C-1": 3, "C-2": 4, "C-3": 0}.items()
    assert (changed, kept_back, nothing) == ({"C-2": 3}, {"C-1": 1}, {})


async def test_a_place_that_closes_takes_its_stock_from_every_channel(api: Api) -> None:
    await a_channel(api)
    await api.has("SHUT", location="wh-oslo", units=3)
    _, cursor = await everything(api)

    place = {"name": "A place", "kind": "warehouse", "address": {"country": "FR"}}
    await api.operator.put("/v1/locations/wh-oslo", json={**place, "active": False})
    changed, _ = await everything(api, cursor)

    assert changed["SHUT"] == 0


async def test_what_a_channel_leaves_to_others_changes_its_whole_copy(api: Api) -> None:
    await a_channel(api)
    await api.has("LAST", units=3)
    _, cursor = await everything(api)
    _, other = await everything_of(api, "other")

    ruled = {"name": "Web", "buffers": {"warehouse": 2}}
    await api.operator.put("/v1/channels/web-fr", json=ruled)
    changed, cursor = await everything(api, cursor)
    unheard, _ = await everything_of(api, "other", other)
    await a_channel(api)
    back, _ = await everything(api, cursor)

    assert (changed["LAST"], back["LAST"], unheard) == (1, 3, {})


async def test_changes_are_the_channels_own(api: Api) -> None:
    await a_channel(api)

    answers = [
        (await who.get(PATH)).status_code for who in (api.operator, api.other_channel, api.node)
    ]
    unknown = await api.operator.get("/v1/stock/changes?channel=none")

    assert answers == [200, 404, 403]
    assert (unknown.status_code, unknown.json()["code"]) == (422, "channel_unknown")


async def test_a_cursor_that_is_none_of_ours_is_refused(api: Api) -> None:
    await a_channel(api)

    for query in ("&limit=0", "&limit=1001", "&cursor=x", "&cursor=WzEsMl0", "&cursor=", "&sku=1"):
        refused = await api.channel.get(PATH + query)
        assert (refused.status_code, refused.json()["code"]) == (422, "query_invalid"), query
    assert (await api.channel.get("/v1/stock/changes")).status_code == 422


async def events(api: Api, who: httpx.AsyncClient, query: str = "") -> list[tuple[str, str, Any]]:
    while await tell_running_low(api.engine, datetime.now(UTC)):
        pass
    answered = (await who.get(f"/v1/stock/events?limit=1000{query}")).json()
    return [(each["kind"], each["sku"], each["location"]) for each in answered["data"]]


async def test_who_runs_low_or_out_is_told_to_operators_and_to_those_it_serves(api: Api) -> None:
    await api.has("LOW", units=9)
    theirs = {"name": "A", "kind": "store", "address": {"country": "FR"}, "channels": ["other"]}
    await api.operator.put("/v1/locations/theirs", json=theirs)
    await api.adjust({"sku": "LOW", "location": "theirs", "set": 1})
    ruled = await api.operator.put(
        "/v1/stock/LOW/wh-paris/policy", json={"safety_stock": 0, "low_at": 4}
    )
    await api.operator.put("/v1/products/LOW", json={"name": "Lamp", "low_at": 4})

    await api.adjust(
        {"sku": "LOW", "location": "wh-paris", "set": 3},
        {"sku": "LOW", "location": "theirs", "set": 0},
    )

    paris, everywhere = ("stock.low", "LOW", "wh-paris"), ("stock.low", "LOW", None)
    assert ruled.json()["low_at"] == 4
    of_lamps = "&sku=LOW&kind=stock.low"
    assert await events(api, api.operator, of_lamps) == [everywhere, paris]
    assert await events(api, api.operator, "&location=theirs") == [("stock.out", "LOW", "theirs")]
    assert await events(api, api.channel, "&sku=LOW") == [everywhere, paris]


async def test_events_are_read_in_pages_and_the_rules_are_the_operators(api: Api) -> None:
    await api.has("PAGED", units=9)
    path = "/v1/stock/PAGED/wh-paris/policy"
    for units in (9, 10, 11):
        await api.operator.put(path, json={"safety_stock": units})
    ruled = "/v1/stock/events?sku=PAGED&kind=stock.rules_changed"

    first = (await api.operator.get(f"{ruled}&limit=2")).json()
    second = (await api.operator.get(f"{ruled}&cursor={first['next_cursor']}")).json()
    third = (await api.operator.get(f"{ruled}&cursor={second['next_cursor']}")).json()

    assert [len(page["data"]) for page in (first, second, third)] == [2, 1, 0]
    assert (first["more"], second["more"]) == (True, False)
    assert await events(api, api.channel, "&kind=stock.rules_changed") == []
    assert (await api.node.get("/v1/stock/events")).status_code == 403
