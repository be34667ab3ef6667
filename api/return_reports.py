"""Reports of what comes back: by article, reason, place, condition or channel."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from adapters.db.return_reports import Asked, By, ReportRow, read_report
from api.answers import answer
from api.auth import Database, Operator
from api.lists import MAX_LIMIT, Query, QueryOf, WholeNumber
from api.problems import may_answer
from oms.fields import Id, Moment, Wire

router = APIRouter(prefix="/v1/reports", tags=["Returns"])

USUAL_DAYS = 90


class ReturnReportQuery(Query):
    """Which sales, by their first hand-over, and what of them.

    `to` is excluded, and now without it; `from` is 90 days before it without it. `location` is
    the place that handed over.
    """

    by: By = "sku"
    since: Annotated[Moment | None, Field(alias="from")] = None
    until: Annotated[Moment | None, Field(alias="to")] = None
    channel: Id | None = None
    location: Id | None = None
    min_sold: Annotated[WholeNumber, Field(ge=1)] = 1
    limit: Annotated[WholeNumber, Field(ge=1, le=MAX_LIMIT)] = 25


class ReturnRate(Wire):
    """Units of one article, reason, place, condition or channel, in one currency.

    `sold`: handed over in the period and not lost; by reason and condition, all in the currency.
    The others count whenever they happened. `announced`: asked for and not fallen away;
    `returned`: arrived; `accepted`, `refused`: inspected. `refunded_minor`: what the units that
    were given back for had cost, without fees and the outbound way; null by condition.
    `rate_percent`: `returned` of `sold`, to a tenth. No customer's returns: `claimed` without
    sending back, `undelivered` in parcels that turned round.
    """

    key: str
    sold: int
    announced: int
    returned: int
    accepted: int
    refused: int
    refunded_minor: int | None
    currency: str
    rate_percent: float
    claimed: int
    undelivered: int


class ReturnReport(Wire):
    """Highest rate first; what nothing came back of is left out."""

    by: By
    since: Annotated[Moment, Field(serialization_alias="from")]
    until: Annotated[Moment, Field(serialization_alias="to")]
    data: list[ReturnRate]


@router.get("/returns", response_model=ReturnReport, openapi_extra=may_answer())
async def report_returns(
    who: Operator,
    db: Database,
    query: Annotated[ReturnReportQuery, Depends(QueryOf(ReturnReportQuery))],
) -> Response:
    """Read how much of what was sold came back."""
    until = query.until or datetime.now(UTC)
    since = query.since or until - timedelta(days=USUAL_DAYS)
    async with db.connect() as tx:
        rows = await read_report(
            tx,
            Asked(
                by=query.by,
                since=since,
                until=until,
                channel=query.channel,
                location=query.location,
                min_sold=query.min_sold,
                limit=query.limit,
            ),
        )
    report = ReturnReport(by=query.by, since=since, until=until, data=[_rate(row) for row in rows])
    return answer(report.model_dump(mode="json", by_alias=True)).response()


def _rate(row: ReportRow) -> ReturnRate:
    return ReturnRate.model_validate(row._asdict() | {"rate_percent": float(row.rate_percent)})
