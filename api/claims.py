"""Claims: goods that were lost, damaged or wrong are paid or replaced, and nothing is sent back.

A claim is a return without goods: it is shown, listed and explained as one, under its `…-R1`.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from adapters.db.book import SqlBook
from adapters.db.idempotency import Claim
from adapters.db.return_asking import ask_claim
from api.answers import Answer
from api.auth import ChannelOrOperator, Database
from api.body import JsonBody
from api.exchanges import Exchanges
from api.idempotency import OnceOnly
from api.orders import visible_order
from api.problems import Problem
from api.return_views import ReturnView
from api.returns import ask_once, command_id, shown_return
from api.wiring import SettingsOfApi, Temporal
from oms.return_requests import ClaimRequest, check_request

router = APIRouter(prefix="/v1/claims", tags=["Returns"])


@router.post("", status_code=201, response_model=ReturnView)
async def make_claim(
    who: ChannelOrOperator,
    once: OnceOnly,
    body: Annotated[ClaimRequest, Depends(JsonBody(ClaimRequest))],
    db: Database,
    temporal: Temporal,
    settings: SettingsOfApi,
) -> Response:
    """Claim for goods that never came, or came damaged or wrong: a refund, or the same again.

    422 `not_returnable` names each line that cannot be claimed for, and why; 422
    `insufficient_stock`: there is none to replace it, and nothing was changed.
    """
    if wrong := check_request(body):
        raise Problem(wrong.code, wrong.detail, errors=wrong.errors)

    async def work(_: Claim) -> Answer:
        order = await visible_order(db, body.order, who)
        book = SqlBook(db, settings.policy)
        command = command_id(once.key, who)
        id = await ask_once(book, order, lambda unit: ask_claim(unit, body), who, command)
        await Exchanges(book, temporal, settings, who).conclude(id)
        return await shown_return(db, id, 201)

    return await once.around(work)
