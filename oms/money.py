"""Money in integer minor units, and how an amount is allotted so that every split adds up.

An amount is fixed once, at placement. Whatever is charged later is a difference of two cumulative
sums of that amount, so captures and refunds add up to the cent in any number of parts.
"""

from collections.abc import Sequence

# ISO 4217 (active codes of circulating money), by the number of digits after the decimal point.
_BY_EXPONENT = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN"
    " BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS"
    " GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR"
    " LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD"
    " PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN"
    " SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD XCG YER ZAR ZMW"
    " ZWG",
    3: "BHD IQD JOD KWD LYD OMR TND",
}
_EXPONENTS = {code: digits for digits, codes in _BY_EXPONENT.items() for code in codes.split()}


class UnknownCurrency(ValueError):
    """Not an ISO 4217 code of money that circulates today."""


def is_currency(code: str) -> bool:
    """Whether `code` is a currency we can count in. Upper case only."""
    return code in _EXPONENTS


def exponent(currency: str) -> int:
    """Digits after the decimal point: 0 for JPY, 2 for EUR, 3 for KWD.

    Raises:
        UnknownCurrency: guessing would be wrong by a factor of ten or more.
    """
    try:
        return _EXPONENTS[currency]
    except KeyError:
        raise UnknownCurrency(currency) from None


def format_money(minor: int, currency: str) -> str:
    """Write an amount for people and machines alike: `19.99 EUR`, `-5 JPY`, `1.250 KWD`.

    Raises:
        UnknownCurrency: see `exponent`.
    """
    digits = exponent(currency)
    sign = "-" if minor < 0 else ""
    whole, part = divmod(abs(minor), 10**digits)
    return f"{sign}{whole}.{part:0{digits}d} {currency}" if digits else f"{sign}{whole} {currency}"


def share(total: int, *, units: int, first: int, count: int) -> int:
    """Tell what units `first` to `first + count` (without the last) cost of a total.

    Units are charged in order, and each unit's amount is fixed at placement: unit `k` costs
    `floor(total * (k + 1) / units) - floor(total * k / units)`. So any split of a line adds up to
    its total, and no two units differ by more than one minor unit.

    Args:
        total: What all the units cost, in minor units, at least 0.
        units: Units in all, at least 1.
        first: Units charged before, from 0.
        count: Units to charge now, from 0; `first + count` is at most `units`.

    Returns:
        From 0 to `total`.
    """
    assert total >= 0
    assert units >= 1
    assert first >= 0
    assert count >= 0
    assert first + count <= units
    return total * (first + count) // units - total * first // units


def allot(total: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Divide a total over parts by weight; the parts add up to it exactly.

    Each part gets its share rounded down; the units left over go one each to the parts with the
    largest remainders, the earlier part first among equals. Where all weights are 0 (a free line
    with paid shipping) the parts count equally.

    Args:
        total: Minor units to divide, at least 0. Without parts it must be 0.
        weights: One for each part, at least 0.

    Returns:
        One amount for each weight, in the same order.
    """
    assert total >= 0
    assert all(weight >= 0 for weight in weights)
    if not weights:
        assert total == 0, "nothing to allot it to"
        return ()
    if not any(weights):
        weights = [1] * len(weights)
    whole = sum(weights)
    parts = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(total * weights[i] % whole), i))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return tuple(parts)
