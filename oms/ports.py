"""The outside parties, as this system needs them. One `Protocol` a party; `workers` wires adapters.

Every method may be called again with the same key and then has one effect. All of them raise
`oms.errors.Unreachable` (nothing was done), `BadRequest` (nothing was done, and never will be)
or `OutcomeUnknown` (it may have been done); a refusal is a value.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal, Protocol, get_args

from pydantic import BaseModel, ConfigDict, Field


class Message(BaseModel):
    """A frozen value that crosses a boundary."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- payment providers ----------------------------------------------------------------------


class Approved(Message):
    """The provider did it.

    `provider_reference` is the provider's own id of the effect (an authorisation's is what later
    captures and voids name). `capture_before` is set on authorisations that end. `amount_minor`:
    what was moved under the key, where a look-up tells.
    """

    kind: Literal["approved"] = "approved"
    provider_reference: str
    capture_before: datetime | None = None
    amount_minor: int | None = None


class Declined(Message):
    """The provider refused for good, e.g. `card_declined`, `insufficient_funds`."""

    kind: Literal["declined"] = "declined"
    reason: str


class Pending(Message):
    """The provider took it and will decide later, by webhook or look-up."""

    kind: Literal["pending"] = "pending"


class NotFound(Message):
    """A look-up's answer: nothing was ever done under this key."""

    kind: Literal["not_found"] = "not_found"


PaymentResult = Annotated[Approved | Declined | Pending, Field(discriminator="kind")]
LookupResult = Annotated[Approved | Declined | Pending | NotFound, Field(discriminator="kind")]


class ProviderPromises(Message):
    """What a provider promises about keys.

    `key_lifetime`: how long a repeated key is recognised; `replays_result`: a repeated key
    answers as the first time; `looks_up_by_key`: it can tell what became of a key.
    """

    key_lifetime: timedelta
    replays_result: bool
    looks_up_by_key: bool


class PaymentProvider(Protocol):
    """Moves money. Amounts are minor units of `currency`, at least 1; `reference` is the order."""

    @property
    def promises(self) -> ProviderPromises:
        """What it promises about keys."""
        ...

    async def authorise(
        self, *, key: str, reference: str, amount_minor: int, currency: str, token: str
    ) -> PaymentResult:
        """Hold an amount on the means behind `token`."""
        ...

    async def capture(
        self, *, key: str, reference: str, amount_minor: int, currency: str, authorisation: str
    ) -> PaymentResult:
        """Take held money."""
        ...

    async def void(
        self, *, key: str, reference: str, amount_minor: int, currency: str, authorisation: str
    ) -> PaymentResult:
        """Give back what is held and not taken."""
        ...

    async def refund(
        self, *, key: str, reference: str, amount_minor: int, currency: str, authorisation: str
    ) -> PaymentResult:
        """Give back money that was taken."""
        ...

    async def lookup(self, *, key: str) -> LookupResult:
        """What became of a key."""
        ...


# --- carriers -------------------------------------------------------------------------------


class Place(Message):
    """An address as a carrier needs it. Personal data: never log it."""

    name: str
    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str


class LabelRequest(Message):
    """One parcel. `key` is `{shipment}:label:{attempt}`; `weight_g` grams, at least 1.

    `of_return`: it belongs to a return, whose parcel `shipment` and whose id `fulfillment_order`
    names; nobody hands it over but who sends it. `collect`: the carrier fetches it there.
    """

    key: str
    reference: str
    shipment: str
    fulfillment_order: str
    location: str
    sender: Place
    recipient: Place
    weight_g: int = Field(ge=1)
    of_return: bool = False
    collect: bool = False


class LabelBought(Message):
    """The carrier took a parcel on."""

    carrier: str
    tracking_number: str
    tracking_url: str | None = None


CarrierStatus = Literal[
    "label_created",
    "handed_over",
    "in_transit",
    "out_for_delivery",
    "available_for_pickup",
    "delivered",
    "attempt_failed",
    "returned_to_sender",
    "lost",
    "damaged",
]
CARRIER_STATUSES: tuple[CarrierStatus, ...] = get_args(CarrierStatus)


class Scan(Message):
    """A carrier's event. `event_id` is the carrier's own; `status` one of `CARRIER_STATUSES`."""

    event_id: str
    status: str
    at: datetime


class Carrier(Protocol):
    """Takes parcels to people."""

    async def buy_label(self, request: LabelRequest) -> LabelBought:
        """Take a parcel on."""
        ...

    async def lookup(self, *, tracking_number: str) -> list[Scan]:
        """All scans so far, oldest first."""
        ...


# --- nodes ----------------------------------------------------------------------------------


class OfferLine(Message):
    """Units of one order line."""

    line: int
    sku: str
    quantity: int = Field(ge=1)


class Offer(Message):
    """Work for one location. `fulfillment_order` is also the key."""

    fulfillment_order: str
    reference: str
    location: str
    method: Literal["home", "store_pickup"]
    lines: tuple[OfferLine, ...]


class CancelWork(Message):
    """Ask a node to stop. Without `lines`: all of it. The answer comes later, as a fact."""

    key: str
    fulfillment_order: str
    reference: str
    location: str
    lines: tuple[OfferLine, ...] | None = None


class FulfillmentNode(Protocol):
    """A location's own system. It answers later, by facts."""

    async def offer(self, offer: Offer) -> None:
        """Offer work. The same again makes it report again what it did; people may have to ask."""
        ...

    async def cancel(self, request: CancelWork) -> None:
        """Ask to stop work, or withdraw an offer."""
        ...
