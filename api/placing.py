"""Placing an order: into the books first, then to its process, then the verdict if it comes soon.

Once the order is in the books it is never lost: if Temporal is down, or this process dies, the
relay starts the order's process later.
"""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.client import (
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError

from adapters.db import idempotency, master
from adapters.db.credentials import Credential
from adapters.db.idempotency import Claim
from adapters.db.mode import read_mode
from adapters.db.placing import record_order
from adapters.db.relaying import mark_started
from adapters.db.unit import load_order
from adapters.metrics import count_events
from api.answers import Answer, answer, problem_answer
from api.idempotency import keep_in
from api.order_views import order_view
from api.problems import Problem, not_found, reconciling
from api.wiring import ApiSettings, TemporalClient
from oms.fields import Flaw
from oms.numbers import NUMBERS, number_from
from oms.orders import Order, OrderStatus
from oms.places import Point, locate
from oms.placing import HomeDelivery, OrderRequest, StorePickup, check_order, content_hash
from workflows.starting import StartOrder, place_order

log = structlog.get_logger()

_TAKEN = "23505"  # PostgreSQL's unique_violation

DRAWS = 5
"""How often a number is drawn again because it is taken: of 852 thousand million, hardly once."""


class OrderPlacing:
    """What placing needs: the books, the processes, and who asks."""

    def __init__(
        self,
        db: AsyncEngine,
        temporal: TemporalClient,
        settings: ApiSettings,
        who: Credential,
    ) -> None:
        self._db, self._temporal, self._settings, self._who = db, temporal, settings, who

    async def place(self, request: OrderRequest, claim: Claim) -> Answer:
        """Place an order, or finish one that an earlier process stored under the same key.

        Raises:
            Problem: the order is not acceptable. One that was refused is an answer.
        """
        if claim.order_number is not None:
            order = await self._read(claim.order_number)
        else:
            self._check(request)
            recorded = await self._record(request, claim)
            if isinstance(recorded, Answer):
                return recorded
            order = recorded
        structlog.contextvars.bind_contextvars(order=order.number)
        runs = await self._await_verdict(order)
        return await self._conclude(order.number, claim, runs=runs)

    def _check(self, request: OrderRequest) -> None:
        if not self._who.reaches_channel(request.channel):
            raise not_found()
        if wrong := check_order(request):
            raise Problem(wrong.code, wrong.detail, errors=wrong.errors)

    async def verdict(self, number: str) -> Order:
        """Start the process of an order that is stored, and give it as its verdict leaves it.

        It may be pending still, if the verdict takes long.
        """
        runs = await self._await_verdict(await self._read(number))
        async with self._db.begin() as tx:
            return await self._carried(tx, number, runs=runs)

    async def _carried(self, tx: AsyncConnection, number: str, *, runs: bool) -> Order:
        if runs:
            return await mark_started(tx, number, datetime.now(UTC))
        return await _load(tx, number)

    # --- into the books ---

    async def _record(self, request: OrderRequest, claim: Claim) -> Order | Answer:
        """Store the order under a new number; the existing one for a reference already taken."""
        for _ in range(DRAWS):
            number = number_from(secrets.randbelow(NUMBERS))
            try:
                async with self._db.begin() as tx:
                    point = await _check_books(tx, request, self._settings)
                    stored = await record_order(
                        tx,
                        number,
                        request,
                        content_hash=content_hash(request),
                        place=point,
                        at=datetime.now(UTC),
                    )
                    if stored:
                        order = await idempotency.attach_order(tx, claim, number)
            except IntegrityError as fault:
                if getattr(fault.orig, "sqlstate", None) != _TAKEN:
                    raise
                continue  # the number is taken: draw another
            if stored:
                assert order is not None, f"{number} is stored"
                count_events(["order.placed"])
                return order
            if existing := await self._existing(request):
                return existing
        raise Problem("internal_error", "No order number could be found.")

    async def _existing(self, request: OrderRequest) -> Answer | None:
        """The order that holds the reference; none if it was refused meanwhile and let it go."""
        async with self._db.connect() as tx:
            held = (
                await tx.execute(
                    text(
                        "SELECT number, content_hash FROM orders WHERE channel = :channel"
                        " AND reference = :reference AND refusal_code IS NULL"
                    ),
                    {"channel": request.channel, "reference": request.reference},
                )
            ).one_or_none()
        if held is None:
            return None
        if bytes(held.content_hash) != content_hash(request):
            raise Problem(
                "reference_reused",
                "The channel's reference names an order of other content.",
                number=held.number,
            )
        return shown(await self._read(held.number), 200)

    async def _read(self, number: str) -> Order:
        async with self._db.connect() as tx:
            return await _load(tx, number)

    # --- to its process ---

    async def _await_verdict(self, order: Order) -> bool:
        """Start the order's process and wait for its verdict, for as long as a channel may wait.

        False: not known to run. The order stands all the same: the answer is 202, and the relay
        starts it.
        """
        patience = self._settings.verdict_seconds
        try:
            async with asyncio.timeout(patience):
                client = await self._temporal()
                await place_order(client, self._start(order), patience=timedelta(seconds=patience))
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError):
            log.info("order_pending", order=order.number)
        # RuntimeError: nobody answers at Temporal's address (the SDK's own).
        except (RPCError, RuntimeError, WorkflowUpdateFailedError) as fault:
            log.warning("order_not_started", order=order.number, fault=type(fault).__name__)
        else:
            return True
        return False

    async def _conclude(self, number: str, claim: Claim, *, runs: bool) -> Answer:
        """Answer with what became of the order, and keep the answer with it."""
        async with self._db.begin() as tx:
            order = await self._carried(tx, number, runs=runs)
            return await keep_in(tx, claim, _outcome(order))

    def _start(self, order: Order) -> StartOrder:
        return StartOrder(
            number=order.number,
            channel=order.channel,
            currency=order.currency,
            total_minor=order.total_minor,
            units=sum(line.ordered for line in order.lines),
            task_queue=self._settings.task_queue,
            heal_seconds=self._settings.heal_seconds,
            payment_poll_seconds=self._settings.payment_poll_seconds,
        )


async def _load(tx: AsyncConnection, number: str) -> Order:
    order = await load_order(tx, number)
    assert order is not None, f"{number} is stored"
    return order


async def _check_books(
    tx: AsyncConnection, request: OrderRequest, settings: ApiSettings
) -> tuple[str, float | None, float | None]:
    """Check that orders are taken, that channel, store and articles exist; say where it goes."""
    if (await read_mode(tx)).is_reconciling:
        raise reconciling()
    if not await master.channel_is_open(tx, request.channel):
        raise _unknown("channel_unknown", ["/channel"])
    place = await _place(tx, request, settings)
    unknown = await master.unknown_skus(tx, {line.sku for line in request.lines})
    if unknown:
        lines = enumerate(request.lines)
        raise _unknown(
            "sku_unknown", [f"/lines/{i}/sku" for i, line in lines if line.sku in unknown]
        )
    return place


async def _place(
    tx: AsyncConnection, request: OrderRequest, settings: ApiSettings
) -> tuple[str, float | None, float | None]:
    match request.delivery:
        case HomeDelivery(address=address):
            point = locate(address.country, address.postal_code, settings.postal_table)
            if address.latitude is not None and address.longitude is not None:
                point = Point(address.latitude, address.longitude)
            return (address.country, *point)
        case StorePickup(location=location):
            store = await master.get(tx, master.LOCATIONS, location)
            if store is None or not store["active"] or "store_pickup" not in store["serves"]:
                raise _unknown("location_unknown", ["/delivery/location"])
            return store["country"], store["latitude"], store["longitude"]
        case _:
            raise AssertionError("other methods were refused before")


def _unknown(code: str, pointers: list[str]) -> Problem:
    flaws = [Flaw(pointer=each, code=code, detail="There is none here.") for each in pointers]
    return Problem(code, "See errors.", errors=flaws)


# --- the answer -----------------------------------------------------------------------------


def shown(order: Order, status: int) -> Answer:
    """Answer with an order as it is now."""
    return answer(
        order_view(order), status, version=order.version, location=f"/v1/orders/{order.number}"
    )


def _outcome(order: Order) -> Answer:
    if order.refusal_code is not None:
        return problem_answer(refusal_of(order))
    return shown(order, 202 if order.status is OrderStatus.PENDING else 201)


def refusal_of(order: Order) -> Problem:
    """Why an order was refused, with its number and each short line."""
    assert order.refusal_code is not None, "the order was refused"
    return Problem(
        order.refusal_code,
        order.refusal_detail or "",
        errors=[
            {
                "pointer": f"/lines/{int(short['line']) - 1}",
                "code": "insufficient_stock",
                "detail": f"{short['wanted']} wanted, {short['available']} available.",
                "available": short["available"],
            }
            for short in order.shortages or ()
        ],
        number=order.number,
    )
