"""Parcels that nobody announced: what is known is received, the rest waits for a person."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client

from tests.scenarios.working import accepted_work, delivers, ships
from tests.world import World, a_shop


@pytest.fixture
async def world(database_url: str, temporal: Client) -> AsyncIterator[World]:
    """A shop of its own: what is found is looked at as a whole."""
    async with a_shop(database_url, temporal) as world:
        yield world


async def finds(world: World, units: int, *, again: bool = False, **known: Any) -> dict[str, Any]:
    """A warehouse opens a parcel with lamps in it."""
    line = {"sku": "LAMP", "quantity": units, "condition": known.pop("condition", "as_new")}
    body = {"location": "wh-lyon", "reference": "scan-1", "lines": [line]} | known
    answer = await world.call("POST", "/v1/returns/unannounced", body, who="node")
    assert answer.status_code == (200 if again else 201), answer.text
    receipt: dict[str, Any] = answer.json()
    return receipt


async def delivered(world: World, units: int = 2) -> str:
    number, id = await accepted_work(world, units)
    await delivers(world, number, id)
    return number


async def on_hand(world: World) -> int:
    return (await world.level("LAMP", "wh-lyon"))["on_hand"]


async def open_finds(world: World) -> list[dict[str, Any]]:
    found = await world.ok("GET", "/v1/found-goods?location=wh-lyon&open=true", who="node")
    return list(found["data"])


async def test_goods_of_an_order_are_inspected_and_then_paid_back(world: World) -> None:
    number = await delivered(world)

    receipt = await finds(world, 1, order=number)
    (back,) = receipt["returns"]
    assert (back["status"], back["lines"][0]["reason"]) == ("received", "unannounced")
    same = await finds(world, 1, order=number, again=True)
    assert [each["id"] for each in same["returns"]] == [back["id"]]
    await world.inspect(back["id"], 1)

    closed = await world.until_return(back["id"], "closed")
    assert [each["amount_minor"] for each in closed["refunds"]] == [1999]
    assert await on_hand(world) == 9
    assert await open_finds(world) == []
    await world.audit_is_clean()


async def test_goods_that_were_announced_are_received_as_announced(world: World) -> None:
    number = await delivered(world)
    asked = await world.ask_return(number, 1)

    receipt = await finds(world, 2, order=number)

    first, second = receipt["returns"]
    assert (first["id"], first["lines"][0]["reason"]) == (asked["id"], "too_small")
    assert (second["lines"][0]["reason"], second["lines"][0]["received"]) == ("unannounced", 1)
    for each in (first, second):
        await world.inspect(each["id"], 1)
        await world.until_return(each["id"], "closed")
    assert await on_hand(world) == 10
    await world.audit_is_clean()


async def test_a_returns_parcel_is_known_by_its_label(world: World) -> None:
    number = await delivered(world)
    asked = await world.ask_return(number, 2)
    labelled = await world.until_back(
        asked["id"], lambda back: bool(back["parcels"][0]["tracking_number"])
    )

    receipt = await finds(
        world, 2, tracking_number=labelled["parcels"][0]["tracking_number"], reference="SIM-x"
    )

    assert [each["id"] for each in receipt["returns"]] == [asked["id"]]
    assert (await world.back(asked["id"]))["status"] == "received"


async def test_a_parcel_that_is_back_before_its_carrier_says_so_turned_round(world: World) -> None:
    number, id = await accepted_work(world)
    parcel = await ships(world, id)
    await world.until(number, lambda order: bool(order["payment_status"] == "paid"))

    receipt = await finds(world, 2, tracking_number=parcel)

    (back,) = receipt["returns"]
    assert back["kind"] == "undeliverable"
    assert (await world.until_closed(number))["payment_status"] == "refunded"
    await world.until_return(back["id"], "closed")
    await world.scan(parcel, "returned_to_sender")
    assert await on_hand(world) == 10
    found = await world.ok("GET", f"/v1/returns?order={number}")
    assert len(found["data"]) == 1
    await world.audit_is_clean()


async def test_more_than_was_ever_sent_waits_for_a_person(world: World) -> None:
    number = await delivered(world)

    receipt = await finds(world, 5, order=number)

    (back,) = receipt["returns"]
    assert back["lines"][0]["received"] == 2
    (extra,) = receipt["found"]
    assert (extra["quantity"], extra["sku"]) == (3, "LAMP")
    assert [each["id"] for each in await open_finds(world)] == [extra["id"]]
    path = f"/v1/found-goods/{extra['id']}/resolve"
    wrong = {"order": number, "line": 1, "reason": "the label"}
    refused = await world.call("POST", path, wrong)
    assert (refused.status_code, refused.json()["code"]) == (422, "quantity_too_large")

    ours = {"disposition": "restock", "reason": "a supplier's surplus"}
    for _ in range(2):
        done = await world.ok("POST", path, ours)
        assert done["resolution"] == "restock"

    assert await on_hand(world) == 11
    otherwise = await world.call("POST", path, ours | {"disposition": "dispose"})
    assert (otherwise.status_code, otherwise.json()["code"]) == (409, "invalid_state")
    assert await open_finds(world) == []
    await world.audit_is_clean()


async def test_goods_of_nobody_turn_out_to_be_somebodys(world: World) -> None:
    number = await delivered(world)

    receipt = await finds(world, 1, tracking_number="1Z-nobody", reference="crate 7")
    assert (receipt["returns"], len(receipt["found"])) == ([], 1)
    again = await finds(world, 1, tracking_number="1Z-nobody", reference="crate 7", again=True)
    assert again == receipt
    id = receipt["found"][0]["id"]

    whose = {"order": number, "line": 1, "reason": "the customer called"}
    for _ in range(2):
        await world.ok("POST", f"/v1/found-goods/{id}/resolve", whose)

    (back,) = (await world.ok("GET", f"/v1/returns?order={number}"))["data"]
    assert (back["status"], back["lines"][0]["received"]) == ("received", 1)
    await world.inspect(back["id"], 1)
    await world.until_return(back["id"], "closed")
    assert await on_hand(world) == 9
    await world.audit_is_clean()


async def test_goods_of_a_return_that_expired_count_once(world: World) -> None:
    number = await delivered(world, 1)
    old = await world.ask_return(number, 1)
    labelled = await world.until_back(
        old["id"], lambda back: bool(back["parcels"][0]["tracking_number"])
    )
    await world.ok("POST", f"/v1/returns/{old['id']}/cancel", {}, who="channel")
    await world.until_return(old["id"], "cancelled")
    new = await world.ask_return(number, 1)

    receipt = await finds(
        world, 1, tracking_number=labelled["parcels"][0]["tracking_number"], reference="SIM-y"
    )
    assert [each["id"] for each in receipt["returns"]] == [new["id"]]
    refused = await finds(world, 1, order=number, reference="another box")
    assert (refused["returns"], len(refused["found"])) == ([], 1)

    await world.inspect(new["id"], 1)
    await world.until_return(new["id"], "closed")
    assert (await world.order(number))["lines"][0]["returned"] == 1
    await world.audit_is_clean()


async def test_an_impossible_scan_is_told_by_its_field(world: World) -> None:
    lines = [{"sku": "LAMP", "quantity": 1, "condition": "as_new"}]
    body = {"location": "nowhere", "reference": "x", "lines": lines}

    unknown = await world.call("POST", "/v1/returns/unannounced", body, who="node")
    assert (unknown.status_code, unknown.json()["code"]) == (422, "location_unknown")
    asked = await world.call("POST", "/v1/returns/unannounced", body, who="channel")
    assert asked.status_code == 403
    nothing = {"reason": "x"}
    neither = await world.call("POST", "/v1/found-goods/1/resolve", nothing)
    assert (neither.status_code, neither.json()["code"]) == (422, "validation_failed")
    gone = await world.call(
        "POST", "/v1/found-goods/1/resolve", nothing | {"disposition": "dispose"}
    )
    assert gone.status_code == 404
