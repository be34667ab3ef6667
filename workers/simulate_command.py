"""`oms routing simulate`: decide past or given orders by other rules, and change nothing.

Leaves 0 when done, 1 when a file of orders, places or stock is wrong or a rule set is not there,
2 when a file of rules is wrong, 3 when the database is asked for and does not answer.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.engine import connect as connect_database
from adapters.db.past import Past, looking, read_articles, read_now, read_since
from adapters.db.rule_sets import get_rule_set, list_rule_sets
from oms.comparison import Column, Comparison, as_rows, compare
from oms.errors import OmsError
from oms.past import PastOrder, World
from oms.places import PostalTable, postal_table
from oms.router import Router
from oms.rule_checks import read_rule_set
from oms.rules import DEFAULT, RuleSet
from oms.simulation import Replay, as_it_was, replay
from workers.asking import AsJson, leave
from workers.demo.board import loading
from workers.document_commands import errors_view
from workers.past_files import BadFile, read_orders, read_world
from workers.past_files import read_articles as read_products
from workers.rule_files import read_rules
from workers.settings import policy_of, settings
from workers.simulate_views import comparison_view
from workers.state import read_running

WRONG, WRONG_RULES, CANNOT_TELL = 1, 2, 3
AS_IT_WAS = "as it was"
QUICK = 1_000_000
"""Effort for each plan that need not be proven, whatever its size."""

Json = dict[str, Any]
Report = Callable[[str, int, int], None]


class Named(NamedTuple):
    """A rule set to try, and where it is from."""

    rules: RuleSet
    source: str
    id: str | None = None
    version: int | None = None


@dataclass(frozen=True)
class Simulated:
    """What came of it: the orders, each rule set's outcomes, and both compared."""

    past: Past
    orders: Sequence[PastOrder]
    columns: Sequence[Column]
    comparison: Comparison


def simulate(
    *,
    rules: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="A rule set to try; may be given again."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="And one to compare it with: active, default, ID or ID:VERSION."),
    ] = None,
    orders: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help='JSON Lines of {"at", "order"}, or .gz.'),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="The orders of the books since then (RFC 3339).")
    ] = None,
    locations: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSON Lines; with --orders.")
    ] = None,
    stock: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="As for `oms stock import`.")
    ] = None,
    products: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSON Lines: weights, tags.")
    ] = None,
    services: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSON Lines: who fetches.")
    ] = None,
    postal_codes: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="CSV: where codes are.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Serve what is there of orders that lack some.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Search less for the best plans of long orders.")
    ] = False,
    orders_out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write each order's outcomes here.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Draw who serves whom: .svg or .png.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide past or given orders by other rules, side by side, and change nothing."""
    if (orders is None) == (since is None):
        raise typer.BadParameter("give --orders or --since")
    if (locations is None) != (stock is None):
        raise typer.BadParameter("--locations and --stock come together")
    if since is not None and (locations or products or services):
        raise typer.BadParameter("--since takes places and stock from the books")
    if not rules and against is None:
        raise typer.BadParameter("give --rules")
    sets = [_read_rules(path) for path in rules or ()]
    asked = _Asked(orders, _moment(since), locations, stock, products, services, postal_codes)
    try:
        with loading(Console(stderr=True)) as report:
            past, sets = asyncio.run(_gather(asked, sets, against))
            found = simulated(past, sets, partial=partial, quick=quick, report=report)
    except BadFile as bad:
        leave(WRONG, Text("\n".join(bad.errors), "red"))
    except (OmsError, SQLAlchemyError, OSError) as fault:
        leave(CANNOT_TELL, Text(f"Cannot tell: {type(fault).__name__}. See `oms doctor`."))
    if orders_out:
        _write(orders_out, found)
    if plot:
        _draw(plot, found)
    if as_json:
        typer.echo(json.dumps(as_json_of(found), indent=2))
    else:
        past = found.past
        Console().print(comparison_view(found.comparison, past.left_out, past.decided_by))


def _moment(since: str | None) -> datetime | None:
    if since is None:
        return None
    try:
        at = datetime.fromisoformat(since)
    except ValueError:
        raise typer.BadParameter("--since is a time like 2026-11-20T08:00:00Z") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


# --- what is asked for ----------------------------------------------------------------------


class _Asked(NamedTuple):
    orders: Path | None
    since: datetime | None
    locations: Path | None
    stock: Path | None
    products: Path | None
    services: Path | None
    postal_codes: Path | None

    @property
    def needs_books(self) -> bool:
        return self.since is not None or self.locations is None


async def _gather(
    asked: _Asked, sets: list[Named], against: str | None
) -> tuple[Past, list[Named]]:
    """Read all that is asked for; the books only if they are."""
    needs_rules = against not in (None, "default")
    if not (asked.needs_books or needs_rules):
        return _from_files(asked), _with_default(sets, against)
    running = read_running(settings().home)
    own = settings().database_url.get_secret_value()
    engine = connect_database(running.database_url if running else own)
    try:
        async with looking(engine) as tx:
            sets = _with_default(sets, against)
            if against is not None and needs_rules:
                sets = [await _stored(tx, against), *sets]
            if asked.since is not None:
                return await read_since(tx, asked.since, policy_of(settings())), sets
            if asked.locations is not None:
                return _from_files(asked), sets
            return await _from_both(tx, asked), sets
    finally:
        await engine.dispose()


def _with_default(sets: list[Named], against: str | None) -> list[Named]:
    return [Named(DEFAULT, "default"), *sets] if against == "default" else sets


def _from_files(asked: _Asked) -> Past:
    assert asked.locations is not None
    assert asked.stock is not None
    articles = read_products(asked.products)
    world = read_world(asked.locations, asked.stock, articles=articles, services=asked.services)
    return _given(asked, world, articles)


async def _from_both(tx: AsyncConnection, asked: _Asked) -> Past:
    """Given orders on today's stock."""
    articles = await read_articles(tx)
    return _given(asked, await read_now(tx, articles, policy_of(settings())), articles)


def _given(asked: _Asked, world: World, articles: Any) -> Past:
    assert asked.orders is not None
    given = read_orders(asked.orders, world, articles, _postal_table(asked.postal_codes))
    return Past(world, given.orders, given.left_out)


def _postal_table(path: Path | None) -> PostalTable:
    try:
        return postal_table(path or settings().postal_table)
    except (OSError, ValueError) as fault:
        raise BadFile([f"{path}: {fault}"]) from fault


# --- rule sets ------------------------------------------------------------------------------


def _read_rules(path: Path) -> Named:
    """Read a file; leave with all of its errors if it is wrong."""
    try:
        read = read_rules(path)
    except OSError as fault:
        leave(WRONG_RULES, f"{path} cannot be read: {fault}")
    if read.content is None or read.errors:
        leave(WRONG_RULES, errors_view(path, read.errors))
    return Named(read.content, path.name)


async def _stored(tx: AsyncConnection, wanted: str) -> Named:
    """A rule set of the books: the active one, or by its id, or id and version."""
    if wanted == "active":
        active = await list_rule_sets(tx, after=None, limit=1, active=True)
        if not active:
            return Named(DEFAULT, "default, as none is active")
        row = active[0]
    else:
        id, _, version = wanted.partition(":")
        if version and not version.isdecimal():
            raise BadFile([f"{wanted}: a version is a number"])
        found = await get_rule_set(tx, id, int(version) if version else None)
        if found is None:
            raise BadFile([f"{wanted}: there is no such rule set"])
        row = found
    rules = read_rule_set(row["document"])
    if not isinstance(rules, RuleSet):
        raise BadFile([f"{wanted}: {flaw.pointer} {flaw.detail}" for flaw in rules])
    return Named(rules, f"{row['id']} v{row['version']}", row["id"], row["version"])


# --- the simulation itself ------------------------------------------------------------------


def simulated(
    past: Past,
    sets: Sequence[Named],
    *,
    partial: bool,
    quick: bool = False,
    report: Report | None = None,
) -> Simulated:
    """Let everything happen under each rule set, and compare; with what was decided, if known.

    All are compared by the costs of the first rule set that has any.
    """
    locations = past.world.locations
    effort = QUICK if quick else None
    routers = [
        Router(locations, each.rules, id=each.id, version=each.version, effort=effort)
        for each in sets
    ]
    common = next((each for each in routers if each.rules.costs), routers[0])
    replays = [Replay(past.world, each, common, partial=partial) for each in routers]
    total = sum(isinstance(event, PastOrder) for event in past.events)
    orders = []
    for order in replay(past.world, past.events, replays):
        orders.append(order)
        if report and (len(orders) % 20 == 0 or len(orders) == total):
            report("deciding", len(orders), total)
    currency = common.rules.currency
    columns = [
        Column(
            each.rules.name, each.source, done.outcomes, own=each.rules.currency, common=currency
        )
        for each, done in zip(sets, replays, strict=True)
    ]
    if orders and all(order.was is not None for order in orders):
        was = {order.id: as_it_was(past.world, order, common) for order in orders}
        then = Column(AS_IT_WAS, "the ledger", was, own=currency, common=currency)
        columns.insert(0, then)
    found = compare(orders, columns, past.world, common.rules.name)
    return Simulated(past, orders, columns, found)


def as_json_of(found: Simulated) -> Json:
    """All of it, for machines."""
    left_out: Counter[str] = found.past.left_out
    return {
        **found.comparison.model_dump(mode="json", exclude={"changed"}),
        "left_out": dict(sorted(left_out.items())),
        "decided_by": dict(sorted(found.past.decided_by.items())),
        "changed_orders": len(found.comparison.changed),
        "changed": [each.model_dump(mode="json") for each in found.comparison.changed],
    }


def _draw(path: Path, found: Simulated) -> None:
    try:
        from workers import simulate_map  # noqa: PLC0415  (the extra `plots`)
    except ImportError:
        leave(WRONG, "--plot wants matplotlib: pip install 'oms[plots]'")
    simulate_map.draw(found.orders, found.columns, found.past.world.locations, path)


def _write(path: Path, found: Simulated) -> None:
    with path.open("w", encoding="utf-8") as out:
        for row in as_rows(found.orders, found.columns):
            out.write(json.dumps(row) + "\n")
