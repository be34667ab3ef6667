"""What came back and lies about, by place: the list of it, and what becomes of it later."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from pydantic import ConfigDict, Field
from sqlalchemy import RowMapping

from adapters.db import return_lots as books
from api.answers import answer
from api.auth import Database, NodeOrOperator
from api.body import JsonBody, invalid
from api.idempotency import OnceOnly
from api.lists import ListQuery, QueryOf, cursor_time, decode_cursor, page
from api.problems import Problem, may_answer
from api.return_actions import Action, reached_by
from api.return_views import LotView, ReturnView
from oms.fields import Flaw, Id, Moment, Quantity, Wire
from oms.return_policy import Disposition
from oms.returns import LotState

router = APIRouter(prefix="/v1", tags=["Returns"])

LotId = Annotated[str, Path(pattern=r"^[1-9][0-9]{0,17}$")]


class PlaceBody(Wire):
    """What becomes of the lot, or of `quantity` units of it.

    `to`: where `restock_elsewhere` sends them; without it, where they are needed or sell best.
    `sku`: what a wrong item really is.
    """

    disposition: Disposition
    to: Id | None = None
    quantity: Quantity | None = None
    sku: Id | None = None


class ReturnLotView(LotView):
    """A lot in the list: of which return, why it was sent back, when it came and was put away."""

    model_config = ConfigDict(serialize_by_alias=True)

    return_id: str = Field(alias="return")
    reason: str
    at: Moment
    placed_at: Moment | None


class ReturnLotList(Wire):
    """Lots, newest first."""

    data: list[ReturnLotView]
    next_cursor: str | None


class ReturnLotQuery(ListQuery):
    """What the list is narrowed to."""

    location: Id | None = None
    disposition: Disposition | None = None
    state: LotState | None = None
    sku: Id | None = None


@router.post(
    "/returns/{id}/lots/{lot}/place",
    response_model=ReturnView,
    openapi_extra=may_answer(
        "location_unknown", "sku_unknown", "quantity_too_large", "invalid_state"
    ),
)
async def place_lot(
    who: NodeOrOperator,
    lot: LotId,
    once: OnceOnly,
    action: Action,
    body: Annotated[PlaceBody, Depends(JsonBody(PlaceBody))],
) -> Response:
    """Let what was set aside go another way: on a shelf, to another place, or away."""
    if body.to is not None and body.disposition != "restock_elsewhere":
        detail = "Only restock_elsewhere leads to another place."
        raise invalid([Flaw(pointer="/to", code="not_allowed", detail=detail)])
    if body.to is not None and not await action.knows_place(body.to):
        flaw = Flaw(pointer="/to", code="location_unknown", detail="There is none.")
        raise Problem("location_unknown", "Nothing was changed.", errors=[flaw])
    new = books.NewWay(int(lot), body.disposition, body.to, body.quantity, body.sku)
    return await action.report(
        lambda unit, back: books.place_again(unit, back, new, reached_by(who))
    )


@router.get("/return-lots", response_model=ReturnLotList, openapi_extra=may_answer())
async def list_lots(
    who: NodeOrOperator,
    db: Database,
    query: Annotated[ReturnLotQuery, Depends(QueryOf(ReturnLotQuery))],
) -> Response:
    """List what arrived at one's locations, and what became of it, newest first."""
    position = decode_cursor(query.cursor, str, int)
    after = books.LotPosition(cursor_time(position[0]), position[1]) if position else None
    wanted = books.LotFilter(
        location=query.location,
        disposition=query.disposition,
        state=query.state,
        sku=query.sku,
        reach=who.reach,
    )
    async with db.connect() as tx:
        found = await books.list_lots(tx, wanted, after=after, limit=query.limit + 1)
    body = page(
        found,
        query.limit,
        show=_shown,
        position=lambda row: (row["at"].isoformat(), row["id"]),
    )
    return answer(body).response()


def _shown(row: RowMapping) -> ReturnLotView:
    kept = {name: row[name] for name in ReturnLotView.model_fields if name != "return_id"}
    return ReturnLotView.model_validate(kept | {"return": row["return_id"]})
