"""Routing rule sets: how a merchant chooses where each line is served from, as data.

An order goes through the rules in their order. A rule that fits it takes the lines it is about,
looks at the places it allows, and serves what they have by its objective; what is left goes to the
next rule, waits, or is not sold. Amounts are minor units of the rule set's one currency; decimal
factors are texts, so that none is rounded on its way.
"""

from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from oms.fields import Country, Currency, Id, Wire, Words

MILLS = 1000
"""Costs are counted in thousandths of the minor unit."""

FACTOR_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,6})?$"
RATE_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,9})?$"
MOST_RULES = 200
MOST_TIERS = 20

Kind = Literal["warehouse", "store", "supplier", "marketplace", "reseller", "third_party_logistics"]
Method = Literal["home", "pickup_point", "locker", "store_pickup", "carry_out"]
Left = Literal["next_rule", "backorder", "cancel"]


def _some(values: tuple[str, ...]) -> tuple[str, ...]:
    # An empty list would fit nothing: who means everything leaves it out.
    if not values:
        raise PydanticCustomError("required", "one at least; leave it out to mean all")
    if len(set(values)) != len(values):
        raise PydanticCustomError("repeated", "each value once")
    return values


def _no_number(value: object) -> object:
    # 1.10 is not the same as "1.10" to every program that reads and writes JSON.
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PydanticCustomError("wrong_type", "a number in quotes is wanted, so none is rounded")
    return value


def _above_zero(rate: str) -> str:
    if not Decimal(rate):
        raise PydanticCustomError("too_small", "more than 0 is wanted")
    return rate


def _few(most: int) -> BeforeValidator:
    # Before each of a hundred thousand values is looked at and found wrong.
    def check(values: object) -> object:
        if isinstance(values, list | tuple) and len(values) > most:
            raise PydanticCustomError("too_many", "at most {most}", {"most": most})
        return values

    return BeforeValidator(check)


def _list(most: int) -> tuple[Any, ...]:
    return Field(max_length=most, strict=False), AfterValidator(_some), _few(most)


Ids = Annotated[tuple[Id, ...], *_list(5000)]
Names = Annotated[tuple[Words, ...], *_list(1000)]
Countries = Annotated[tuple[Country, ...], *_list(249)]
Kinds = Annotated[tuple[Kind, ...], *_list(6)]
Methods = Annotated[tuple[Method, ...], *_list(5)]
Factor = Annotated[str, BeforeValidator(_no_number), StringConstraints(pattern=FACTOR_PATTERN)]
"""A decimal number of at most six places, 0 or more, as a text."""
Rate = Annotated[
    str,
    BeforeValidator(_no_number),
    StringConstraints(pattern=RATE_PATTERN),
    AfterValidator(_above_zero),
]
Minor = Annotated[int, Field(ge=0, le=10**8)]
Either = Annotated[int, Field(ge=-(10**8), le=10**8)]


class Span(Wire):
    """Amounts from one to another, both counted in; one end may be open."""

    at_least: Annotated[int, Field(ge=0, le=10**12)] | None = None
    at_most: Annotated[int, Field(ge=0, le=10**12)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise PydanticCustomError("required", "one end at least")
        if None not in (self.at_least, self.at_most) and self.at_least > self.at_most:  # type: ignore[operator]
            raise PydanticCustomError("not_allowed", "`at_least` is more than `at_most`")
        return self

    def holds(self, amount: int) -> bool:
        """Say whether an amount lies in it."""
        return (self.at_least is None or amount >= self.at_least) and (
            self.at_most is None or amount <= self.at_most
        )


class When(Wire):
    """Which orders. What is left out fits all; all that is given must fit.

    `countries`: where the goods go. `value_minor`: of the goods, in the rule set's currency.
    """

    channels: Ids | None = None
    countries: Countries | None = None
    except_countries: Countries | None = None
    methods: Methods | None = None
    segments: Names | None = None
    value_minor: Span | None = None


class Lines(Wire):
    """Which lines. `tags`: the article has one of them; `without_tags`: it has none of them."""

    skus: Ids | None = None
    tags: Names | None = None
    without_tags: Names | None = None


class From(Wire):
    """Which places. What is left out fits all; all that is given must fit.

    `same_country`: the place is in the country the goods go to. `within_km` does not fit places
    without coordinates. `carriers`: one of them brings goods from there by the order's method.
    `has_capacity`: it was given less than its `daily_capacity` today.
    """

    kinds: Kinds | None = None
    groups: Names | None = None
    locations: Ids | None = None
    countries: Countries | None = None
    same_country: bool | None = None
    within_km: Annotated[int, Field(ge=0, le=20_038)] | None = None
    carriers: Ids | None = None
    has_capacity: Literal[True] | None = None


class Cost(Wire):
    """What it costs us to send a parcel. The first row that fits place and destination counts."""

    from_: From = Field(default=From(), alias="from")
    countries: Countries | None = None
    parcel_minor: Minor = 0
    unit_minor: Minor = 0
    kg_minor: Minor = 0
    parcel_km_minor: Factor = "0"
    unit_km_minor: Factor = "0"


class Adjust(Wire):
    """Makes places dearer or, below zero, cheaper than they are: a shelf that must be cleared."""

    from_: From = Field(alias="from")
    parcel_minor: Either = 0
    unit_minor: Either = 0


class Objective(Wire):
    """What the best plan has least of: a sum of costs, each counted as often as its factor says.

    `shipping`, `handling`, `goods`: factors on money: the `costs` of the rule set, the places'
    `handling_minor` a parcel, and what the goods cost there (the least of all three: best margin).
    `parcel_minor`: for each parcel. `parcel_km_minor`, `unit_km_minor`: for each kilometre of a
    parcel, of a unit. `late_day_minor`: for each unit and day promised after `due_days` days.
    `balance_minor`: for a unit from an empty shelf; none from the fullest that serves.
    """

    shipping: Factor = "0"
    handling: Factor = "0"
    goods: Factor = "0"
    parcel_minor: Minor = 0
    parcel_km_minor: Factor = "0"
    unit_km_minor: Factor = "0"
    late_day_minor: Minor = 0
    due_days: Annotated[int, Field(ge=0, le=365)] = 0
    balance_minor: Minor = 0
    adjust: Annotated[tuple[Adjust, ...], Field(max_length=100, strict=False), _few(100)] = ()


class Split(Wire):
    """How far an order may be split. An order that must not be split at all says so itself.

    `lines`: `divided` if the units of a line may come from several places, else `whole`. Lines of
    the same article count as one, and so do the parts of a kit. `most_places`: so many parcels.
    """

    lines: Literal["divided", "whole"] = "divided"
    most_places: Annotated[int, Field(ge=1, le=500)] | None = None


class Never(Wire):
    """Lines that are not served from places, whatever rule is asked."""

    why: Words
    when: When = When()
    lines: Lines = Lines()
    from_: From = Field(alias="from")


class Rule(Wire):
    """One rule. `keep`: units of each article left at each place, beyond its safety stock.

    `prefer`: places asked one group after the other; what the first have, the others do not serve.
    Places in none of them come last. `complete`: all of its lines, or none of them.
    """

    name: Words
    when: When = When()
    lines: Lines = Lines()
    from_: From = Field(default=From(), alias="from")
    except_: From | None = Field(default=None, alias="except")
    keep: Annotated[int, Field(ge=0, le=10**6)] = 0
    prefer: Annotated[
        tuple[From, ...], Field(max_length=MOST_TIERS, strict=False), _few(MOST_TIERS)
    ] = ()
    objective: Objective = Objective()
    split: Split = Split()
    complete: bool = False
    left: Left = "next_rule"

    @property
    def takes_all(self) -> bool:
        """Whether it takes every line of every order."""
        return self.when == When() and self.lines == Lines()


class RuleSet(Wire):
    """A rule set. `rates`: what one major unit of another currency is worth in `currency`.

    What is left after the last rule waits where the order allows it, and else is not sold.
    """

    name: Words
    currency: Currency
    rates: Annotated[dict[Currency, Rate], Field(max_length=200)] = Field({})
    costs: Annotated[tuple[Cost, ...], Field(max_length=500, strict=False), _few(500)] = ()
    never: Annotated[
        tuple[Never, ...], Field(max_length=MOST_RULES, strict=False), _few(MOST_RULES)
    ] = ()
    rules: Annotated[
        tuple[Rule, ...],
        Field(min_length=1, max_length=MOST_RULES, strict=False),
        _few(MOST_RULES),
    ]

    @cached_property
    def uses(self) -> frozenset[str]:
        """What has to be read for it beside stock: `load`, `days`, `goods`, `carriers`."""
        objectives = [rule.objective for rule in self.rules]
        filters = [
            *(cost.from_ for cost in self.costs),
            *(never.from_ for never in self.never),
            *(each for rule in self.rules for each in (rule.from_, rule.except_, *rule.prefer)),
            *(adjust.from_ for objective in objectives for adjust in objective.adjust),
        ]
        needs = {
            "load": any(each and each.has_capacity for each in filters),
            "carriers": any(each and each.carriers for each in filters),
            "days": any(objective.late_day_minor for objective in objectives),
            "goods": any(Decimal(objective.goods) for objective in objectives),
        }
        return frozenset(name for name, needed in needs.items() if needed)

    @cached_property
    def money(self) -> frozenset[str]:
        """Whose amounts it looks at: `shipping`, `handling`, `goods`."""
        return frozenset(
            name
            for rule in self.rules
            for name in ("shipping", "handling", "goods")
            if Decimal(getattr(rule.objective, name))
        )


DEFAULT = RuleSet(
    name="Fewest parcels, then nearest",
    currency="EUR",
    rules=(
        Rule(
            name="Fewest parcels, then nearest",
            # A parcel more is worse than any way round the earth, five hundred times.
            objective=Objective(parcel_minor=10**8, parcel_km_minor="1"),
        ),
    ),
)
"""What counts where no rule set is active. It looks at no money."""
