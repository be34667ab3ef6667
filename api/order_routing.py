"""Why an order is served from where it is, decision by decision."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from adapters.db.routing_decisions import Decided, decisions_of
from api.answers import answer
from api.auth import ChannelOrOperator, Database
from api.ids import PathId
from api.lists import ListQuery, QueryOf, decode_cursor, page
from api.orders import visible_order
from oms.fields import Moment, Wire
from oms.reasons import words

router = APIRouter(prefix="/v1/orders", tags=["Orders"])

_MILLS = ("cost", "bound", "costs")


class RoutingDecision(Wire):
    """A decision about where an order is served from.

    `cause`: `reserve` (placed), `source_again` (a place turned units down), `reroute` (an
    operator), `release` (out of the queue of backorders), `route_again` (on fresh stock, before
    its places were told). `rule_set` and `version` are null where no rule set was active. `words`
    tell it; `record` has its numbers: rule by rule who serves, the next best plan, who was
    out-ranked and who was left out. Costs are in thousandths of the currency's minor unit.
    """

    seq: int
    at: Moment
    cause: str
    rule_set: str | None
    version: int | None
    name: str
    currency: str
    words: list[str]
    record: dict[str, Any]


class RoutingDecisions(Wire):
    """The decisions about an order, oldest first."""

    data: list[RoutingDecision]
    next_cursor: str | None


@router.get("/{number}/routing", response_model=RoutingDecisions)
async def get_routing(
    who: ChannelOrOperator,
    number: PathId,
    db: Database,
    query: Annotated[ListQuery, Depends(QueryOf(ListQuery))],
) -> Response:
    """Read why an order is served from where it is, oldest decision first."""
    await visible_order(db, number, who)
    position = decode_cursor(query.cursor, int)
    async with db.connect() as tx:
        found = await decisions_of(
            tx, number, after=position[0] if position else 0, limit=query.limit + 1
        )
    body = page(found, query.limit, show=_shown, position=lambda each: (each.seq,))
    return answer(body).response()


def _shown(each: Decided) -> RoutingDecision:
    record = each.record
    return RoutingDecision(
        seq=each.seq,
        at=each.at,
        cause=each.cause,
        rule_set=record.rule_set,
        version=record.version,
        name=record.name,
        currency=record.currency,
        words=list(words(record)),
        record=_in_mills(record.model_dump(mode="json", include={"stages", "left"})),
    )


def _in_mills(value: Any) -> Any:
    """Say in the names of costs what they are counted in."""
    if isinstance(value, dict):
        return {
            f"{name}_mills" if name in _MILLS else name: _in_mills(each)
            for name, each in value.items()
        }
    return [_in_mills(each) for each in value] if isinstance(value, list) else value
