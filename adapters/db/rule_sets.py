"""Routing rule sets: versions that are only added, which one routes, and who let it when."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.master import Changed, Put
from oms.document_checks import Reference
from oms.fields import Flaw
from oms.rules import RuleSet

_COLUMNS = "id, version, document, active, created_at"


@dataclass(frozen=True, slots=True)
class Activation:
    """What routed from `at` to `until` (None: still). Without a rule set, the default did."""

    seq: int
    rule_set: str | None
    version: int | None
    at: datetime
    actor: str
    until: datetime | None
    ended_by: str | None


# --- versions -------------------------------------------------------------------------------


async def put_rule_set(
    tx: AsyncConnection, id: str, document: Mapping[str, Any], if_version: int | None, now: datetime
) -> Put | Changed:
    """Add a version of a rule set. The versions before it stay as they are."""
    # The newest version's row serialises writers; where there is none, the primary key does.
    newest = await tx.scalar(
        text(
            "SELECT version FROM rule_sets WHERE id = :id ORDER BY version DESC LIMIT 1 FOR UPDATE"
        ),
        {"id": id},
    )
    if if_version not in (None, newest):
        return Changed()
    added = await tx.execute(
        text(
            "INSERT INTO rule_sets (id, version, document, active, created_at)"
            " VALUES (:id, :version, CAST(:document AS jsonb), false, :now)"
            f" ON CONFLICT DO NOTHING RETURNING {_COLUMNS}"
        ),
        {"id": id, "version": (newest or 0) + 1, "document": json.dumps(document), "now": now},
    )
    row = added.mappings().one_or_none()
    return Changed() if row is None else Put(row, newest is None)


async def get_rule_set(
    tx: AsyncConnection, id: str, version: int | None = None
) -> RowMapping | None:
    """Read one version of a rule set; the newest, if none is named."""
    found = await tx.execute(
        text(
            f"SELECT {_COLUMNS} FROM rule_sets WHERE id = :id"
            " AND (CAST(:version AS int) IS NULL OR version = :version)"
            " ORDER BY version DESC LIMIT 1"
        ),
        {"id": id, "version": version},
    )
    return found.mappings().one_or_none()


async def list_rule_sets(
    tx: AsyncConnection,
    *,
    after: tuple[datetime, str, int] | None,
    limit: int,
    active: bool | None = None,
) -> list[RowMapping]:
    """All versions of all rule sets, newest first."""
    made, id, version = after or (None, None, None)
    found = await tx.execute(
        text(
            f"SELECT {_COLUMNS} FROM rule_sets WHERE"
            " (CAST(:active AS boolean) IS NULL OR active = :active)"
            " AND (CAST(:made AS timestamptz) IS NULL"
            "  OR (created_at, id, version) < (:made, :id, :version))"
            " ORDER BY created_at DESC, id DESC, version DESC LIMIT :limit"
        ),
        {"active": active, "made": made, "id": id, "version": version, "limit": limit},
    )
    return list(found.mappings())


# --- which one routes -----------------------------------------------------------------------


async def activate_rule_set(
    tx: AsyncConnection, id: str, version: int | None, *, actor: str, at: datetime
) -> RowMapping | None:
    """Let one version route instead of any other; without a version, none of this rule set.

    None when there is none. What stands as wanted already is left as it is, and not noted again.
    """
    # One at a time: two activations at once would both see no other active one.
    await tx.execute(text("SELECT pg_advisory_xact_lock(hashtext('rule_sets'))"))
    found = await tx.execute(
        text(
            f"SELECT {_COLUMNS} FROM rule_sets WHERE id = :id"
            " AND (CAST(:version AS int) IS NULL OR version = :version)"
            " ORDER BY active DESC, version DESC LIMIT 1"
        ),
        {"id": id, "version": version},
    )
    row = found.mappings().one_or_none()
    if row is None or row["active"] == (version is not None):
        return row
    await tx.execute(text("UPDATE rule_sets SET active = false WHERE active"))
    await tx.execute(
        text(
            "INSERT INTO rule_set_activations (at, actor, rule_set, version)"
            " VALUES (:at, :actor, :rule_set, :version)"
        ),
        {"at": at, "actor": actor, "rule_set": None if version is None else id, "version": version},
    )
    changed = await tx.execute(
        text(
            "UPDATE rule_sets SET active = CAST(:active AS boolean)"
            f" WHERE id = :id AND version = :version RETURNING {_COLUMNS}"
        ),
        {"active": version is not None, "id": id, "version": row["version"]},
    )
    return changed.mappings().one()


async def list_activations(
    tx: AsyncConnection, *, rule_set: str | None = None, before: int | None, limit: int
) -> list[Activation]:
    """What routed when and who let it, newest first; of one rule set, or of all and the default."""
    found = await tx.execute(
        text(
            "SELECT * FROM (SELECT seq, rule_set, version, at, actor,"
            "  lead(at) OVER (ORDER BY seq) AS until, lead(actor) OVER (ORDER BY seq) AS ended_by"
            "  FROM rule_set_activations) a"
            " WHERE (CAST(:rule_set AS text) IS NULL OR rule_set = :rule_set)"
            " AND (CAST(:before AS bigint) IS NULL OR seq < :before)"
            " ORDER BY seq DESC LIMIT :limit"
        ),
        {"rule_set": rule_set, "before": before, "limit": limit},
    )
    return [Activation(**row) for row in found.mappings()]


# --- what a rule set needs ------------------------------------------------------------------


async def unknown_references(tx: AsyncConnection, named: Iterable[Reference]) -> list[Reference]:
    """Which of these name nothing there is. Carriers are those of the shipping services.

    Groups and tags are those that a location and an article have.
    """
    named = list(named)
    found = await tx.execute(
        text(
            """
            SELECT r.kind, r.id FROM jsonb_to_recordset(CAST(:named AS jsonb)) r(kind text, id text)
            WHERE NOT CASE r.kind
                WHEN 'location' THEN EXISTS (SELECT FROM locations l WHERE l.id = r.id)
                WHEN 'channel' THEN EXISTS (SELECT FROM channels c WHERE c.id = r.id)
                WHEN 'sku' THEN EXISTS (SELECT FROM products p WHERE p.sku = r.id)
                WHEN 'group' THEN r.id IN (SELECT unnest(groups) FROM locations)
                WHEN 'tag' THEN r.id IN (SELECT unnest(tags) FROM products)
                ELSE EXISTS (SELECT FROM shipping_services s WHERE s.carrier = r.id)
            END
            """
        ),
        {
            "named": json.dumps(
                [{"kind": k, "id": i} for k, i in sorted({(n.kind, n.id) for n in named})]
            )
        },
    )
    unknown = {(row.kind, row.id) for row in found}
    return [each for each in named if (each.kind, each.id) in unknown]


async def missing_rates(tx: AsyncConnection, rule_set: RuleSet) -> list[Flaw]:
    """Which currencies it would have to count in, and has no rate for.

    Only those of money that its objectives look at: handling at places, and what goods cost. What
    a shipping service costs the customer is not among it.
    """
    known = {rule_set.currency, *rule_set.rates}
    wanted: dict[str, Row[Any]] = {}
    for factor, currencies in _CURRENCIES.items():
        if factor in rule_set.money:
            for row in await tx.execute(text(currencies)):
                if row.currency not in known:
                    wanted.setdefault(row.currency, row)
    return [
        Flaw(
            pointer="/rates",
            code="rate_missing",
            detail=f"{currency} has no rate, and {row.who} counts in it.",
        )
        for currency, row in sorted(wanted.items())
    ]


_CURRENCIES = {
    "handling": "SELECT currency, 'location ' || min(id) AS who FROM locations"
    " WHERE active AND handling_minor > 0 AND currency IS NOT NULL GROUP BY currency",
    "goods": "SELECT cost_currency AS currency, 'article ' || min(sku) AS who FROM ("
    " SELECT cost_currency, sku FROM products WHERE cost_currency IS NOT NULL UNION ALL"
    " SELECT cost_currency, sku FROM stock_levels WHERE cost_currency IS NOT NULL) c"
    " GROUP BY cost_currency",
}
