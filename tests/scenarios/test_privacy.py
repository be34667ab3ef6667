"""One person lives through everything that can befall an order, and leaves no trace but in SQL.

Their name, address, e-mail address, telephone number and card token are told to us by the channel,
and quoted back by whatever breaks: providers, carriers, the database, our own bugs.
"""

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import structlog
from sqlalchemy import text
from standardwebhooks.webhooks import Webhook
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from adapters.nodes.simulator import SimulatedNode
from tests.outside import SECRETS
from tests.world import World, a_shop
from workers.embedded.postgres import Postgres
from workers.logging import configure
from workers.temporal import data_converter

TOKEN = "tok_9Kx77QuebecLima"
DECLINED = "tok_9Kx77Declined"
CUSTOMER = {
    "id": "c-4711",
    "name": "Thaddeus Wolkenstein",
    "email": "thaddeus@wolkenstein.example",
    "phone": "+33655443322",
}
ADDRESS = {
    "name": "Philippa Wolkenstein",
    "line1": "12 Marmalade Mews",
    "city": "Oyonnax",
    "postal_code": "EC1V 9XJ",
    "country": "GB",
}
NOTE = "the dog Bucephalus bites"
QUOTE = f"{CUSTOMER['name']} of {ADDRESS['line1']}, {CUSTOMER['email']}, {TOKEN}"
MARKS = (
    *("Thaddeus", "Wolkenstein", "Philippa", "wolkenstein.example", "655443322"),
    *("Marmalade", "Oyonnax", "9XJ", "9Kx77", "Bucephalus"),
)
HOMES = {"orders", "tenders", "holds", "inbound_events", "idempotency_keys"}
"""The tables that may hold personal data. The last keeps answers, which repeat a hold's note."""


def found_in(told: str) -> list[str]:
    return [mark for mark in MARKS if mark in told]


class RudeOutside:
    """Stands before the outside, knows the person, and quotes what it was told when it refuses."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.answers: dict[str, list[tuple[int, dict[str, Any]]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        waiting = self.answers.get(scope.get("path", ""))
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif waiting:
            status, body = waiting.pop(0)
            await self._say(send, status, body)
        elif scope["path"] == "/payments/authorize":
            await self._pay(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _pay(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        if DECLINED.encode() in message["body"]:
            await self._say(send, 200, {"status": "declined", "reason": f"blocked for {QUOTE}"})
            return
        body = message["body"].replace(TOKEN.encode(), b"tok_ok")

        async def again() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        scope["headers"] = [each for each in scope["headers"] if each[0] != b"content-length"]
        await self._app(scope, again, send)

    async def _say(self, send: Send, status: int, body: dict[str, Any]) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})


@dataclass
class Told:
    """All that was told about the person, by where it was told."""

    histories: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    log: str = ""
    database_log: str = ""


class Life:
    """One person's orders."""

    def __init__(self, world: World, rude: RudeOutside, told: Told) -> None:
        self.world, self.rude, self.told = world, rude, told

    def wish(self, units: int = 1, token: str = TOKEN, **more: Any) -> dict[str, Any]:
        delivery = {"method": "home", "address": ADDRESS}
        wish = {"token": token, "customer": CUSTOMER, "delivery": delivery} | more
        return self.world.an_order(units, **wish)

    async def asks(self, body: Any) -> tuple[int, dict[str, Any]]:
        answer = await self.world.call("POST", "/v1/orders", body, who="channel")
        return answer.status_code, answer.json()

    async def orders(self) -> str:
        status, order = await self.asks(self.wish())
        assert status in (201, 202), order
        return str(order["number"])

    async def looks_at_the_runs(self, number: str) -> None:
        """What operators are shown of an order now, in the UI and by `explain`."""
        order = await self.world.order(number)
        for id in (
            f"order/{number}",
            *(f"fulfillment/{f['id']}" for f in order["fulfillment_orders"]),
        ):
            run = self.world.temporal.get_workflow_handle(id)
            metadata = await run.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
            self.told.details[id] = self.told.details.get(id, "") + str(metadata)
        explained = await self.world.ok("GET", f"/v1/orders/{number}/explain")
        self.told.answers += [json.dumps(explained), json.dumps(await self.world.timeline(number))]

    async def ends(self, number: str, tracking_number: str) -> None:
        await self.world.scan(tracking_number, "delivered")
        await self.world.until_closed(number)

    # --- what befalls them ---

    async def everything_goes_well(self) -> None:
        number = await self.orders()
        await self.ends(number, await self.world.sends(number))

    async def refused(self) -> None:
        for wish in (self.wish(units=999), self.wish(token=DECLINED)):
            status, problem = await self.asks(wish)
            assert status == 422, problem
            assert problem["code"] in ("insufficient_stock", "payment_declined"), problem

    async def stopped_and_cancelled(self) -> None:
        number = await self.orders()
        hold = {"reason": "address", "note": NOTE}
        await self.world.ok("POST", f"/v1/orders/{number}/holds", hold)
        await self.world.ok("POST", f"/v1/orders/{number}/cancel", {"reason": "no longer wanted"})
        await self.world.until_closed(number)

    async def the_carrier_refuses_the_address(self) -> None:
        self.rude.answers["/carriers/labels"] = [
            (422, {"code": f"no_such_street: {QUOTE}", "detail": QUOTE, "message": QUOTE}),
            (200, {"tracking_number": {"to": QUOTE}}),
        ]
        number = await self.orders()
        id = await self.world.packs(number)
        await self.world.until_parked(number, "label:S1")
        await self.looks_at_the_runs(number)
        await self.world.resolve(number, "label:S1", "retry")
        tracking_number = await self.world.until_labelled(number)
        await self.world.node(id, "hand-over")
        await self.ends(number, tracking_number)

    async def the_provider_refuses_the_capture(self) -> None:
        refused = {"status": "declined", "reason": f"no money left for {QUOTE}"}
        self.rude.answers["/payments/capture"] = [(200, refused)]
        number = await self.orders()
        tracking_number = await self.world.sends(number)
        await self.world.until_parked(number, "capture:1")
        await self.looks_at_the_runs(number)
        done = {"result": {"reference": "till-88"}}
        await self.world.resolve(number, "capture:1", "done_manually", **done)
        await self.ends(number, tracking_number)

    async def an_effect_of_ours_trips_over_them(self) -> None:
        honest = SimulatedNode.offer
        times = iter(range(1))

        async def trips(node: SimulatedNode, *given: Any, **named: Any) -> None:
            if next(times, None) is None:
                await honest(node, *given, **named)
                return
            try:
                raise KeyError(QUOTE)
            except KeyError as cause:
                raise ValueError(f"cannot tell {QUOTE}") from cause

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SimulatedNode, "offer", trips)
            number = await self.orders()
            await self.world.until_parked(number, "offer:F1")
            await self.looks_at_the_runs(number)
            await self.world.resolve(number, "offer:F1", "retry")
            tracking_number = await self.world.sends(number)
        await self.ends(number, tracking_number)

    async def the_database_quotes_them(self) -> None:
        number = await self.orders()
        await self._quotes_at("UPDATE ON shipments", "NEW.tracking_number IS NOT NULL")
        id = await self.world.packs(number)
        await self.world.until_parked(number, "label:S1")
        await self.looks_at_the_runs(number)
        await self._sql("DROP TRIGGER quotes ON shipments")
        await self.world.until(
            number, lambda order: order["fulfillment_orders"][0]["shipments"][0]["tracking_number"]
        )
        await self.world.node(id, "hand-over")
        await self.ends(number, await self.world.until_labelled(number))

    async def the_database_refuses_their_order(self) -> None:
        await self._quotes_at("INSERT ON orders", "true")
        status, problem = await self.asks(self.wish())
        assert (status, problem["code"]) == (500, "internal_error")

    async def _quotes_at(self, change: str, when: str) -> None:
        """Let the database quote the person in the error that it answers this change with."""
        raising = f"RAISE EXCEPTION 'not to be sent' USING DETAIL = '{QUOTE}'"
        await self._sql(
            "CREATE OR REPLACE FUNCTION quote_them() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN {raising}; END $$"
        )
        await self._sql(
            f"CREATE TRIGGER quotes BEFORE {change} FOR EACH ROW WHEN ({when})"
            " EXECUTE FUNCTION quote_them()"
        )

    async def _sql(self, statement: str) -> None:
        """Run what no process of ours would, past their log."""
        url = self.world.engine.url.set(drivername="postgresql")
        target = url.render_as_string(hide_password=False)
        async with await psycopg.AsyncConnection.connect(target, autocommit=True) as database:
            await database.execute(statement.encode())

    async def their_channel_makes_mistakes(self) -> None:
        good = self.wish()
        for flaw in (
            {"customer": CUSTOMER | {"email": QUOTE}},
            {"note": NOTE},
            {"customer": QUOTE},
        ):
            assert (await self.asks(good | flaw))[0] == 422

    async def webhooks_come_in_bad_shape(self) -> None:
        """Unsigned, of the wrong shape, in unknown words, and such that applying them breaks."""
        number = await self.orders()
        fulfillment = (await self.world.until_offered(number))[0]["id"]
        tracking_number = await self.world.sends(number)
        scan = {"tracking_number": tracking_number, "at": datetime.now(UTC).isoformat()}
        lines = {"lines": [{"line": QUOTE, "picked": {"by": QUOTE}}]}
        pick = {"fulfillment_order": fulfillment, "action": "pick", "body": lines}
        for path, event in (
            ("payments/simulator", {"event_id": "p1", "note": QUOTE}),
            ("carriers/simulator", scan | {"event_id": "c1", "status": QUOTE}),
            ("nodes/wh-lyon", pick | {"event_id": "n1"}),
            ("nodes/wh-lyon", pick | {"event_id": "n2", "action": QUOTE}),
        ):
            for secret in (SECRETS[path.partition("/")[0]], SECRETS["nodes"][:-4] + "AAA="):
                await self._post(path, json.dumps(event), secret)
        await self.ends(number, tracking_number)

    async def _post(self, path: str, body: str, secret: str) -> None:
        at = datetime.now(UTC)
        headers = {
            "webhook-id": "w1",
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(secret).sign("w1", at, body),
            "content-type": "application/json",
        }
        await self.world.http.post(f"/v1/inbound/{path}", content=body, headers=headers)


@contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """Every line of every logger, of the SDK's core too, as our processes would write it."""
    root, known = logging.getLogger(), logging.root.manager.loggerDict
    before = list(root.handlers), root.level
    out = io.StringIO()
    configure("json", level=logging.DEBUG)
    structlog.configure(cache_logger_on_first_use=False)
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(out)
    loggers = [each for each in known.values() if isinstance(each, logging.Logger)]
    levels = [(each, each.level, each.propagate, each.handlers[:]) for each in loggers]
    for each in loggers:
        each.setLevel(logging.DEBUG)
        each.propagate = True
        each.handlers[:] = []
    try:
        yield out
    finally:
        root.handlers[:], root.level = before[0], before[1]
        for each, level, propagate, handlers in levels:
            each.setLevel(level)
            each.propagate, each.handlers[:] = propagate, handlers
        structlog.reset_defaults()


def loudly() -> Runtime:
    """A core that forwards all it logs."""
    forwarding = LogForwardingConfig(logger=logging.getLogger("temporalio.core"))
    levels = TelemetryFilter(core_level="DEBUG", other_level="ERROR")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(levels, forwarding=forwarding)))


@pytest.fixture(scope="module")
async def told(
    module_database_url: str, temporal_address: str, temporal: Client, postgres: Postgres
) -> AsyncIterator[Told]:
    """Everything befalls the person once; what was told of it meanwhile."""
    told = Told()
    fronts: list[RudeOutside] = []

    def rude(app: ASGIApp) -> ASGIApp:
        fronts.append(RudeOutside(app))
        return fronts[-1]

    client = await Client.connect(
        temporal_address, data_converter=data_converter(), runtime=loudly()
    )
    world_of = a_shop(module_database_url, client, rude=rude, heal_seconds=3, units=50)
    async with world_of as world:
        with everything_logged() as log:
            await world.works_by_hand("wh-lyon")
            life = Life(world, fronts[0], told)
            await life.everything_goes_well()
            await life.refused()
            await life.stopped_and_cancelled()
            await life.the_carrier_refuses_the_address()
            await life.the_provider_refuses_the_capture()
            await life.an_effect_of_ours_trips_over_them()
            await life.the_database_quotes_them()
            await life.their_channel_makes_mistakes()
            await life.webhooks_come_in_bad_shape()
            await life.the_database_refuses_their_order()
            await _look(life)
        told.log = log.getvalue()
        told.database_log = (postgres.data.parent / "postgres.log").read_text()
        yield told


async def _look(life: Life) -> None:
    """Read all that is stored, in Temporal and in SQL."""
    world, told = life.world, life.told
    async with world.engine.connect() as connection:
        numbers = (await connection.execute(text("SELECT number FROM orders"))).scalars().all()
    for number in numbers:
        order = await world.order(number)
        parts = [f"fulfillment/{each['id']}" for each in order["fulfillment_orders"]]
        for id in (f"order/{number}", *parts):
            run = world.temporal.get_workflow_handle(id)
            told.histories[id] = "\n".join(map(str, (await run.fetch_history()).events))
            told.descriptions[id] = str((await run.describe()).raw_description)
    async with world.engine.connect() as connection:
        names = await connection.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        )
        for (name,) in names.all():
            rows = await connection.execute(text(f'SELECT to_jsonb(t)::text FROM "{name}" t'))
            told.tables[name] = "\n".join(row[0] for row in rows)


async def test_everything_did_befall_them(told: Told) -> None:
    everything = "\n".join(told.histories.values())

    assert found_in(told.tables["orders"]) != []
    assert "broken invariant: ValueError in" in everything
    assert "not_parked" not in everything
    assert "outcome_unknown" in everything
    assert "adapters.db" in everything, "where the database failed"
    for event in ("inbound_event_broke", "request_failed", "payment_settled", "webhook_refused"):
        assert f'"event": "{event}"' in told.log, event
    loggers = {json.loads(line)["logger"] for line in told.log.splitlines()}
    for library in ("httpx", "httpcore", "sqlalchemy", "uvicorn", "temporalio"):
        assert any(each.partition(".")[0] == library for each in loggers), (library, loggers)


async def test_no_history_tells_of_them(told: Told) -> None:
    assert {id: found for id, text in told.histories.items() if (found := found_in(text))} == {}


async def test_nothing_that_operators_see_of_a_run_tells_of_them(told: Told) -> None:
    shown = told.descriptions | {f"details of {id}": text for id, text in told.details.items()}
    assert {id: found for id, text in shown.items() if (found := found_in(text))} == {}
    assert [found for text in told.answers if (found := found_in(text))] == []


async def test_no_line_of_any_log_tells_of_them(told: Told) -> None:
    assert [line for line in told.log.splitlines() if found_in(line)] == []


async def test_the_databases_own_log_does_not_tell_of_them(told: Told) -> None:
    assert [line for line in told.database_log.splitlines() if found_in(line)] == []


async def test_personal_data_lives_in_few_tables(told: Told) -> None:
    assert {name for name, rows in told.tables.items() if found_in(rows)} <= HOMES
