"""The contract of a payment provider, kept against the simulator under every fault."""

from datetime import timedelta

import pytest

from adapters.http import Http
from adapters.psp.simulator import SimulatedProvider
from oms.errors import BadRequest, KeyReused, OutcomeUnknown, Unreachable
from oms.ports import Approved, Declined, NotFound, PaymentResult, Pending
from tests.outside import PATIENT, Outside, patience_for

HOLD = "A-1:authorise:1"
OPERATIONS = ["authorize", "capture", "void", "refund"]
LOST = ["timeout_after", "error_after", "drop_connection"]


class Bank:
    """The provider through our adapter, with one order's money to move."""

    def __init__(self, outside: Outside, timeout: timedelta) -> None:
        self.http = Http(outside.url, timeout=timeout)
        self.provider = SimulatedProvider(self.http)
        self.hold = ""

    async def holds(self, token: str = "tok_ok", amount_minor: int = 1000) -> PaymentResult:
        return await self.provider.authorise(
            key=HOLD, reference="A-1", amount_minor=amount_minor, currency="EUR", token=token
        )

    async def is_ready_for(self, operation: str) -> None:
        """Bring the money where the operation starts from."""
        if operation == "authorize":
            return
        held = await self.holds()
        assert isinstance(held, Approved)
        self.hold = held.provider_reference
        if operation == "refund":
            await self.moves("capture", key="A-1:capture:1", amount_minor=600)

    async def moves(
        self, operation: str, *, key: str = "", amount_minor: int = 400
    ) -> PaymentResult:
        if operation == "authorize":
            return await self.holds()
        move = {
            "capture": self.provider.capture,
            "void": self.provider.void,
            "refund": self.provider.refund,
        }[operation]
        return await move(
            key=key or key_of(operation),
            reference="A-1",
            amount_minor=amount_minor,
            currency="EUR",
            authorisation=self.hold,
        )

    async def looks_up(self, operation: str) -> Approved:
        """What a look-up tells, less the amount that it names besides."""
        told = await self.provider.lookup(key=key_of(operation))
        assert isinstance(told, Approved)
        assert told.amount_minor == (1000 if operation == "authorize" else 400)
        return told.model_copy(update={"amount_minor": None})


def key_of(operation: str) -> str:
    return HOLD if operation == "authorize" else f"A-1:{operation}:2"


async def times_in_books(outside: Outside, operation: str) -> int:
    return (await outside.books("payments")).count((operation, key_of(operation)))


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_effect_asked_for_twice_is_one_effect(outside: Outside, operation: str) -> None:
    bank = Bank(outside, PATIENT)
    await bank.is_ready_for(operation)

    first = await bank.moves(operation)

    assert isinstance(first, Approved)
    assert await bank.moves(operation) == first
    assert await bank.looks_up(operation) == first
    assert await times_in_books(outside, operation) == 1
    await bank.http.close()


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mode", LOST)
async def test_a_lost_answer_is_unknown_and_the_same_key_or_a_lookup_tells(
    outside: Outside, operation: str, mode: str
) -> None:
    bank = Bank(outside, patience_for(mode))
    await bank.is_ready_for(operation)
    await outside.breaks("payments", operation, mode)

    with pytest.raises(OutcomeUnknown):
        await bank.moves(operation)

    told = await bank.looks_up(operation)
    assert await bank.moves(operation) == told
    assert await times_in_books(outside, operation) == 1
    await bank.http.close()


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mode", ["timeout_before", "error_before"])
async def test_what_broke_before_it_was_done_looks_the_same_and_a_lookup_finds_nothing(
    outside: Outside, operation: str, mode: str
) -> None:
    bank = Bank(outside, patience_for(mode))
    await bank.is_ready_for(operation)
    await outside.breaks("payments", operation, mode)

    with pytest.raises(OutcomeUnknown):
        await bank.moves(operation)

    assert await bank.provider.lookup(key=key_of(operation)) == NotFound()
    assert await times_in_books(outside, operation) == 0
    assert isinstance(await bank.moves(operation), Approved)
    assert await times_in_books(outside, operation) == 1
    await bank.http.close()


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_provider_that_is_too_busy_did_nothing(outside: Outside, operation: str) -> None:
    bank = Bank(outside, PATIENT)
    await bank.is_ready_for(operation)
    await outside.breaks("payments", operation, "rate_limit")

    with pytest.raises(Unreachable) as fault:
        await bank.moves(operation)

    assert fault.value.retry_after == timedelta(seconds=1)
    assert await times_in_books(outside, operation) == 0
    await bank.http.close()


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_slow_answer_is_an_answer(outside: Outside, operation: str) -> None:
    bank = Bank(outside, PATIENT)
    await bank.is_ready_for(operation)
    await outside.breaks("payments", operation, "slow")

    assert isinstance(await bank.moves(operation), Approved)
    await bank.http.close()


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_refusal_is_a_value_and_the_key_may_try_again(
    outside: Outside, operation: str
) -> None:
    bank = Bank(outside, PATIENT)
    await bank.is_ready_for(operation)
    await outside.breaks("payments", operation, "decline")

    assert isinstance(await bank.moves(operation), Declined)
    assert await times_in_books(outside, operation) == 0
    assert isinstance(await bank.moves(operation), Approved)
    await bank.http.close()


@pytest.mark.parametrize("mode", ["timeout_before", "error_before", "drop_connection"])
async def test_a_lookup_that_breaks_says_nothing_about_the_money(
    outside: Outside, mode: str
) -> None:
    bank = Bank(outside, patience_for(mode))
    await bank.holds()
    await outside.breaks("payments", "lookup", mode)

    with pytest.raises(OutcomeUnknown):
        await bank.provider.lookup(key=HOLD)

    assert isinstance(await bank.provider.lookup(key=HOLD), Approved)
    await bank.http.close()


@pytest.mark.parametrize("token", ["tok_timeout_after", "tok_error_after"])
async def test_some_cards_lose_the_first_answer(outside: Outside, token: str) -> None:
    bank = Bank(outside, patience_for(token))

    with pytest.raises(OutcomeUnknown):
        await bank.holds(token)

    assert isinstance(await bank.holds(token), Approved)
    assert await times_in_books(outside, "authorize") == 1
    await bank.http.close()


async def test_a_slow_card_is_a_good_card(outside: Outside) -> None:
    bank = Bank(outside, PATIENT)

    assert isinstance(await bank.holds("tok_slow"), Approved)
    await bank.http.close()


@pytest.mark.parametrize(
    ("token", "reason"),
    [("tok_declined", "card_declined"), ("tok_insufficient_funds", "insufficient_funds")],
)
async def test_a_bad_card_is_declined_with_its_reason(
    outside: Outside, token: str, reason: str
) -> None:
    bank = Bank(outside, PATIENT)

    assert await bank.holds(token) == Declined(reason=reason)
    await bank.http.close()


async def test_a_pending_card_is_told_by_lookup_once_it_settled(outside: Outside) -> None:
    bank = Bank(outside, PATIENT)

    assert await bank.holds("tok_pending") == Pending()
    await outside.inbox.until(lambda letters: len(letters) == 1)

    told = await bank.provider.lookup(key=HOLD)
    assert isinstance(told, Approved)
    assert told.capture_before is not None
    await bank.http.close()


async def test_a_refund_taken_back_later_reads_as_declined(outside: Outside) -> None:
    bank = Bank(outside, PATIENT)
    held = await bank.holds("tok_refund_fails_late")
    assert isinstance(held, Approved)
    bank.hold = held.provider_reference
    await bank.moves("capture", key="A-1:capture:1")

    assert isinstance(await bank.moves("refund"), Approved)
    await outside.inbox.until(lambda letters: len(letters) == 1)

    assert await bank.provider.lookup(key=key_of("refund")) == Declined(reason="refund_failed")
    await bank.http.close()


async def test_a_key_used_for_another_amount_and_money_that_is_not_there_are_our_mistakes(
    outside: Outside,
) -> None:
    bank = Bank(outside, PATIENT)
    await bank.is_ready_for("capture")

    with pytest.raises(KeyReused):
        await bank.holds(amount_minor=999)
    with pytest.raises(BadRequest, match="amount_too_large"):
        await bank.moves("capture", amount_minor=1001)
    await bank.http.close()


async def test_a_provider_that_is_not_there_did_nothing() -> None:
    async with Http("http://127.0.0.1:9", timeout=PATIENT) as http:
        with pytest.raises(Unreachable):
            await SimulatedProvider(http).lookup(key=HOLD)
