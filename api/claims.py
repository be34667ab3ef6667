"""Claims: goods that were lost, damaged or wrong are paid or replaced, and nothing is sent back.

A claim is a return without goods: it is shown, listed and explained as one, under its `…-R1`.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from adapters.db.return_asking import ask_claim
from api.body import JsonBody
from api.problems import may_answer
from api.return_asking import Asking
from api.return_views import ReturnView
from oms.return_requests import ClaimRequest

router = APIRouter(prefix="/v1/claims", tags=["Returns"])


@router.post(
    "",
    status_code=201,
    response_model=ReturnView,
    openapi_extra=may_answer(
        "not_found",
        "not_returnable",
        "resolution_unsupported",
        "sku_unknown",
        "insufficient_stock",
        "reference_reused",
    ),
)
async def make_claim(
    asking: Asking, body: Annotated[ClaimRequest, Depends(JsonBody(ClaimRequest))]
) -> Response:
    """Claim for goods that never came, or came damaged or wrong: a refund, or the same again.

    422 `not_returnable` names each line that cannot be claimed for, and why; 422
    `insufficient_stock`: there is none to replace it, and nothing was changed.
    """
    return await asking.ask(body, lambda unit: ask_claim(unit, body))
