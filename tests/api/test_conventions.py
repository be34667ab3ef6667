"""What holds for every call: problems, bodies, queries, roles, and the document that says so."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from adapters.db.credentials import store_credential
from api.body import MAX_BODY_BYTES, MAX_DEPTH
from api.main import create_app
from api.problems import TITLES
from api.wiring import ApiSettings
from tests.api.conftest import OPERATOR, Api, client, key, no_temporal

PATH = "/v1/products/ODD"


def problem(answer: httpx.Response) -> tuple[int, str]:
    """The status and code of an answer that must be a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body.keys() >= {"type", "title", "status", "detail", "code", "errors"}
    assert body["status"] == answer.status_code
    return answer.status_code, body["code"]


async def test_an_unknown_path_is_not_found(api: Api) -> None:
    for path in ("/", "/v1", "/v1/nothing", "/v1/products/", "/v2/products/LAMP-01"):
        assert problem(await api.operator.get(path)) == (404, "not_found")


async def test_a_method_a_path_does_not_have_is_not_allowed(api: Api) -> None:
    assert problem(await api.operator.delete(PATH)) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b"{'name': 'x'}",
        b'{"name": NaN}',
        b'{"name": Infinity}',
        b'{"name": "x"} trailing',
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"name": "x", "name": "y"}',
        b"[" * 500_000,
        b'{"name": ' + b"[" * 100 + b"]" * 100 + b"}",
        b'\xef\xbb\xbf{"name": "x"}',
        '{"name": "x"}'.encode("utf-16"),
    ],
)
async def test_what_is_no_json_is_malformed(api: Api, body: bytes) -> None:
    assert problem(await api.operator.put(PATH, content=body)) == (400, "malformed_json")


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"', b"1", b"true", b"[{}]"])
async def test_json_that_is_no_object_is_not_valid(api: Api, body: bytes) -> None:
    refused = await api.operator.put(PATH, content=body)

    assert problem(refused) == (422, "validation_failed")
    assert refused.json()["errors"][0]["pointer"] == ""


@pytest.mark.parametrize(
    "value", [0, 1.5, True, None, [], {}, "", "\u0000", "a\nb", "\x7f", "\u0085", "x" * 256]
)
async def test_a_name_is_a_text_and_nothing_else(api: Api, value: Any) -> None:
    refused = await api.operator.put(PATH, content=json.dumps({"name": value}))

    assert problem(refused) == (422, "validation_failed")
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/name"]


async def test_texts_may_be_long_and_in_any_script(api: Api) -> None:
    for name in ("x" * 255, "🪔" * 255, "Лампа", "مصباح", "a\u2028b"):
        written = await api.operator.put(PATH, json={"name": name})
        assert written.json()["name"] == name


async def test_every_flaw_is_named_by_its_pointer(api: Api) -> None:
    body = {"gtin": 1, "a/b~c": 1, "tags": ["ok", 7], "dimensions_mm": [1, 2]}
    refused = await api.operator.put(PATH, json=body)

    assert {(e["pointer"], e["code"]) for e in refused.json()["errors"]} == {
        ("/name", "required"),
        ("/gtin", "wrong_type"),
        ("/a~1b~0c", "unknown_field"),
        ("/tags/1", "wrong_type"),
        ("/dimensions_mm", "too_few"),
    }


async def test_a_body_may_be_one_mebibyte_and_not_a_byte_more(api: Api) -> None:
    body = b'{"name": "Desk lamp"}'
    whole = body + b" " * (MAX_BODY_BYTES - len(body))

    assert (await api.operator.put(PATH, content=whole)).status_code in (200, 201)
    assert problem(await api.operator.put(PATH, content=whole + b" ")) == (413, "body_too_large")


async def test_a_body_in_chunks_is_measured_as_it_comes(api: Api) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 65_536

    assert problem(await api.operator.put(PATH, content=endless())) == (413, "body_too_large")
    assert sent <= MAX_BODY_BYTES // 65_536 + 1


async def test_json_may_be_nested_only_so_deep(api: Api) -> None:
    def nested(depth: int) -> str:
        return '{"a":' * depth + "{}" + "}" * depth

    path = "/v1/routing/rule-sets/deep"
    assert problem(await api.operator.put(path, content=nested(MAX_DEPTH - 1))) == (
        422,
        "validation_failed",
    )
    assert problem(await api.operator.put(path, content=nested(MAX_DEPTH))) == (
        400,
        "malformed_json",
    )


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic a2V5",
        "Bearer " + "x" * 500,
        "Bearer k\u00e9y",
    ],
)
async def test_without_a_valid_key_nothing_is_told(api: Api, header: str | None) -> None:
    headers = {} if header is None else {b"Authorization": header.encode("latin-1")}
    refused = await api.anonymous.request("PUT", PATH, content=b"no json", headers=headers)

    assert problem(refused) == (401, "unauthenticated")
    assert refused.headers["www-authenticate"] == "Bearer"


async def test_a_revoked_key_opens_nothing(api: Api) -> None:
    async with api.engine.begin() as tx:
        await tx.exec_driver_sql(
            "INSERT INTO api_keys (id, hash, role, created_at, revoked_at)"
            " VALUES ('old', sha256('key-old'), 'operator', now(), now())"
        )
    old = {"Authorization": "Bearer key-old"}

    assert (await api.anonymous.get(PATH, headers=old)).status_code == 401


async def test_a_replaced_key_opens_nothing_and_the_new_one_does(api: Api) -> None:
    for secret in ("key-first", "key-second"):
        async with api.engine.begin() as tx:
            await store_credential(
                tx, id="rotated", key=secret, role="operator", now=datetime.now(UTC)
            )

    answers = [
        (await api.anonymous.get("/v1/locations", headers={"Authorization": f"Bearer {k}"}))
        for k in ("key-first", "key-second")
    ]
    assert [answer.status_code for answer in answers] == [401, 200]


async def test_master_data_is_the_operators(api: Api) -> None:
    for path in (PATH, "/v1/locations", "/v1/stock/ODD", "/v1/routing/rule-sets"):
        assert problem(await api.channel.get(path)) == (403, "forbidden")
        assert problem(await api.node.get(path)) == (403, "forbidden")
    assert problem(await api.node.get("/v1/availability?sku=A&channel=b")) == (403, "forbidden")


@pytest.mark.parametrize("id", ["a b", "%00", "%ff", "a%2Fb", "x" * 65, "é", "a%0a"])
async def test_an_impossible_id_names_nothing_and_makes_nothing(api: Api, id: str) -> None:
    assert (await api.operator.get(f"/v1/products/{id}")).status_code == 404
    made = await api.operator.put(f"/v1/products/{id}", json={"name": "x"})
    assert made.status_code in (404, 422)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=1.0",
        "limit=ten",
        "limit=",
        "limit=1_0",
        "limit=%D9%A1",
        "limit=99999999999999999999",
        "limit=5&limit=5",
        "cursor=",
        "cursor=nonsense",
        "cursor=%00",
        "cursor=bnVsbA",
        "cursor=WzEsMl0",
        "cursor=WyIyMDI2IiwieCJd",
        "cursor=WyIyMDI2LTAxLTAxVDAwOjAwOjAwKzAwOjAwIiwiXHUwMDAwIl0",
        "unknown=1",
        "Limit=5",
    ],
)
async def test_a_list_understands_its_query_or_refuses_it(api: Api, query: str) -> None:
    assert problem(await api.operator.get(f"/v1/locations?{query}")) == (422, "query_invalid")


async def test_every_call_answers_unavailable_while_the_database_is_down(
    without_database: httpx.AsyncClient,
) -> None:
    adjustment = {"adjustments": [{"sku": "A", "location": "b", "set": 1}]}

    for answer in (
        await without_database.get(PATH),
        await without_database.get("/ready"),
        await without_database.put(PATH, json={"name": "x"}),
        await without_database.post("/v1/stock/adjustments", json=adjustment, headers=key()),
    ):
        assert problem(answer) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
    assert (await without_database.get("/health")).json() == {"status": "ok"}


async def test_a_request_that_waits_for_a_locked_row_is_answered_in_time(api: Api) -> None:
    await api.operator.put("/v1/products/LOCKED", json={"name": "Lamp"})
    app = create_app(ApiSettings(request_seconds=0.3), api.engine, no_temporal)

    async with client(app, OPERATOR) as hurried, api.engine.begin() as locker:
        await locker.execute(text("SELECT 1 FROM products WHERE sku = 'LOCKED' FOR UPDATE"))
        late = await hurried.put("/v1/products/LOCKED", json={"name": "Other"})

    assert problem(late) == (503, "unavailable")
    assert (await api.operator.get("/v1/products/LOCKED")).json()["name"] == "Lamp"


async def test_the_document_names_every_body_parameter_and_problem(api: Api) -> None:
    document = (await api.anonymous.get("/openapi.json")).json()
    adjust = document["paths"]["/v1/stock/adjustments"]["post"]
    listing = document["paths"]["/v1/locations"]["get"]
    schemas = document["components"]["schemas"]

    body = adjust["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/AdjustmentsBody"}
    assert {p["name"] for p in listing["parameters"]} == {"limit", "cursor"}
    assert [p["name"] for p in adjust["parameters"]] == ["Idempotency-Key"]
    for name in _references(document):
        assert name in schemas


async def test_the_page_of_the_documentation_needs_nothing_from_elsewhere(api: Api) -> None:
    page = (await api.anonymous.get("/docs")).text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)

    assert sources
    for source in sources:
        assert (await api.anonymous.get(source)).status_code == 200, source


CONTRACT = """
    PUT GET /v1/products/{}
    PUT GET /v1/locations/{}
    GET /v1/locations
    POST /v1/stock/adjustments
    PUT /v1/stock/{}/{}/policy
    POST /v1/stock/incoming
    GET /v1/stock/{}
    GET /v1/stock/{}/movements
    PUT /v1/channels/{}
    PUT /v1/routing/rule-sets/{}
    POST /v1/routing/rule-sets/{}/activate
    GET /v1/routing/rule-sets
    GET /v1/availability
    POST GET /v1/orders
    GET /v1/orders/{}
    GET /v1/orders/{}/timeline
    GET /v1/orders/{}/explain
    POST /v1/orders/{}/cancel
    POST /v1/orders/{}/holds
    POST /v1/orders/{}/holds/{}/release
    POST /v1/orders/{}/reroute
    POST /v1/orders/{}/resolve
    GET /v1/fulfillment-orders
    POST /v1/fulfillment-orders/{}/accept
    POST /v1/fulfillment-orders/{}/reject
    POST /v1/fulfillment-orders/{}/pick
    POST /v1/fulfillment-orders/{}/pack
    POST /v1/fulfillment-orders/{}/ready
    POST /v1/fulfillment-orders/{}/hand-over
    POST /v1/fulfillment-orders/{}/cancel-response
    GET /v1/shipments/{}/label.pdf
    GET /v1/shipments/{}/label.zpl
    POST GET /v1/returns
    GET /v1/returns/{}
    GET /v1/returns/{}/timeline
    GET /v1/returns/{}/explain
    POST /v1/returns/{}/receive
    POST /v1/returns/{}/inspect
    POST /v1/returns/{}/cancel
    POST /v1/returns/{}/approve
    POST /v1/returns/{}/decline
    POST /v1/inbound/payments/{}
    POST /v1/inbound/carriers/{}
    POST /v1/inbound/nodes/{}
"""


async def test_every_call_of_the_contract_is_there(api: Api) -> None:
    document = (await api.anonymous.get("/openapi.json")).json()
    offered = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, operations in document["paths"].items()
        for method in operations
    }

    for line in CONTRACT.split("\n"):
        *methods, path = line.split() or ["", ""]
        for method in methods:
            assert not method or (method, path) in offered, line


def test_every_code_is_on_the_page_for_channels() -> None:
    page = (Path(__file__).parents[2] / "docs" / "integrate.md").read_text(encoding="utf-8")

    for code, (status, _) in TITLES.items():
        assert re.search(rf"\| `{code}` \| {status} \|", page), code


def _references(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*(_references(each) for each in node)) if node else set()
    if not isinstance(node, dict):
        return set()
    own = {node["$ref"].rpartition("/")[2]} if isinstance(node.get("$ref"), str) else set()
    return own.union(*(_references(each) for each in node.values())) if node else own
