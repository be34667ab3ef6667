"""Whatever is wrong with what is asked of a return: a clear problem by line, and nothing moves."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from api.body import MAX_BODY_BYTES
from tests.api.conftest import Api, key
from tests.api.orders import an_offer
from tests.api.test_hostile import JUNK, places_in, spoiled
from tests.api.test_return_lots import set_aside
from tests.api.test_returns import a_request, ask, delivered

_REQUESTS = ("idempotency_keys", "command_answers")
"""Where it is kept that something was asked, and what was answered."""


@dataclass
class Things:
    """What there is to be asked about: numbers and ids, by the words that stand for them below."""

    api: Api
    names: dict[str, str]

    async def send(self, role: str, call: str, body: Any, **headers: str) -> httpx.Response:
        """Send `METHOD path`, with every `{word}` in it named."""
        method, path = call.format(**self.names).split(" ")
        client: httpx.AsyncClient = getattr(self.api, role)
        content = body if isinstance(body, bytes) else json.dumps(self.named(body))
        return await client.request(method, path, content=content, headers=key() | headers)

    def named(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.named(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.named(each) for each in value]
        return self.names.get(value[1:-1], value) if isinstance(value, str) else value

    async def books(self) -> dict[str, str]:
        """All that is stored, but that something was asked."""
        async with self.api.engine.connect() as tx:
            tables = await tx.scalars(
                text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
            )
            each = " UNION ALL ".join(
                f"SELECT '{table}', coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '')"
                f" FROM {table} t"
                for table in tables
                if table not in _REQUESTS
            )
            return {row[0]: row[1] for row in await tx.execute(text(each))}


@pytest.fixture(scope="module")
async def things(api: Api) -> Things:
    """Orders, returns at each stage, a lot that lies about, and goods of nobody."""
    sent, old = await delivered(api), await delivered(api, ago=timedelta(days=31))
    unsent = (await an_offer(api)).rpartition("-")[0]
    asked, here = await delivered(api), await delivered(api)
    ids = [(await ask(api, number))["id"] for number in (asked, here)]
    await api.operator.post(f"/v1/returns/{ids[1]}/receive", json=RECEIPT, headers=key())
    lies = await set_aside(api, 2)
    box = {"location": "wh-paris", "reference": uuid4().hex, "lines": [FOUND_LINE]}
    (found,) = (await api.node.post("/v1/returns/unannounced", json=box)).json()["found"]
    names = {
        "sent": sent,
        "old": old,
        "unsent": unsent,
        "asked": ids[0],
        "here": ids[1],
        "aside": lies.id,
        "lot": str(lies.lot),
        "found": found["id"],
    }
    return Things(api, names)


LINE: dict[str, Any] = {"line": 1, "quantity": 1, "reason": "too_small"}
FOUND_LINE = {"sku": "LAMP-01", "quantity": 1, "condition": "as_new"}
ASK = a_request("{sent}")
CLAIM = {"order": "{sent}", "lines": [LINE | {"reason": "damaged"}]}
RECEIPT: dict[str, Any] = {
    "location": "wh-paris",
    "lines": [{"line": 1, "quantity": 1, "condition": "as_new"}],
}
LOOK: dict[str, Any] = {"lines": [{"line": 1, "quantity": 1, "accepted": True}]}
BOX = {"location": "wh-paris", "reference": "box", "lines": [FOUND_LINE]}

Case = tuple[str, str, Any, int, str, set[tuple[str, str]]]


def _of_one_line(role: str, call: str, body: dict[str, Any]) -> Iterator[Case]:
    """What is wrong with a line wherever lines are told."""
    for name, value, code in (
        ("quantity", 0, "too_small"),
        ("quantity", -1, "too_small"),
        ("quantity", 10_000, "too_large"),
        ("quantity", "1", "wrong_type"),
        ("quantity", True, "wrong_type"),
        ("quantity", 1.0, "wrong_type"),
        ("quantity", None, "wrong_type"),
        ("line", 0, "too_small"),
        ("line", 2**31, "too_large"),
        ("colour", "red", "unknown_field"),
    ):
        lines = [body["lines"][0] | {name: value}]
        told = {(f"/lines/0/{name}", code)}
        yield role, call, body | {"lines": lines}, 422, "validation_failed", told
    several: tuple[tuple[Any, str], ...] = (
        ([], "too_few"),
        ([body["lines"][0]] * 501, "too_many"),
        ({}, "wrong_type"),
    )
    for odd, code in several:
        yield role, call, body | {"lines": odd}, 422, "validation_failed", {("/lines", code)}
    yield role, call, body | {"colour": 1}, 422, "validation_failed", {("/colour", "unknown_field")}
    yield role, call, [], 422, "validation_failed", {("", "wrong_type")}


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "POST /v1/returns": ("channel", ASK),
    "POST /v1/returns/quote": ("channel", ASK),
    "POST /v1/claims": ("channel", CLAIM),
    "POST /v1/returns/unannounced": ("node", BOX),
    "POST /v1/returns/{asked}/receive": ("node", RECEIPT),
    "POST /v1/returns/{here}/inspect": ("node", LOOK),
    "POST /v1/returns/{here}/hand-back": ("node", {}),
    "POST /v1/returns/{asked}/cancel": ("channel", {}),
    "POST /v1/returns/{asked}/approve": ("operator", {}),
    "POST /v1/returns/{asked}/decline": ("operator", {"reason": "worn"}),
    "POST /v1/returns/{aside}/lots/{lot}/place": ("node", {"disposition": "restock"}),
    "POST /v1/found-goods/{found}/resolve": ("operator", {"disposition": "dispose", "reason": "x"}),
    "POST /v1/return-policy/check": ("operator", {"rules": [{"name": "one"}]}),
}
"""Every call of returns that takes a body, with a good one."""

NEEDS_A_KEY = [call for call in CALLS if not call.endswith(("quote", "check", "unannounced"))]
TAKES_A_KEY = [call for call in CALLS if not call.endswith(("quote", "check"))]


def _asked(**changes: Any) -> dict[str, Any]:
    return ASK | changes


def _line(**changes: Any) -> dict[str, Any]:
    return {"lines": [LINE | changes]}


def _cases() -> Iterator[Case]:
    for call, (role, body) in CALLS.items():
        if "lines" in body:
            yield from _of_one_line(role, call, body)
    yield from _of_asking()
    yield from _of_claims()
    yield from _of_goods()
    yield from _of_what_lies_about()


def _by_call() -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for case in _cases():
        found.setdefault(case[1], []).append(case)
    return found


def _of_asking() -> Iterator[Case]:
    for call in ("POST /v1/returns", "POST /v1/returns/quote"):
        for body, told in (
            (_asked(**_line(line=9)), ("/lines/0", "line_unknown")),
            (_asked(**_line(quantity=3)), ("/lines/0", "more_than_sent")),
            (_asked(order="{unsent}"), ("/lines/0", "not_sent")),
            (_asked(order="{old}"), ("/lines/0", "outside_window")),
            (_asked(customer={"id": "c-78"}), ("/customer", "not_theirs")),
            (_asked(customer={"email": "eve@example.com"}), ("/customer", "not_theirs")),
        ):
            yield "channel", call, body, 422, "not_returnable", {told}
        both = _asked(lines=[LINE | {"line": 9}, LINE | {"quantity": 9}])
        told_of_both = {("/lines/0", "line_unknown"), ("/lines/1", "more_than_sent")}
        yield "channel", call, both, 422, "not_returnable", told_of_both
        yield "other_channel", call, ASK, 404, "not_found", set()
        yield "channel", call, _asked(order="K3M9-QXZ4-7"), 404, "not_found", set()
        yield (
            "channel",
            call,
            _asked(order="ça"),
            422,
            "validation_failed",
            {("/order", "not_allowed")},
        )
        yield "node", call, ASK, 403, "forbidden", set()
        credit = {("/resolution", "resolution_unsupported")}
        wanted = _asked(resolution="store_credit")
        yield "channel", call, wanted, 422, "resolution_unsupported", credit
        for body, told in (
            (_asked(lines=[LINE, LINE]), ("/lines/1/line", "repeated")),
            (_asked(**_line(reason="Too Small")), ("/lines/0/reason", "not_allowed")),
            (_asked(**_line(reason="zu_klein_für_mich")), ("/lines/0/reason", "not_allowed")),
            (_asked(**_line(photos=["javascript:x"])), ("/lines/0/photos/0", "not_allowed")),
            (_asked(**_line(photos=["https://p.example/1"] * 6)), ("/lines/0/photos", "too_many")),
            (_asked(**_line(condition="damaged")), ("/lines/0/condition", "not_allowed")),
            (_asked(**_line(sku="MUG")), ("/lines/0/sku", "not_allowed")),
            (_asked(via="pigeon"), ("/via", "not_allowed")),
            (_asked(via="store"), ("/location", "required")),
            (_asked(resolution="money"), ("/resolution", "not_allowed")),
            (_asked(parcels=0), ("/parcels", "too_small")),
            (_asked(parcels=21), ("/parcels", "too_large")),
            (_asked(customer={}), ("/customer", "required")),
            (_asked(customer={"email": "ada"}), ("/customer/email", "not_allowed")),
        ):
            yield "channel", call, body, 422, "validation_failed", {told}
    joined = {("/travels_with", "not_returnable")}
    yield (
        "channel",
        "POST /v1/returns",
        _asked(travels_with="{here}"),
        422,
        "not_returnable",
        joined,
    )
    nowhere = {("/location", "location_unknown")}
    body = _asked(location="atlantis")
    yield "channel", "POST /v1/returns", body, 422, "location_unknown", nowhere


def _of_claims() -> Iterator[Case]:
    call = "POST /v1/claims"
    for lines, told in (
        (CLAIM | {"lines": [LINE | {"line": 9, "reason": "lost"}]}, ("/lines/0", "line_unknown")),
        (
            CLAIM | {"lines": [LINE | {"quantity": 3, "reason": "lost"}]},
            ("/lines/0", "more_than_sent"),
        ),
        (CLAIM | {"order": "{unsent}"}, ("/lines/0", "not_sent")),
        (CLAIM | {"order": "{old}"}, ("/lines/0", "outside_window")),
    ):
        yield "channel", call, lines, 422, "not_returnable", {told}
    yield "other_channel", call, CLAIM, 404, "not_found", set()
    yield "node", call, CLAIM, 403, "forbidden", set()
    wrong = {("/lines/0/reason", "not_allowed")}
    yield "channel", call, CLAIM | {"lines": [LINE]}, 422, "validation_failed", wrong
    unknown = {("/resolution", "not_allowed")}
    yield "channel", call, CLAIM | {"resolution": "exchange"}, 422, "validation_failed", unknown


def _of_goods() -> Iterator[Case]:
    receive, inspect = "POST /v1/returns/{asked}/receive", "POST /v1/returns/{here}/inspect"
    (scanned,), (seen,) = RECEIPT["lines"], LOOK["lines"]
    line_9 = RECEIPT | {"lines": [scanned, scanned | {"line": 9}]}
    yield "node", receive, line_9, 422, "line_unknown", {("/lines/1", "line_unknown")}
    yield "other_node", receive, RECEIPT, 404, "not_found", set()
    yield "channel", receive, RECEIPT, 403, "forbidden", set()
    gone = RECEIPT | {"location": "atlantis"}
    nowhere = {("/location", "location_unknown")}
    yield "operator", receive, gone, 422, "location_unknown", nowhere
    yield (
        "node",
        inspect,
        {"lines": [seen | {"line": 9}]},
        422,
        "line_unknown",
        {("/lines/0", "line_unknown")},
    )
    many = {("/lines/0", "quantity_too_large")}
    yield "node", inspect, {"lines": [seen | {"quantity": 2}]}, 422, "quantity_too_large", many
    yield (
        "node",
        inspect,
        {"lines": [seen, seen | {"accepted": False}]},
        409,
        "invalid_state",
        set(),
    )
    yield "node", inspect.replace("here", "asked"), LOOK, 422, "quantity_too_large", many
    yield "other_node", inspect, LOOK, 404, "not_found", set()
    wrong = {("/lines/0/accepted", "wrong_type")}
    yield "node", inspect, {"lines": [seen | {"accepted": "yes"}]}, 422, "validation_failed", wrong
    for action in ("cancel", "decline"):
        call = f"POST /v1/returns/{{here}}/{action}"
        yield "operator", call, {}, 409, "invalid_state", set()
    yield (
        "operator",
        "POST /v1/returns/{asked}/decline",
        {"reason": ""},
        422,
        "validation_failed",
        {("/reason", "too_short")},
    )
    yield "channel", "POST /v1/returns/{asked}/approve", {}, 403, "forbidden", set()
    yield "other_channel", "POST /v1/returns/{asked}/cancel", {}, 404, "not_found", set()
    yield "channel", "POST /v1/returns/K3M9-QXZ4-7-R1/cancel", {}, 404, "not_found", set()


def _of_what_lies_about() -> Iterator[Case]:
    place = "POST /v1/returns/{aside}/lots/{lot}/place"
    yield (
        "node",
        place.replace("{lot}", "999999"),
        {"disposition": "dispose"},
        404,
        "not_found",
        set(),
    )
    yield "other_node", place, {"disposition": "dispose"}, 404, "not_found", set()
    for body, code, told in (
        ({"disposition": "eat"}, "validation_failed", ("/disposition", "not_allowed")),
        (
            {"disposition": "restock", "to": "store-lyon"},
            "validation_failed",
            ("/to", "not_allowed"),
        ),
        (
            {"disposition": "restock_elsewhere", "to": "atlantis"},
            "location_unknown",
            ("/to", "location_unknown"),
        ),
        (
            {"disposition": "restock", "quantity": 3},
            "quantity_too_large",
            ("/quantity", "quantity_too_large"),
        ),
        ({"disposition": "restock", "sku": "LAMP-01"}, "sku_unknown", ("/sku", "sku_unknown")),
    ):
        yield "node", place, body, 422, code, {told}
    resolve = "POST /v1/found-goods/{found}/resolve"
    theirs = {"order": "{sent}", "line": 9, "reason": "x"}
    yield "operator", resolve, theirs, 422, "line_unknown", {("/line", "line_unknown")}
    yield "operator", resolve, theirs | {"order": "K3M9-QXZ4-7"}, 404, "not_found", set()
    yield "node", resolve, theirs, 403, "forbidden", set()
    box = "POST /v1/returns/unannounced"
    yield (
        "operator",
        box,
        BOX | {"location": "atlantis"},
        422,
        "location_unknown",
        {("/location", "location_unknown")},
    )
    yield "other_node", box, BOX, 404, "not_found", set()
    yield (
        "node",
        box,
        BOX | {"reference": "a\x00b"},
        422,
        "validation_failed",
        {("/reference", "not_allowed")},
    )


@pytest.mark.parametrize(("call", "cases"), _by_call().items())
async def test_what_is_wrong_is_told_by_its_place_and_nothing_moves(
    things: Things, call: str, cases: list[Case]
) -> None:
    before = await things.books()

    for role, _, body, status, code, told in cases:
        answer = await things.send(role, call, body)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (status, code), (body, answer.text)
        assert {(e["pointer"], e["code"]) for e in problem["errors"]} == told, (body, answer.text)
        assert all(each["detail"] for each in problem["errors"])

    assert await things.books() == before


@pytest.mark.parametrize("call", CALLS)
async def test_what_is_no_json_moves_nothing(things: Things, call: str) -> None:
    role, _ = CALLS[call]
    before = await things.books()
    bodies: list[tuple[bytes, int, str]] = [
        (b"{", 400, "malformed_json"),
        (b'{"a": NaN}', 400, "malformed_json"),
        (b'{"a": 1, "a": 2}', 400, "malformed_json"),
        (b'{"a": "\xff"}', 400, "malformed_json"),
        (b'{"a": "\\ud800"}', 400, "malformed_json"),
        (b"[" * 65 + b"]" * 65, 400, "malformed_json"),
        (b"[" * 100_000, 400, "malformed_json"),
        (b'"' + b"a" * MAX_BODY_BYTES + b'"', 413, "body_too_large"),
    ]

    for body, status, code in bodies:
        answer = await things.send(role, call, body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), body[:20]

    assert await things.books() == before


@pytest.mark.parametrize("call", CALLS)
async def test_a_stranger_moves_nothing(things: Things, call: str) -> None:
    before = await things.books()

    answer = await things.send("anonymous", call, CALLS[call][1])

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert await things.books() == before


@pytest.mark.parametrize("call", TAKES_A_KEY)
async def test_a_key_that_is_none_moves_nothing(things: Things, call: str) -> None:
    role, body = CALLS[call]
    before = await things.books()

    for odd in ("", "two words", "k" * 256):
        answer = await things.send(role, call, body, **{"Idempotency-Key": odd})
        assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid"), odd

    assert await things.books() == before


@pytest.mark.parametrize("call", TAKES_A_KEY)
async def test_a_key_that_named_another_request_moves_nothing(things: Things, call: str) -> None:
    role, body = CALLS[call]
    who, once = "node" if role == "node" else "operator", key()
    other = BOX | {"reference": uuid4().hex}
    taken = await things.send(who, "POST /v1/returns/unannounced", other, **once)
    assert taken.status_code == 201
    before = await things.books()

    answer = await things.send(who, call, body, **once)

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert await things.books() == before


@pytest.mark.parametrize("call", [each for each in CALLS if "/v1/returns/{" in each])
async def test_who_read_an_older_version_moves_nothing(things: Things, call: str) -> None:
    role, body = CALLS[call]
    before = await things.books()

    for stale in ('"0"', '"99"', 'W/"1"', '"1", "2"', "junk"):
        answer = await things.send(role, call, body, **{"If-Match": stale})
        assert (answer.status_code, answer.json()["code"]) == (412, "version_conflict"), stale

    assert await things.books() == before


@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
async def test_junk_in_a_body_is_refused_and_moves_nothing(
    things: Things, data: st.DataObject
) -> None:
    call = data.draw(st.sampled_from(sorted(CALLS)))
    _, body = CALLS[call]
    place = data.draw(st.sampled_from(places_in(body)))
    sent = spoiled(things.named(body), place, data.draw(JUNK))
    before = await things.books()

    answer = await things.send("operator", call, json.dumps(sent).encode())

    assert answer.status_code in (200, 201, 400, 404, 409, 422), answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert await things.books() == before
