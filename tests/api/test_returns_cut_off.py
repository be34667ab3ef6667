"""Whoever reports about returns may be cut off at any moment, and says it again under its key.

Before the commit nothing is written; after it nothing is written twice. Every book is compared.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from adapters.db import found_goods
from adapters.db.book import SqlBook
from adapters.db.inbound import apply_waiting, store_inbound
from adapters.db.return_book import SqlReturns
from oms.policy import Policy
from oms.ports import LabelBought
from tests.api.conftest import Api, key
from tests.api.test_found_goods import LAMP, tells
from tests.api.test_return_lots import set_aside
from tests.api.test_returns import PATH, a_request, ask, decided, delivered, found, handed_over

Books = dict[str, list[str]]

NOT_COMPARED = ("alembic_version", "idempotency_keys", "inbound_events")


class Fact(NamedTuple):
    """What somebody reports: who, where to and what."""

    who: str
    path: str
    body: dict[str, Any]


Prepared = Callable[[Api], Awaitable[Fact]]


# --- what is reported -----------------------------------------------------------------------


async def a_return_by_post(api: Api) -> Fact:
    return Fact("channel", PATH, a_request(await delivered(api), 2))


async def a_return_at_the_till(api: Api) -> Fact:
    request = a_request(await delivered(api), via="store", location="store-lyon")
    return Fact("channel", PATH, request)


async def an_exchange(api: Api) -> Fact:
    return Fact("channel", PATH, a_request(await delivered(api), resolution="exchange"))


async def a_claim(api: Api, resolution: str = "refund") -> Fact:
    lines = [{"line": 1, "quantity": 1, "reason": "damaged"}]
    body = {"order": await delivered(api), "lines": lines, "resolution": resolution}
    return Fact("channel", "/v1/claims", body)


async def a_claim_to_be_replaced(api: Api) -> Fact:
    return await a_claim(api, "replace")


async def a_receipt(api: Api) -> Fact:
    id = (await ask(api, await delivered(api), 2))["id"]
    return Fact("node", f"{PATH}/{id}/receive", found(1))


async def an_inspection(api: Api) -> Fact:
    receipt = await a_receipt(api)
    await reported(api, receipt)
    return Fact("node", receipt.path.replace("receive", "inspect"), decided(1))


async def a_refusal(api: Api) -> Fact:
    inspection = await an_inspection(api)
    return inspection._replace(body=decided(1, accepted=False))


async def a_hand_back(api: Api) -> Fact:
    refusal = await a_refusal(api)
    await reported(api, refusal)
    return Fact("node", refusal.path.replace("inspect", "hand-back"), {})


async def a_cancellation(api: Api) -> Fact:
    id = (await ask(api, await delivered(api)))["id"]
    return Fact("channel", f"{PATH}/{id}/cancel", {})


async def an_approval(api: Api) -> Fact:
    rule = {"name": "A person looks", "approval_for": ["odd"]}
    (await api.operator.put("/v1/return-policy", json={"rules": [rule]})).raise_for_status()
    odd = [{"line": 1, "quantity": 1, "reason": "odd"}]
    asked = await ask(api, await delivered(api), lines=odd)
    assert asked["status"] == "requested"
    return Fact("operator", f"{PATH}/{asked['id']}/approve", {})


async def a_decline(api: Api) -> Fact:
    approval = await an_approval(api)
    return approval._replace(path=approval.path.replace("approve", "decline"))


async def another_way_for_a_lot(api: Api) -> Fact:
    back = await set_aside(api, 2)
    body = {"disposition": "restock", "quantity": 1}
    return Fact("node", f"{PATH}/{back.id}/lots/{back.lot}/place", body)


async def goods_nobody_announced(api: Api) -> Fact:
    lines = [{"line": 1, "quantity": 1, "condition": "as_new"}]
    told = {"location": "wh-paris", "reference": uuid4().hex, "lines": lines}
    return Fact("node", f"{PATH}/unannounced", told | {"order": await delivered(api)})


async def found_goods_of_an_order(api: Api) -> Fact:
    order = await delivered(api)
    (kept,) = (await tells(api)).json()["found"]
    body = {"order": order, "line": 1, "reason": "their name is on it"}
    return Fact("operator", f"/v1/found-goods/{kept['id']}/resolve", body)


async def goods_of_nobody(api: Api) -> Fact:
    told = {"location": "wh-paris", "reference": uuid4().hex, "lines": [LAMP]}
    return Fact("node", f"{PATH}/unannounced", told)


async def a_fate_of_found_goods(api: Api) -> Fact:
    (kept,) = (await tells(api)).json()["found"]
    body = {"disposition": "restock", "reason": "nobody asked"}
    return Fact("operator", f"/v1/found-goods/{kept['id']}/resolve", body)


ON_AN_ORDER: list[Prepared] = [
    a_return_by_post,
    a_return_at_the_till,
    an_exchange,
    a_claim,
    a_claim_to_be_replaced,
    a_receipt,
    an_inspection,
    a_refusal,
    a_hand_back,
    a_cancellation,
    an_approval,
    a_decline,
    another_way_for_a_lot,
    goods_nobody_announced,
    found_goods_of_an_order,
]
OF_NOBODY: list[tuple[Prepared, str]] = [
    (goods_of_nobody, "keep_unknown"),
    (a_fate_of_found_goods, "decide_fate"),
]


# --- cut off --------------------------------------------------------------------------------


class CutOff(Exception):
    """The process dies here."""


def cuts_the_next_changes(
    monkeypatch: pytest.MonkeyPatch, deaths: Sequence[str] = ("before", "after")
) -> None:
    """Let the next transactions on orders die before their commit, after it, or ("") live."""
    change, cuts = SqlBook.change, iter(deaths)

    async def cut(
        book: SqlBook, number: str, at: datetime, effect: Any, *, actor: str = "oms"
    ) -> Any:
        dies = next(cuts, "")

        async def dying(unit: Any) -> Any:
            done = await effect(unit)
            await unit.send()
            if dies == "before":
                raise CutOff
            return done

        done = await change(book, number, at, dying, actor=actor)
        if dies:
            raise CutOff
        return done

    monkeypatch.setattr(SqlBook, "change", cut)


def cuts_the_next(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The same for a transaction of no order, which this function is all of."""
    whole, cuts = getattr(found_goods, name), iter(["before", "after"])

    async def cut(tx: Any, *about: Any, **more: Any) -> Any:
        done = await whole(tx, *about, **more)
        dies = next(cuts, "")
        if dies == "after":
            await tx.commit()
        if dies:
            raise CutOff
        return done

    monkeypatch.setattr(found_goods, name, cut)


async def reported(api: Api, fact: Fact, headers: dict[str, str] | None = None) -> httpx.Response:
    client: httpx.AsyncClient = getattr(api, fact.who)
    answer = await client.post(fact.path, json=fact.body, headers=headers or key())
    assert answer.is_success, answer.text
    return answer


async def all_books(api: Api) -> Books:
    async with api.engine.connect() as tx:
        tables = await tx.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        )
        compared = sorted(set(tables.scalars()) - set(NOT_COMPARED))
        seen = {}
        for table in compared:
            rows = await tx.execute(text(f"SELECT to_jsonb(t)::text FROM {table} t"))
            seen[table] = sorted(rows.scalars())
    return seen


async def is_done_once(api: Api, fact: Fact) -> None:
    """Cut off before its commit, then after it, then done: one effect on the books."""
    same, before = key(), await all_books(api)
    with pytest.raises(CutOff):
        await reported(api, fact, same)
    assert await all_books(api) == before

    with pytest.raises(CutOff):
        await reported(api, fact, same)
    written = await all_books(api)
    assert written != before

    await reported(api, fact, same)
    assert await all_books(api) == written


@pytest.mark.parametrize("prepared", ON_AN_ORDER, ids=lambda each: each.__name__)
async def test_what_is_said_again_after_it_was_cut_off_counts_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, prepared: Prepared
) -> None:
    fact = await prepared(api)
    cuts_the_next_changes(monkeypatch)

    await is_done_once(api, fact)


async def test_an_exchange_at_a_till_that_is_cut_off_between_its_halves_is_received_once(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = a_request(
        await delivered(api), via="store", location="store-lyon", resolution="exchange"
    )
    fact, same = Fact("channel", PATH, request), key()
    asked_for, received = "after", ["before", "after"]
    cuts_the_next_changes(monkeypatch, [asked_for, "", received[0], "", received[1]])

    for _ in (asked_for, *received):
        with pytest.raises(CutOff):
            await reported(api, fact, same)
    written = await all_books(api)
    back = (await reported(api, fact, same)).json()

    assert await all_books(api) == written
    assert [(lot["quantity"], lot["state"]) for lot in back["lots"]] == [(1, "accepted")]
    async with api.engine.connect() as tx:
        found = "SELECT number FROM orders WHERE exchange_of = :id"
        orders = (await tx.execute(text(found), {"id": back["id"]})).scalars()
        assert list(orders) == [back["exchange_order"]]


@pytest.mark.parametrize(("prepared", "step"), OF_NOBODY, ids=["kept", "decided"])
async def test_what_is_said_of_goods_of_nobody_counts_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, prepared: Prepared, step: str
) -> None:
    fact = await prepared(api)
    cuts_the_next(monkeypatch, step)

    await is_done_once(api, fact)


# --- carriers, whom nobody answers ----------------------------------------------------------


async def of_a_return(api: Api) -> tuple[str, str]:
    id, label = (await ask(api, await delivered(api)))["id"], f"SIM{uuid4().hex[:10]}"
    bought = LabelBought(carrier="simulator", tracking_number=label)
    book = SqlReturns(SqlBook(api.engine, Policy()))
    await book.label_bought(f"{id}-P1", bought, datetime.now(UTC))
    return label, "in_transit"


async def of_a_parcel_that_turned_round(api: Api) -> tuple[str, str]:
    order = (await api.operator.get(f"/v1/orders/{await handed_over(api)}")).json()
    (parcel,) = order["fulfillment_orders"][0]["shipments"]
    return parcel["tracking_number"], "returned_to_sender"


@pytest.mark.parametrize(
    "prepared", [of_a_return, of_a_parcel_that_turned_round], ids=lambda each: each.__name__
)
async def test_a_scan_that_was_cut_off_is_applied_once(
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    prepared: Callable[[Api], Awaitable[tuple[str, str]]],
) -> None:
    tracking_number, status = await prepared(api)
    now = datetime.now(UTC)
    body = {"tracking_number": tracking_number, "status": status, "at": now.isoformat()}
    event = {"party": "carriers", "source": "simulator", "event_id": uuid4().hex}
    async with api.engine.begin() as tx:
        await store_inbound(tx, **event, body=body, now=now)
    cuts_the_next_changes(monkeypatch)
    seen = [await all_books(api)]

    for minutes in (0, 2, 4):
        later = now + timedelta(minutes=minutes)
        await apply_waiting(api.engine, SqlBook(api.engine, Policy()), later, most=10)
        seen.append(await all_books(api))

    before, cut_off, written, again = seen
    assert cut_off == before
    assert written != before
    assert again == written
    async with api.engine.connect() as tx:
        ended = "SELECT outcome FROM inbound_events WHERE event_id = :e"
        assert (await tx.execute(text(ended), {"e": event["event_id"]})).scalar_one() == "applied"
