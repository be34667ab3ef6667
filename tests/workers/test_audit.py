"""The audit finds what is planted: each book is tampered with, in a transaction nobody keeps."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client
from typer.testing import CliRunner
from typing_extensions import override

from adapters.db.audit import read_snapshot
from adapters.http import Http
from oms.audit import AuditReport, Effect, Finding
from oms.errors import Unreachable
from tests.world import POLICY, World, a_world
from workers import audit_command, cli
from workers.auditing import LOOKS_AGAIN_AFTER, OutsideBooks, Party, SimulatorBooks, audit, compare

Edit = Callable[[Party, Sequence[Effect]], Iterable[Effect]]


@dataclass
class Shop:
    """A world with one order at the customer's door and one that its location looks at."""

    world: World
    http: Http
    delivered: str
    offered: str

    async def audited(self, *tampering: str, books: Edit | None = None) -> AuditReport:
        """Audit once as if this had happened to our books or the outside's; nothing is kept."""
        now = datetime.now(UTC)
        names = {"delivered": self.delivered, "offered": self.offered}
        async with self.world.engine.connect() as connection:
            for statement in tampering:
                used = {name: value for name, value in names.items() if f":{name}" in statement}
                await connection.execute(text(statement), used)
            ours = await read_snapshot(connection, now)
        theirs = Edited(SimulatorBooks(self.http), books)
        return await compare(ours, self.world.temporal, theirs, now=now, silent=POLICY.silent)


class Edited(OutsideBooks):
    """The outside's books, with something changed in them for as long as `times` says."""

    def __init__(self, books: OutsideBooks, edit: Edit | None, times: int = 1_000_000) -> None:
        self._books, self._edit, self._left = books, edit, 3 * times

    @override
    async def of(self, party: Party) -> Sequence[Effect]:
        found = await self._books.of(party)
        self._left -= 1
        return found if self._edit is None or self._left < 0 else tuple(self._edit(party, found))


def without(kind: str) -> Edit:
    return lambda _, found: [effect for effect in found if effect.kind != kind]


def twice(kind: str) -> Edit:
    return lambda _, found: [*found, *(effect for effect in found if effect.kind == kind)]


def with_one_more(party: Party, **fields: Any) -> Edit:
    effect = Effect.model_validate({"reference": "ZZZZ-ZZZZ-Z"} | fields)
    return lambda asked, found: [*found, effect] if asked == party else found


@pytest.fixture(scope="module")
async def shop(module_database_url: str, temporal: Client) -> AsyncIterator[Shop]:
    # Nothing is due while the tests look: the location has an hour to answer.
    policy = POLICY.model_copy(update={"node_answer": timedelta(hours=1)})
    async with a_world(module_database_url, temporal, policy=policy) as world:
        await world.sells("LAMP", "VASE")
        await world.has_place("wh-lyon")
        await world.has_place("by-hand")
        await world.works_by_hand("by-hand")
        await world.holds("LAMP", "wh-lyon", 10)
        await world.holds("VASE", "by-hand", 10)
        await world.outside.hurries()
        delivered = (await world.place({"LAMP": 2}))["number"]
        offered = (await world.place({"VASE": 1}))["number"]
        await world.until_status(delivered, "completed")
        await world.until_offered(offered)
        async with Http(world.outside.url, timeout=timedelta(seconds=10)) as http:
            yield Shop(world, http, delivered, offered)


def named(found: Iterable[Finding]) -> set[tuple[int, str]]:
    return {(each.invariant, each.about) for each in found}


async def test_an_honest_shop_is_clean(shop: Shop) -> None:
    report = await shop.world.audit_is_clean()

    assert report.violations == ()
    assert report.checked["orders"] == 2
    assert report.checked["runs"] == 3


OPEN_ALLOCATION = "order_number = :offered AND state = 'open'"
PLANTED: dict[str, tuple[list[str], set[tuple[int, str]]]] = {
    "an import says it moved what it did not": (
        [
            "INSERT INTO stock_imports (id, scope, reference, kind, taken_at, missing, state,"
            " opened_at, moved, units_added, units_removed, version)"
            " VALUES ('si-1', '', 'r', 'counts', now(), 'report', 'applied', now(), 1, 5, 0, 2)"
        ],
        {(1, "count:si-1")},
    ),
    "stock appears without a movement": (
        ["UPDATE stock_levels SET on_hand = on_hand + 1 WHERE sku = 'LAMP'"],
        {(1, "LAMP at wh-lyon")},
    ),
    "a movement is lost": (
        ["DELETE FROM stock_movements WHERE sku = 'VASE' AND bucket = 'on_hand'"],
        {(1, "VASE at by-hand")},
    ),
    "an article runs out and nobody is told": (
        [
            "INSERT INTO stock_alerts (sku, location, state, since)"
            " VALUES ('VASE', 'by-hand', 'out', now()), ('VASE', '', 'low', now())"
        ],
        {(8, "VASE at by-hand"), (8, "VASE")},
    ),
    "a bucket is negative": (
        [
            "ALTER TABLE stock_levels DROP CONSTRAINT damaged_not_negative",
            "UPDATE stock_levels SET damaged = -1 WHERE sku = 'LAMP'",
        ],
        {(1, "LAMP at wh-lyon")},
    ),
    "units are allocated to nobody": (
        [
            "UPDATE stock_levels SET allocated = allocated + 1 WHERE sku = 'LAMP'",
            "INSERT INTO stock_movements (at, sku, location, bucket, delta, cause, key)"
            " VALUES (now(), 'LAMP', 'wh-lyon', 'allocated', 1, 'theft', :delivered || ':9:x')",
        ],
        {(2, "LAMP at wh-lyon"), (2, "{delivered}")},
    ),
    "a transfer holds nothing of what it asked for": (
        [
            "INSERT INTO transfers (id, origin, destination, status, created_at, version)"
            " VALUES ('T-1', 'wh-lyon', 'by-hand', 'requested', now(), 1)",
            "INSERT INTO transfer_lines (transfer, line, sku, quantity)"
            " VALUES ('T-1', 1, 'LAMP', 2)",
        ],
        {(2, "LAMP at wh-lyon"), (2, "LAMP at by-hand"), (2, "T-1")},
    ),
    "a transfer that has ended is still on the road": (
        [
            "INSERT INTO transfers (id, origin, destination, status, created_at, version)"
            " VALUES ('T-1', 'wh-lyon', 'by-hand', 'closed', now(), 1)",
            "INSERT INTO transfer_lines (transfer, line, sku, quantity, shipped)"
            " VALUES ('T-1', 1, 'LAMP', 2, 2)",
        ],
        {(2, "LAMP at by-hand"), (3, "T-1")},
    ),
    "what is expected is counted nowhere": (
        [
            "INSERT INTO incoming (sku, location, quantity, received, expected_at, reference)"
            " VALUES ('LAMP', 'wh-lyon', 5, 3, now(), 'PO-1')",
        ],
        {(2, "LAMP at wh-lyon")},
    ),
    "one order holds what another one let go": (
        [f"UPDATE allocations SET order_number = :delivered WHERE {OPEN_ALLOCATION}"],
        {
            (2, "{delivered}"),
            (2, "{offered}"),
            (3, "{delivered} line 1"),
            (3, "{offered} line 1"),
            (6, "{delivered}"),
        },
    ),
    "an allocation ends without its stock": (
        [f"UPDATE allocations SET state = 'released' WHERE {OPEN_ALLOCATION}"],
        {
            (2, "VASE at by-hand"),
            (2, "{offered}"),
            (3, "{offered} line 1"),
            (3, "{offered}-F1 line 1"),
        },
    ),
    "a reservation is open for nothing": (
        [
            "INSERT INTO reservations (order_number, line, sku, location, quantity, kind, state)"
            " VALUES (:offered, 1, 'VASE', 'by-hand', 1, 'stock', 'open')"
        ],
        {(2, "VASE at by-hand"), (2, "{offered}"), (3, "{offered} line 1")},
    ),
    "a line has more units than its buckets": (
        [
            "ALTER TABLE order_lines DROP CONSTRAINT buckets_add_up",
            "UPDATE order_lines SET ordered = 2 WHERE order_number = :offered",
        ],
        {(3, "{offered} line 1")},
    ),
    "units count as picked that nobody picked": (
        ["UPDATE order_lines SET allocated = 0, picked = 1 WHERE order_number = :offered"],
        {(3, "{offered} line 1")},
    ),
    "units count as delivered whose parcel is under way": (
        ["UPDATE shipments SET delivered_at = NULL WHERE order_number = :delivered"],
        {(3, "{delivered} line 1")},
    ),
    "a location is asked for more than is allocated": (
        ["UPDATE fulfillment_lines SET quantity = 2 WHERE fulfillment_order = :offered || '-F1'"],
        {(3, "{offered}-F1 line 1")},
    ),
    "more came back than had left": (
        ["UPDATE order_lines SET returned = 3 WHERE order_number = :delivered"],
        {(3, "{delivered} line 1")},
    ),
    "a sum of money is not what its entries say": (
        ["UPDATE tenders SET captured_minor = 1 WHERE order_number = :delivered"],
        {(3, "{delivered} tender 1"), (6, "{delivered}")},
    ),
    "more is authorised than was tendered": (
        ["UPDATE tenders SET amount_minor = amount_minor - 1 WHERE order_number = :delivered"],
        {(3, "{delivered} tender 1"), (3, "{delivered}")},
    ),
    "an order costs more than its lines": (
        ["UPDATE orders SET total_minor = total_minor + 1 WHERE number = :offered"],
        {(3, "{offered}")},
    ),
    "a unit left and was not charged": (
        ["UPDATE order_lines SET charged = 1 WHERE order_number = :delivered"],
        {(3, "{delivered}")},
    ),
    "we captured another amount than the provider": (
        [
            "UPDATE payment_entries SET amount_minor = amount_minor - 1"
            " WHERE key = :offered || ':authorize:1'",
            "UPDATE tenders SET authorized_minor = authorized_minor - 1"
            " WHERE order_number = :offered",
        ],
        {(4, "{offered}:authorize:1")},
    ),
    "we say failed where the provider took the money": (
        [
            "UPDATE payment_entries SET status = 'failed' WHERE key = :delivered || ':capture:1'",
            "UPDATE tenders SET captured_minor = 0 WHERE order_number = :delivered",
        ],
        {(4, "{delivered}:capture:1"), (6, "{delivered}")},
    ),
    "the provider holds money we know nothing of": (
        [
            "DELETE FROM payment_entries WHERE key = :offered || ':authorize:1'",
            "UPDATE tenders SET authorized_minor = 0 WHERE order_number = :offered",
        ],
        {(4, "{offered}:authorize:1")},
    ),
    "a parcel has a label that nobody sold": (
        ["UPDATE shipments SET label_attempt = 2 WHERE order_number = :delivered"],
        {(4, "{delivered}-S1:label:2")},
    ),
    "an acknowledged order is gone": (
        ["UPDATE idempotency_keys SET order_number = 'ZZZZ-ZZZZ-Z' WHERE order_number = :offered"],
        {(5, "ZZZZ-ZZZZ-Z")},
    ),
    "an answered order is gone": (
        [
            'UPDATE idempotency_keys SET body = \'{"number": "YYYY-YYYY-Y"}\''
            " WHERE order_number = :offered"
        ],
        {(5, "YYYY-YYYY-Y")},
    ),
    "an open order has no run": (
        ["UPDATE orders SET closed_at = NULL WHERE number = :delivered"],
        {(5, "order/{delivered}")},
    ),
    "work at a location has no run": (
        [
            "UPDATE orders SET closed_at = NULL WHERE number = :delivered",
            "UPDATE fulfillment_orders SET status = 'in_progress', created_at = created_at"
            " - interval '1 hour' WHERE order_number = :delivered",
        ],
        {
            (5, "order/{delivered}"),
            (5, "fulfillment/{delivered}-F1"),
            (3, "{delivered}-F1 line 1"),
        },
    ),
    "a closed order still runs, and holds stock and money": (
        ["UPDATE orders SET closed_at = now() WHERE number = :offered"],
        {(5, "order/{offered}"), (6, "{offered}")},
    ),
    "a place that was cleared still has offers": (
        [
            "UPDATE locations SET active = false, cleared_at = now() WHERE id = 'by-hand'",
            "INSERT INTO reroutes (id, kind, location, reason, status, actor, at, version)"
            " VALUES ('RR-1', 'location', 'by-hand', 'flood', 'done', 'x', now(), 1)",
        ],
        {(5, "{offered}-F1")},
    ),
    "an order waits without a deadline": (
        ["UPDATE fulfillment_orders SET answer_by = NULL WHERE order_number = :offered"],
        {(7, "{offered}")},
    ),
    "a deadline passed and nothing happened": (
        [
            "UPDATE fulfillment_orders SET answer_by = now() - interval '1 hour'"
            " WHERE order_number = :offered"
        ],
        {(7, "{offered}")},
    ),
    "something is due and nobody does it": (
        [
            "UPDATE fulfillment_orders SET answer_by = NULL, offered_at = NULL"
            " WHERE order_number = :offered",
            "UPDATE events SET at = at - interval '1 hour' WHERE order_number = :offered",
        ],
        {(7, "{offered}")},
    ),
    "a promise is not what was told": (
        ["UPDATE orders SET promise_by = promise_by + interval '1 day' WHERE number = :offered"],
        {(3, "{offered}")},
    ),
    "an event is missing": (
        ["DELETE FROM events WHERE order_number = :delivered AND seq = 2"],
        {(8, "{delivered}")},
    ),
    "an order has no events": (
        ["DELETE FROM events WHERE order_number = :delivered"],
        {(8, "{delivered}")},
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
async def test_the_audit_finds_it_when(shop: Shop, planted: str) -> None:
    tampering, expected = PLANTED[planted]

    report = await shop.audited(*tampering)

    assert named(report.violations) == {
        (invariant, about.format(delivered=shop.delivered, offered=shop.offered))
        for invariant, about in expected
    }


async def test_money_that_the_provider_never_took_is_found(shop: Shop) -> None:
    report = await shop.audited(books=without("capture"))

    assert named(report.violations) == {(4, f"{shop.delivered}:capture:1")}


async def test_money_that_the_provider_took_back_is_found(shop: Shop) -> None:
    key = f"{shop.delivered}:capture:1"
    taken_back = with_one_more(
        "payments", key=key, kind="capture_failed", reference=shop.delivered,
        amount_minor=2 * 1999 + 490, currency="EUR",
    )  # fmt: skip

    report = await shop.audited(books=taken_back)

    assert named(report.violations) == {(4, key)}


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("capture", "{}:capture:1"),
        ("label", "{}-S1:label:1"),
        ("offer", "{}-F1"),
    ],
)
async def test_an_effect_that_was_applied_twice_under_one_key_is_found(
    shop: Shop, kind: str, key: str
) -> None:
    report = await shop.audited(books=twice(kind))

    assert (4, key.format(shop.delivered)) in named(report.violations)
    assert all("2 times" in found.detail for found in report.violations)


async def test_work_that_its_location_never_heard_of_is_found(shop: Shop) -> None:
    report = await shop.audited(books=without("offer"))

    # What was only offered may have been refused at the door; what was accepted was not.
    assert named(report.violations) == {(4, f"{shop.delivered}-F1")}


@pytest.mark.parametrize("party", ["payments", "carriers", "nodes"])
async def test_an_effect_outside_that_nobody_asked_for_is_found(shop: Shop, party: Party) -> None:
    kind = {"payments": "refund", "carriers": "label", "nodes": "offer"}[party]

    report = await shop.audited(books=with_one_more(party, key="ZZZZ-ZZZZ-Z:x:1", kind=kind))

    assert named(report.violations) == {(4, "ZZZZ-ZZZZ-Z:x:1")}


async def test_a_payment_nobody_knows_the_outcome_of_is_pending(shop: Shop) -> None:
    report = await shop.audited(
        "UPDATE payment_entries SET status = 'unknown' WHERE key = :offered || ':authorize:1'",
        "UPDATE tenders SET authorized_minor = 0 WHERE order_number = :offered",
    )

    assert report.is_clean
    assert (4, f"{shop.offered}:authorize:1") in named(report.pending)


async def test_an_order_whose_process_is_about_to_act_is_pending(shop: Shop) -> None:
    report = await shop.audited(
        "UPDATE fulfillment_orders SET answer_by = NULL, offered_at = NULL"
        " WHERE order_number = :offered"
    )

    assert report.is_clean
    assert (7, shop.offered) in named(report.pending)


async def test_an_order_whose_run_is_still_to_be_started_is_pending(shop: Shop) -> None:
    report = await shop.audited(
        "UPDATE orders SET closed_at = NULL, started_at = NULL WHERE number = :delivered"
    )

    assert report.is_clean
    assert (5, f"order/{shop.delivered}") in named(report.pending)


async def test_what_is_there_only_while_the_world_moves_is_no_violation(shop: Shop) -> None:
    ahead = with_one_more("payments", key=f"{shop.offered}:capture:1", kind="capture")
    honest = SimulatorBooks(shop.http)
    engine, temporal = shop.world.engine, shop.world.temporal

    passing = await audit(engine, temporal, Edited(honest, ahead, times=1), silent=POLICY.silent)
    staying = await audit(
        engine, temporal, Edited(honest, ahead, times=1 + len(LOOKS_AGAIN_AFTER)),
        silent=POLICY.silent,
    )  # fmt: skip

    assert passing.is_clean
    assert named(staying.violations) == {(4, f"{shop.offered}:capture:1")}


# --- the command ----------------------------------------------------------------------------

CLEAN = AuditReport(violations=(), pending=(), checked={"orders": 2, "runs": 3})
WRONG = Finding(invariant=6, about="K3M9-QXZ4-7", detail="closed, and holds 1 units of stock")
PENDING = Finding(invariant=4, about="K3M9-QXZ4-7:capture:1", detail="unknown", pending=True)


def audit_says(monkeypatch: pytest.MonkeyPatch, report: AuditReport | Exception) -> None:
    async def answer(_: object) -> AuditReport:
        if isinstance(report, Exception):
            raise report
        return report

    monkeypatch.setattr(audit_command, "_audit", answer)


def test_a_clean_audit_leaves_zero_and_an_empty_list(monkeypatch: pytest.MonkeyPatch) -> None:
    audit_says(monkeypatch, CLEAN.model_copy(update={"pending": (PENDING,)}))

    result = CliRunner().invoke(cli.app, ["audit", "--json"])

    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "violations": [],
        "pending": [{"invariant": 4, "about": "K3M9-QXZ4-7:capture:1", "detail": "unknown"}],
        "checked": {"orders": 2, "runs": 3},
    }


def test_a_violation_is_shown_with_what_it_is_about_and_leaves_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    audit_says(monkeypatch, CLEAN.model_copy(update={"violations": (WRONG,)}))

    result = CliRunner().invoke(cli.app, ["audit"])

    assert result.exit_code == 1
    assert "K3M9-QXZ4-7" in result.stdout
    assert "1 violation" in result.stdout


def test_an_audit_that_cannot_see_one_side_says_so_and_proves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    audit_says(monkeypatch, Unreachable("GET /books/payments: no connection"))

    result = CliRunner().invoke(cli.app, ["audit", "--json"])

    assert result.exit_code == 3
    assert result.stdout == ""
