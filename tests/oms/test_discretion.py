"""What may stand in a history or a log: our own words and codes, and nothing that quotes."""

import pytest

from oms.errors import OutcomeUnknown, told
from oms.fields import code_like
from oms.money import UnknownCurrency, exponent

STREET = "12 Marmalade Mews"


@pytest.mark.parametrize(
    "code", ["insufficient_funds", "card-declined", "E102", "51", "do_not_honor.05", "R0"]
)
def test_a_code_of_a_stranger_passes(code: str) -> None:
    assert code_like(code, "other") == code


@pytest.mark.parametrize(
    "said",
    [
        *("", " ", STREET, "ada@example.com", "+33655443322", "33655443322", "69100"),
        *("tok_1Nv0FG2eZvKYlo2C", "4242424242424242", "no such street: 5", "a" * 100),
        *("ok\n", "füße", "_".join(["word"] * 9)),
    ],
)
def test_a_sentence_an_address_and_a_token_do_not(said: str) -> None:
    assert code_like(said, "other") == "other"


def test_a_fault_of_ours_speaks() -> None:
    assert told(OutcomeUnknown("POST /payments answered 500")) == "POST /payments answered 500"
    assert told(AssertionError("K3M9-QXZ4-7 is not stored")) == "K3M9-QXZ4-7 is not stored"


def test_any_other_names_its_kind_and_its_place_in_our_code() -> None:
    with pytest.raises(UnknownCurrency) as fault:
        exponent(STREET)
    assert told(fault.value).startswith("UnknownCurrency in oms.money, line ")

    assert told(ValueError(STREET)) == "ValueError"
