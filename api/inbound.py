"""Webhooks from payment providers, carriers and locations: verified, stored, answered.

Whether an event is news, old, repeated or about nothing we know is found out afterwards; the
sender's job is done once it is stored.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field, JsonValue
from standardwebhooks import Webhook

from adapters.db.engine import by_statement
from adapters.db.inbound import store_inbound
from api.answers import answer
from api.auth import Database
from api.body import JsonBody, invalid, odd_values, read_body
from api.ids import PathId
from api.problems import Problem, not_found
from api.wiring import SettingsOfApi
from oms.fields import Amount, Currency, Moment, Wire, Words
from oms.placing import PAYMENT_PROVIDERS
from oms.ports import CarrierStatus

router = APIRouter(prefix="/v1/inbound", tags=["Inbound webhooks"])
log = structlog.get_logger()

CARRIERS = ("simulator",)


class PaymentEvent(Wire):
    """A payment was settled, under the `key` it was asked with."""

    event_id: Words
    key: Words
    kind: Words
    status: Words
    amount_minor: Amount | None = None
    currency: Currency | None = None
    reason: Words | None = None
    at: Moment


class CarrierEvent(Wire):
    """A parcel was scanned."""

    event_id: Words
    tracking_number: Words
    status: CarrierStatus
    at: Moment


class NodeEvent(Wire):
    """A location reports; `body` is that of the same action under `/v1/fulfillment-orders`."""

    event_id: Words
    fulfillment_order: Words
    action: Words
    body: dict[str, JsonValue] = Field(default_factory=dict)


class Stored(Wire):
    """The event is ours to deal with now."""

    status: Literal["stored"] = "stored"


def signed_by(party: str) -> Callable[[Request, SettingsOfApi], Awaitable[None]]:
    """A dependency that lets in what `party` signed, as Standard Webhooks say.

    Raises:
        Problem: `signature_invalid`; `body_too_large`.
    """

    async def verified(request: Request, settings: SettingsOfApi) -> None:
        raw = await read_body(request)
        secret = settings.webhook_secrets.get(party)
        if secret is None or not _fits(secret, raw, dict(request.headers)):
            raise Problem("signature_invalid", "Sign as Standard Webhooks say.")

    return verified


def _fits(secret: str, raw: bytes, headers: dict[str, str]) -> bool:
    try:
        Webhook(secret).verify(raw, headers, json_parse=False)
    except Exception as fault:  # noqa: BLE001 - the library raises many on malformed input
        log.info("webhook_refused", fault=type(fault).__name__)
        return False
    return True


@router.post(
    "/payments/{provider}",
    status_code=202,
    response_model=Stored,
    dependencies=[Depends(signed_by("payments"))],
)
async def payment_event(
    provider: PathId,
    body: Annotated[PaymentEvent, Depends(JsonBody(PaymentEvent))],
    db: Database,
) -> Response:
    """Hear how a payment was settled."""
    if provider not in PAYMENT_PROVIDERS:
        raise not_found()
    return await _store(db, "payments", provider, body)


@router.post(
    "/carriers/{carrier}",
    status_code=202,
    response_model=Stored,
    dependencies=[Depends(signed_by("carriers"))],
)
async def carrier_event(
    carrier: PathId,
    body: Annotated[CarrierEvent, Depends(JsonBody(CarrierEvent))],
    db: Database,
) -> Response:
    """Hear where a parcel is."""
    if carrier not in CARRIERS:
        raise not_found()
    return await _store(db, "carriers", carrier, body)


@router.post(
    "/nodes/{location}",
    status_code=202,
    response_model=Stored,
    dependencies=[Depends(signed_by("nodes"))],
)
async def node_event(
    location: PathId,
    body: Annotated[NodeEvent, Depends(JsonBody(NodeEvent))],
    db: Database,
) -> Response:
    """Hear what a location did."""
    if flaws := list(odd_values(body.body, "/body")):
        raise invalid(flaws[:100])
    return await _store(db, "nodes", location, body)


async def _store(
    db: Database, party: str, source: str, event: PaymentEvent | CarrierEvent | NodeEvent
) -> Response:
    body: dict[str, Any] = event.model_dump(mode="json")
    async with by_statement(db).connect() as tx:
        await store_inbound(
            tx,
            party=party,
            source=source,
            event_id=event.event_id,
            body=body,
            now=datetime.now(UTC),
        )
    return answer(Stored(), 202).response()
