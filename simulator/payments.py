"""The payment provider. Its money rules are its own: it trusts no caller's arithmetic."""

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from uuid import uuid4

from fastapi import APIRouter, Query, Response

from simulator.faults import Answer, CallMode, Door
from simulator.settings import Timings
from simulator.store import Row, Store, now
from simulator.webhooks import Postman
from simulator.wire import Amount, Chores, Key, Name, Wire, once, refusal, wrong

PARTY: Literal["payments"] = "payments"

_DECLINES = {"tok_declined": "card_declined", "tok_insufficient_funds": "insufficient_funds"}
_FATES: dict[str, CallMode | None] = {
    "tok_ok": None,
    "tok_capture_fails": None,
    "tok_refund_fails_late": None,
    "tok_slow": "slow",
    "tok_timeout_after": "timeout_after",
    "tok_error_after": "error_after",
}
_HOLD = timedelta(days=7)


class Authorize(Wire):
    """Hold an amount on what the token stands for."""

    reference: Name
    amount_minor: Amount
    currency: Name
    token: Name


class Move(Wire):
    """Capture, void or refund a part of an authorization."""

    reference: Name
    amount_minor: Amount
    currency: Name
    authorization: Name


class Provider:
    """Holds, takes and gives back money, once for each key.

    Approvals are replayed under their key. Refusals are not kept: the same key tries again, as
    with some real providers.
    """

    def __init__(self, store: Store, postman: Postman, timings: Timings) -> None:
        self._store, self._postman, self._timings = store, postman, timings
        self._chores = Chores()

    def resume(self) -> None:
        """Settle what an earlier process left undecided."""
        for row in self._store.all("SELECT key FROM settlements"):
            self._chores.start(self._settle(row["key"]))

    async def close(self) -> None:
        """Leave what is undecided to the next process."""
        await self._chores.stop()

    def authorize(self, key: str, call: Authorize, declined: bool) -> Answer:
        """Hold the amount, or for `tok_pending` decide a little later."""

        def apply() -> Answer:
            if call.token == "tok_pending":
                self._settle_later(key, "declined" if declined else "approved")
                return Answer(self._open(key, call, held=0) | {"status": "pending"})
            if declined:
                return refusal("card_declined")
            if call.token not in _FATES:
                return refusal(_DECLINES.get(call.token, "token_unknown"))
            self._enter(key, "authorize", call)
            held = self._open(key, call, held=call.amount_minor)
            return Answer(held | {"status": "approved"}, fate=_FATES[call.token])

        return once(self._store, PARTY, "authorize", key=key, call=call, apply=apply)

    def move(self, kind: str, key: str, call: Move, declined: bool) -> Answer:
        """Capture, void or refund, never more than there is."""

        def apply() -> Answer:
            hold = self._store.one("SELECT * FROM authorizations WHERE id = ?", call.authorization)
            if hold is None or hold["reference"] != call.reference:
                return wrong("authorization_unknown")
            if hold["currency"] != call.currency:
                return wrong("currency_differs")
            if declined or (kind == "capture" and hold["token"] == "tok_capture_fails"):
                return refusal(f"{kind}_declined")
            if call.amount_minor > _open_for(kind, hold):
                return wrong("amount_too_large")
            return self._apply(kind, key, call, late=hold["token"] == "tok_refund_fails_late")

        return once(self._store, PARTY, kind, key=key, call=call, apply=apply)

    def lookup(self, key: str, declined: bool) -> Answer:
        """Tell what became of a key, also of one decided after it was answered."""
        if declined:
            return wrong("not_permitted", 403)
        known = self._store.answered(PARTY, key)
        if known is None:
            return wrong("key_unknown", 404)
        about = {"key": key, "kind": known["operation"]}
        about |= {name: known["request"][name] for name in ("amount_minor", "currency")}
        return Answer(about | known["answer"])

    def _open(self, key: str, call: Authorize, *, held: int) -> dict[str, object]:
        authorization = _own_id("auth", key)
        self._store.run(
            "INSERT INTO authorizations (id, reference, token, currency, authorized)"
            " VALUES (?, ?, ?, ?, ?)",
            *(authorization, call.reference, call.token, call.currency, held),
        )
        ends = (datetime.now(UTC) + _HOLD).isoformat().replace("+00:00", "Z")
        return {"id": authorization, "capture_before": ends}

    def _apply(self, kind: str, key: str, call: Move, *, late: bool) -> Answer:
        column = {"capture": "captured", "void": "voided", "refund": "refunded"}[kind]
        self._store.run(
            f"UPDATE authorizations SET {column} = {column} + ? WHERE id = ?",
            *(call.amount_minor, call.authorization),
        )
        self._enter(key, kind, call)
        if kind == "refund" and late:
            self._settle_later(key, "failed")
        return Answer({"id": _own_id(kind, key), "status": "approved"})

    def _enter(self, key: str, kind: str, call: Authorize | Move) -> None:
        amount, currency = call.amount_minor, call.currency
        self._store.enter(PARTY, key, kind, call.reference, amount_minor=amount, currency=currency)

    def _settle_later(self, key: str, outcome: str) -> None:
        self._store.run("INSERT INTO settlements VALUES (?, ?)", key, outcome)
        self._chores.start(self._settle(key))

    async def _settle(self, key: str) -> None:
        await asyncio.sleep(self._timings.settle)
        with self._store.tx():
            due = self._store.one("DELETE FROM settlements WHERE key = ? RETURNING outcome", key)
            known = self._store.answered(PARTY, key)
            assert due is not None
            assert known is not None
            answer = known["answer"] | {"status": due["outcome"]}
            if known["operation"] == "authorize":
                self._settle_hold(key, Authorize(**known["request"]), answer)
            else:
                self._take_back(key, Move(**known["request"]), answer)

    def _settle_hold(self, key: str, call: Authorize, answer: Row) -> None:
        if answer["status"] != "approved":
            self._tell(key, "authorize", call, answer | {"reason": "card_declined"})
            return
        self._enter(key, "authorize", call)
        self._store.run(
            "UPDATE authorizations SET authorized = ? WHERE id = ?",
            *(call.amount_minor, answer["id"]),
        )
        self._tell(key, "authorize", call, answer)

    def _take_back(self, key: str, call: Move, answer: Row) -> None:
        self._enter(key, "refund_failed", call)
        self._store.run(
            "UPDATE authorizations SET refunded = refunded - ? WHERE id = ?",
            *(call.amount_minor, call.authorization),
        )
        self._tell(key, "refund", call, answer | {"reason": "refund_failed"})

    def _tell(self, key: str, kind: str, call: Authorize | Move, answer: Row) -> None:
        self._store.run(
            "UPDATE answers SET answer = ? WHERE party = ? AND key = ?",
            *(json.dumps(answer), PARTY, key),
        )
        body = {
            "event_id": f"evt_{uuid4().hex}",
            "key": key,
            "kind": kind,
            "status": "succeeded" if answer["status"] == "approved" else "failed",
            "amount_minor": call.amount_minor,
            "currency": call.currency,
            "at": now(),
        }
        self._postman.post(PARTY, key, "/v1/inbound/payments/simulator", body)


def _open_for(kind: str, hold: Row) -> int:
    if kind == "refund":
        return int(hold["captured"] - hold["refunded"])
    return int(hold["authorized"] - hold["captured"] - hold["voided"])


def _own_id(kind: str, key: str) -> str:
    return f"{kind}_{hashlib.sha256(key.encode()).hexdigest()[:20]}"


def routes(provider: Provider, door: Door) -> APIRouter:
    """Give the provider's own HTTP interface."""
    router = APIRouter(prefix="/payments", tags=["payments"])

    @router.post("/authorize")
    async def authorize(key: Key, call: Authorize) -> Response:
        return await door.enter(
            PARTY, "authorize", lambda declined: provider.authorize(key, call, declined)
        )

    @router.post("/capture")
    async def capture(key: Key, call: Move) -> Response:
        return await door.enter(
            PARTY, "capture", lambda declined: provider.move("capture", key, call, declined)
        )

    @router.post("/void")
    async def void(key: Key, call: Move) -> Response:
        return await door.enter(
            PARTY, "void", lambda declined: provider.move("void", key, call, declined)
        )

    @router.post("/refund")
    async def refund(key: Key, call: Move) -> Response:
        return await door.enter(
            PARTY, "refund", lambda declined: provider.move("refund", key, call, declined)
        )

    @router.get("/lookup")
    async def lookup(key: Annotated[str, Query(min_length=1)]) -> Response:
        return await door.enter(PARTY, "lookup", lambda declined: provider.lookup(key, declined))

    return router
