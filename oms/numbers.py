"""The names of orders, their parts and transfers, as people read them out and Temporal finds them.

`K3M9-QXZ4-7`: eight characters drawn at random and one that checks them, from an alphabet without
look-alikes (no 0, O, 1, I, U). Parts derive from it: `…-F1`, `…-S1`, `…-R1`. A transfer's begins
with `T-`.
"""

import re

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTVWXYZ"
_BASE = len(ALPHABET)
_DRAWN = 8

NUMBERS = _BASE**_DRAWN
"""How many order numbers there are; draw with `secrets.randbelow(NUMBERS)`."""

_CHARACTER = f"[{ALPHABET}]"
_NUMBER = f"{_CHARACTER}{{4}}-{_CHARACTER}{{4}}-{_CHARACTER}"
_NUMBER_ONLY = re.compile(_NUMBER)
_REROUTE = "reroute"
_PART = re.compile(f"({_NUMBER})-[FSRC][1-9][0-9]*(?:-P[1-9][0-9]*)?")
_RETURN = re.compile(f"{_NUMBER}-R[1-9][0-9]*")


def number_from(drawn: int) -> str:
    """Write the order number of a random integer, from 0 to `NUMBERS - 1`.

    Pure: the caller draws, stores the number before using it, and draws again if it is taken.
    """
    assert 0 <= drawn < NUMBERS
    characters = ""
    for _ in range(_DRAWN):
        drawn, digit = divmod(drawn, _BASE)
        characters = ALPHABET[digit] + characters
    return f"{characters[:4]}-{characters[4:]}-{_check(characters)}"


def is_order_number(text: str) -> bool:
    """Whether the text is an order number whose check character fits.

    Every single wrong character and every swap of two neighbours is caught.
    """
    if not _NUMBER_ONLY.fullmatch(text):
        return False
    return _check(text[:-2].replace("-", "")) == text[-1]


def _check(characters: str) -> str:
    # 31 is prime and the weights differ, so neither one wrong character nor a swap leaves the sum.
    weighted = sum(place * ALPHABET.index(c) for place, c in enumerate(characters, start=1))
    return ALPHABET[weighted % _BASE]


def fulfillment_order_id(number: str, seq: int) -> str:
    """`{number}-F{seq}`, the part of an order that one location serves. `seq` counts from 1."""
    return f"{number}-F{seq}"


def shipment_id(number: str, seq: int) -> str:
    """`{number}-S{seq}`, one parcel. `seq` counts from 1."""
    return f"{number}-S{seq}"


def return_id(number: str, seq: int) -> str:
    """`{number}-R{seq}`, goods coming back. `seq` counts from 1."""
    return f"{number}-R{seq}"


def is_return_id(text: str) -> bool:
    """Whether the text is the id of a return; a part of it, a parcel, is none."""
    return _RETURN.fullmatch(text) is not None


def return_parcel_id(return_id: str, seq: int) -> str:
    """`{return}-P{seq}`, one parcel of a return. `seq` counts from 1."""
    return f"{return_id}-P{seq}"


def is_return_parcel_id(text: str) -> bool:
    """Whether the text is the id of a return's parcel."""
    id, found, seq = text.rpartition("-P")
    return bool(found) and seq.isdigit() and is_return_id(id)


def return_of(parcel_id: str) -> str:
    """The return that a parcel of it begins with."""
    id, _, _ = parcel_id.rpartition("-P")
    assert is_return_id(id), f"{parcel_id!r} is no parcel of a return"
    return id


def transfer_id(drawn: int) -> str:
    """`T-K3M9-QXZ4-7`: the number of a transfer, drawn and checked like an order's."""
    return f"T-{number_from(drawn)}"


def order_of(part_id: str) -> str:
    """The order number a part's id begins with.

    Raises:
        ValueError: this is no part of an order.
    """
    found = _PART.fullmatch(part_id)
    if not found:
        raise ValueError(f"{part_id!r} is no part of an order")
    return found[1]


def order_workflow_id(number: str) -> str:
    """The id of the workflow that carries an order."""
    return f"order/{number}"


def reroute_id(drawn: int) -> str:
    """`RR-K3M9-QXZ4-7`: the number of a reroute, drawn and checked like an order's."""
    return f"RR-{number_from(drawn)}"


def reroute_workflow_id(id: str) -> str:
    """The id of the workflow that carries a reroute."""
    return f"{_REROUTE}/{id}"


def is_of_an_order(workflow_id: str) -> bool:
    """Whether a workflow works for one order."""
    return workflow_id.partition("/")[0] != _REROUTE


def order_of_workflow(workflow_id: str) -> str:
    """The order that a workflow works for: its own number, or the one its part's begins with."""
    kind, _, id = workflow_id.partition("/")
    return id if kind == "order" else order_of(id)


def fulfillment_workflow_id(fulfillment_order: str) -> str:
    """The id of the workflow that carries one fulfillment order."""
    return f"fulfillment/{fulfillment_order}"


_RETURN_RUN = "return/"


def return_workflow_id(id: str) -> str:
    """The id of the workflow that carries one return."""
    return f"{_RETURN_RUN}{id}"


def return_carried_by(workflow_id: str) -> str | None:
    """The return that a workflow carries; None if it carries something else."""
    id = workflow_id.removeprefix(_RETURN_RUN)
    return id if id != workflow_id else None
