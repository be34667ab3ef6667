"""What a return would give back, told before anybody asks for it. Nothing is stored."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response

from adapters.db.return_asking import agree_by
from adapters.db.return_policies import current_policy
from adapters.db.unit import OrderUnit
from api.answers import answer
from api.auth import ChannelOrOperator, Database
from api.body import JsonBody
from api.orders import visible_order
from api.problems import Problem, may_answer
from api.return_asking import not_returnable
from oms.fields import Moment, Wire
from oms.orders import Order
from oms.return_policy import Moment as PaidAt
from oms.return_requests import Agreed, ReturnRequest, check_request

router = APIRouter(prefix="/v1/returns", tags=["Returns"])


class QuotedLine(Wire):
    """Units of a line that may come back. `worth_minor`: what was paid for them.

    `until`: when they may no longer; null while they are under way.
    """

    line: int
    sku: str
    quantity: int
    worth_minor: int
    until: Moment | None


class ReturnQuote(Wire):
    """What would be agreed now. `refund_minor` is goods and shipping less the fee.

    `refund_at`: when it is paid. `needs_approval`: a person would approve it first. `pay_minor`:
    what an exchange costs beyond what comes back. `send_by`: when it would expire; null at a till.
    """

    order: str
    currency: str
    resolution: Literal["refund", "exchange"]
    refund_minor: int
    goods_minor: int
    shipping_minor: int
    fee_minor: int
    pay_minor: int
    refund_at: PaidAt
    needs_approval: bool
    send_by: Moment | None
    lines: list[QuotedLine]


@router.post(
    "/quote",
    response_model=ReturnQuote,
    openapi_extra=may_answer("not_found", "not_returnable", "resolution_unsupported"),
)
async def quote_return(
    who: ChannelOrOperator,
    body: Annotated[ReturnRequest, Depends(JsonBody(ReturnRequest))],
    db: Database,
) -> Response:
    """Tell what a return would give back; or, as asking for it would, why it may not come back."""
    if wrong := check_request(body):
        raise Problem(wrong.code, wrong.detail, errors=wrong.errors)
    order = await visible_order(db, body.order, who)
    now = datetime.now(UTC)
    async with db.connect() as tx:
        unit = OrderUnit(tx, order, now, who.id)
        agreed = await agree_by(unit, body, await current_policy(tx))
    if isinstance(agreed, tuple):
        raise not_returnable(agreed)
    return answer(_quote(order, body, agreed)).response()


def _quote(order: Order, body: ReturnRequest, agreed: Agreed) -> ReturnQuote:
    return ReturnQuote(
        order=order.number,
        currency=order.currency,
        resolution="exchange" if body.resolution == "exchange" else "refund",
        refund_minor=agreed.refund_minor,
        goods_minor=sum(each.worth_minor for each in agreed.lines),
        shipping_minor=agreed.shipping_minor,
        fee_minor=agreed.terms.fee_minor,
        pay_minor=agreed.pay_minor,
        refund_at=agreed.terms.refund_at,
        needs_approval=agreed.needs_approval is not None,
        send_by=agreed.expire_at,
        lines=[
            QuotedLine(
                line=each.line,
                sku=each.sku,
                quantity=each.quantity,
                worth_minor=each.worth_minor,
                until=each.until,
            )
            for each in agreed.lines
        ],
    )
