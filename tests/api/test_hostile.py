"""Whatever is sent, the answer is one of the contract's: never a fault of ours, never a trace."""

import json
from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import Api, key
from tests.api.orders import an_order
from tests.api.test_master_data import LAMP, LYON

PART = "K3M9-QXZ4-7-F1"
ORDER = "/v1/orders/K3M9-QXZ4-7"
TRANSFER = "T-K3M9-QXZ4-7"
RULE_SET: dict[str, Any] = {
    "name": "Fuzz",
    "currency": "EUR",
    "rates": {"USD": "0.9"},
    "costs": [{"from": {"kinds": ["store"]}, "parcel_minor": 1, "parcel_km_minor": "0.5"}],
    "never": [{"why": "x", "lines": {"tags": ["x"]}, "from": {"groups": ["x"]}}],
    "rules": [
        {
            "name": "one",
            "when": {"channels": ["fuzz"], "countries": ["FR"], "value_minor": {"at_least": 1}},
            "lines": {"skus": ["FUZZ"]},
            "from": {"locations": ["fuzz"], "within_km": 5},
            "prefer": [{"kinds": ["store"]}],
            "objective": {"shipping": "1", "adjust": [{"from": {}, "unit_minor": -1}]},
            "split": {"lines": "whole", "most_places": 2},
            "left": "backorder",
        }
    ],
}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PUT", "/v1/products/FUZZ"): LAMP,
    ("PUT", "/v1/locations/fuzz"): LYON,
    ("PUT", "/v1/channels/fuzz"): {"name": "Web", "active": True},
    ("PUT", "/v1/routing/rule-sets/fuzz"): RULE_SET,
    ("POST", "/v1/routing/check"): RULE_SET,
    ("POST", "/v1/routing/rule-sets/fuzz/activate"): {"version": 1},
    ("PUT", "/v1/stock/FUZZ/fuzz/policy"): {"safety_stock": 1, "backorder_limit": 1},
    ("POST", "/v1/stock/adjustments"): {
        "adjustments": [{"sku": "FUZZ", "location": "fuzz", "set": 1, "reason": "count"}]
    },
    ("POST", "/v1/stock/incoming"): {
        "sku": "FUZZ",
        "location": "fuzz",
        "quantity": 1,
        "expected_at": "2036-12-01T08:00:00Z",
        "reference": "PO-1",
    },
    ("PUT", "/v1/stock/incoming/1"): {"quantity": 1, "expected_at": "2036-12-09T08:00:00Z"},
    ("POST", "/v1/stock/incoming/1/receive"): {"quantity": 1, "damaged": 0},
    ("POST", "/v1/transfers"): {
        "from": "fuzz",
        "to": "fuzz-2",
        "lines": [{"sku": "FUZZ", "quantity": 1}],
        "expected_at": "2036-12-01T08:00:00Z",
        "reference": "R-1",
    },
    ("PUT", f"/v1/transfers/{TRANSFER}"): {"expected_at": "2036-12-09T08:00:00Z"},
    ("POST", f"/v1/transfers/{TRANSFER}/ship"): {"lines": [{"sku": "FUZZ", "quantity": 1}]},
    ("POST", f"/v1/transfers/{TRANSFER}/receive"): {
        "lines": [{"sku": "FUZZ", "quantity": 1, "damaged": 1}]
    },
    ("POST", "/v1/orders"): an_order(),
    ("POST", f"{ORDER}/cancel"): {"reason": "x", "lines": [{"line": 1, "quantity": 1}]},
    ("POST", f"{ORDER}/holds"): {"reason": "fraud", "note": "x"},
    ("POST", f"{ORDER}/resolve"): {
        "step": "capture:1",
        "action": "retry",
        "actor": "a",
        "reason": "b",
        "result": {"reference": "c"},
    },
    ("POST", f"/v1/fulfillment-orders/{PART}/pick"): {"lines": [{"line": 1, "picked": 1}]},
    ("POST", f"/v1/fulfillment-orders/{PART}/pack"): {
        "parcels": [{"weight_g": 1, "lines": [{"line": 1, "quantity": 1}]}]
    },
}
PATHS = [
    "/v1/products/",
    "/v1/locations/",
    "/v1/stock/",
    "/v1/orders/",
    "/v1/fulfillment-orders/",
    "/v1/shipments/",
    "/v1/transfers/",
    "/v1/transfers?cursor=",
    "/v1/transfers?overdue=",
    "/v1/stock?cursor=",
    "/v1/stock?channel=",
    "/v1/stock/incoming/",
    "/v1/stock/incoming?cursor=",
    "/v1/stock/incoming?reference=",
    "/v1/routing/rule-sets/",
    "/v1/routing/rule-sets?cursor=",
    "/v1/routing/rule-sets?active=",
    "/v1/routing/rule-sets/fuzz?version=",
    "/v1/routing/activations?cursor=",
    "/v1/orders?reference=",
    "/v1/orders?cursor=",
    "/v1/orders?limit=",
    "/v1/locations?cursor=",
    "/v1/availability?channel=web-fr&sku=",
    "/v1/availability?channel=web-fr&sku=A&postal_code=",
]

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**63, 10**12, 10**12 + 1, 10**30, -(2**63) - 1, 0, -1])
    | st.floats()
    | st.text(max_size=300)
    | st.sampled_from(["", "\x00", "\ud800", "\u202e", "é" * 256, "2026-02-30T25:61:00Z", "NaN"])
)
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=20), inner),
    max_leaves=10,
)
MANY = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def places_in(document: Any, here: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a document where a value stands."""
    children: list[tuple[str | int, Any]] = []
    if isinstance(document, dict):
        children = list(document.items())
    if isinstance(document, list):
        children = list(enumerate(document))
    found = [here]
    for name, child in children:
        found += places_in(child, (*here, name))
    return found


def spoiled(document: Any, place: tuple[str | int, ...], junk: Any) -> Any:
    """The document with one value replaced."""
    if not place:
        return junk
    copied = deepcopy(document)
    inner = copied
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = junk
    return copied


@MANY
@given(data=st.data())
async def test_a_body_with_junk_somewhere_is_answered_by_the_contract(
    api: Api, data: st.DataObject
) -> None:
    method, path = data.draw(st.sampled_from(sorted(BODIES)))
    body = BODIES[method, path]
    place = data.draw(st.sampled_from(places_in(body)))
    sent = json.dumps(spoiled(body, place, data.draw(JUNK)))

    answer = await api.operator.request(method, path, content=sent, headers=key())

    assert answer.status_code in (200, 201, 202, 400, 404, 409, 422), answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"]


@MANY
@given(raw=st.binary(max_size=200), target=st.sampled_from(sorted(BODIES)))
async def test_bytes_that_are_no_json_are_answered_by_the_contract(
    api: Api, raw: bytes, target: tuple[str, str]
) -> None:
    answer = await api.operator.request(*target, content=raw, headers=key())

    assert answer.status_code in (200, 201, 400, 404, 422), answer.text


@MANY
@given(path=st.sampled_from(PATHS), words=st.text(min_size=1, max_size=80))
async def test_a_strange_path_or_query_is_answered_by_the_contract(
    api: Api, path: str, words: str
) -> None:
    try:
        odd = words.encode()
    except UnicodeEncodeError:
        odd = b"\xed\xa0\x80"
    escaped = "".join(f"%{byte:02X}" for byte in odd)

    answer = await api.operator.get(path + escaped)

    assert answer.status_code in (200, 404, 422), answer.text
