"""One is one, and more are more."""

from oms.words import count_of, is_or_are


def test_one_thing_is_told_without_an_s() -> None:
    told = [f"{count_of(n, 'unit')} {is_or_are(n)} back" for n in (0, 1, 2, 1840)]

    assert told == [
        "0 units are back",
        "1 unit is back",
        "2 units are back",
        "1,840 units are back",
    ]
