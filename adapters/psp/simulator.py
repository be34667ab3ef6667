"""The simulated payment provider, spoken to as docs/simulator.md says."""

from datetime import datetime, timedelta
from typing import Literal, Self

from pydantic import BaseModel, model_validator
from typing_extensions import override

from adapters.http import Http
from oms.fields import code_like
from oms.ports import (
    Approved,
    Declined,
    LookupResult,
    NotFound,
    PaymentProvider,
    PaymentResult,
    Pending,
    ProviderPromises,
)


class _Answer(BaseModel):
    status: Literal["approved", "declined", "pending", "failed"]
    id: str | None = None
    reason: str = "declined"
    capture_before: datetime | None = None
    amount_minor: int | None = None

    @model_validator(mode="after")
    def _an_effect_has_a_name(self) -> Self:
        if self.status == "approved" and self.id is None:
            raise ValueError("approved without an id")
        return self

    def as_result(self) -> PaymentResult:
        match self.status:
            case "approved":
                assert self.id is not None
                return Approved(
                    provider_reference=self.id,
                    capture_before=self.capture_before,
                    amount_minor=self.amount_minor,
                )
            case "pending":
                return Pending()
            case "declined" | "failed":
                return Declined(reason=code_like(self.reason, "declined"))


class SimulatedProvider(PaymentProvider):
    """A provider that replays approvals, tries refusals again and finds every key."""

    def __init__(self, http: Http) -> None:
        self._http = http

    @property
    @override
    def promises(self) -> ProviderPromises:
        return ProviderPromises(
            key_lifetime=timedelta(days=365), replays_result=True, looks_up_by_key=True
        )

    @override
    async def authorise(
        self, *, key: str, reference: str, amount_minor: int, currency: str, token: str
    ) -> PaymentResult:
        return await self._ask("authorize", key, reference, amount_minor, currency, token=token)

    @override
    async def capture(
        self, *, key: str, reference: str, amount_minor: int, currency: str, authorisation: str
    ) -> PaymentResult:
        return await self._ask(
            "capture", key, reference, amount_minor, currency, authorization=authorisation
        )

    @override
    async def void(
        self, *, key: str, reference: str, amount_minor: int, currency: str, authorisation: str
    ) -> PaymentResult:
        return await self._ask(
            "void", key, reference, amount_minor, currency, authorization=authorisation
        )

    @override
    async def refund(
        self, *, key: str, reference: str, amount_minor: int, currency: str, authorisation: str
    ) -> PaymentResult:
        return await self._ask(
            "refund", key, reference, amount_minor, currency, authorization=authorisation
        )

    @override
    async def lookup(self, *, key: str) -> LookupResult:
        answer = await self._http.get("/payments/lookup", {"key": key}, answer=_Answer)
        return NotFound() if answer is None else answer.as_result()

    async def _ask(
        self,
        operation: str,
        key: str,
        reference: str,
        amount_minor: int,
        currency: str,
        **source: str,
    ) -> PaymentResult:
        body = {"reference": reference, "amount_minor": amount_minor, "currency": currency}
        path = f"/payments/{operation}"
        answer = await self._http.post(path, body | source, key=key, answer=_Answer)
        return answer.as_result()
