"""Money moves here, once a key, however often an activity runs."""

from collections.abc import Mapping

import structlog
from temporalio import activity

from activities.faults import as_application_errors
from activities.messages import AtPayment
from oms.book import OrderBook, Settled
from oms.errors import BadRequest, KeyReused, OutcomeUnknown
from oms.payments import PaymentCall, PaymentOutcome
from oms.ports import Approved, Declined, LookupResult, NotFound, PaymentProvider, Pending

log = structlog.get_logger()


class PaymentActivities:
    """Settles payment entries with the provider that each belongs to."""

    def __init__(self, book: OrderBook, providers: Mapping[str, PaymentProvider]) -> None:
        self._book, self._providers = book, providers

    @activity.defn
    async def settle_payment(self, about: AtPayment) -> Settled:
        """Bring one payment to an outcome.

        A key that was tried before is looked up first: what the provider did stands, whatever
        became of its answer. Only what it certainly did not do is asked for (again).
        """
        with as_application_errors():
            call = await self._book.begin_payment(about.key, about.at)
            if call.status in ("succeeded", "failed"):
                return await self._book.settled(about.key, about.at)
            result = await self._ask(call, about)
            if isinstance(result, Pending):
                await self._book.doubt_payment(about.key, "pending", about.at)
                return Settled(outcome=PaymentOutcome(status="pending"))
            settled = await self._book.settle_payment(
                about.key, result, about.at, settled_by="provider"
            )
        log.info(
            "payment_settled",
            key=about.key,
            outcome=settled.outcome.status,
            amount_minor=call.amount_minor,
            currency=call.currency,
        )
        return settled

    async def _ask(self, call: PaymentCall, about: AtPayment) -> Approved | Declined | Pending:
        provider = self._provider(call)
        try:
            if call.called_before and provider.promises.looks_up_by_key:
                found: LookupResult = await provider.lookup(key=call.key)
                if not isinstance(found, NotFound):
                    return _of_this_call(found, call)
            elif call.called_before:
                _must_remember(provider, call)
            return await _move(provider, call)
        except OutcomeUnknown as fault:
            await self._book.doubt_payment(about.key, fault.code, about.at)
            raise

    def _provider(self, call: PaymentCall) -> PaymentProvider:
        provider = self._providers.get(call.provider or "")
        if provider is None:
            raise BadRequest(f"{call.key} cannot go by itself: {call.provider or 'the till'} must")
        return provider


def _of_this_call(
    found: Approved | Declined | Pending, call: PaymentCall
) -> Approved | Declined | Pending:
    """Refuse what was done under the key for another amount, as after a restore of older books."""
    moved = found.amount_minor if isinstance(found, Approved) else None
    if moved is not None and moved != call.amount_minor:
        raise KeyReused(f"{call.key} moved {moved} at the provider, not {call.amount_minor}")
    return found


def _must_remember(provider: PaymentProvider, call: PaymentCall) -> None:
    """Refuse to repeat a key that its provider may have forgotten: that could move money twice."""
    promises = provider.promises
    if not promises.replays_result or call.age_seconds > promises.key_lifetime.total_seconds():
        raise BadRequest(f"{call.key} is too old to repeat, and cannot be looked up")


async def _move(provider: PaymentProvider, call: PaymentCall) -> Approved | Declined | Pending:
    if call.kind == "authorization":
        assert call.token is not None, "a provider is paid by token"
        return await provider.authorise(
            key=call.key,
            reference=call.order,
            amount_minor=call.amount_minor,
            currency=call.currency,
            token=call.token,
        )
    assert call.authorisation is not None, "money is moved under an authorisation"
    moves = {"capture": provider.capture, "void": provider.void, "refund": provider.refund}
    return await moves[call.kind](
        key=call.key,
        reference=call.order,
        amount_minor=call.amount_minor,
        currency=call.currency,
        authorisation=call.authorisation,
    )
