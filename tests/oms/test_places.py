"""Where a customer is, as far as a table can tell."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.places import (
    Point,
    distance_km,
    is_country,
    locate,
    parse_postal_table,
    postal_code_possible,
    postal_table,
)

SHIPPED = postal_table()
POINTS = st.builds(
    Point,
    latitude=st.floats(min_value=-90, max_value=90),
    longitude=st.floats(min_value=-180, max_value=180),
)


@pytest.mark.parametrize("code", ["DE", "FR", "US", "GB", "AX", "ZW"])
def test_a_country_of_iso_3166_is_known(code: str) -> None:
    assert is_country(code)


@pytest.mark.parametrize("code", ["", "de", "XX", "UK", "EU", "XK", "ZZ", "DEU"])
def test_anything_else_is_no_country(code: str) -> None:
    assert not is_country(code)


@pytest.mark.parametrize(
    ("country", "code"),
    [
        ("FR", "69002"),
        ("DE", "01067"),
        ("NL", "1012 AB"),
        ("NL", "1012ab"),
        ("GB", "SW1A 1AA"),
        ("GB", "GIR 0AA"),
        ("US", "10001"),
        ("US", "10001-1234"),
        ("PL", "00-001"),
        ("SE", "111 20"),
        ("LU", "L-1111"),
        ("LU", "1111"),
        ("LV", "LV-1010"),
        ("HK", "whatever"),
    ],
)
def test_a_postal_code_in_its_countrys_form_is_possible(country: str, code: str) -> None:
    assert postal_code_possible(country, code)


@pytest.mark.parametrize(
    ("country", "code"),
    [
        ("FR", "6900"),
        ("FR", "ABCDE"),
        ("DE", "1234"),
        ("DE", "123456"),
        ("DE", "10115\n"[:-1] + "x"),
        ("NL", "0012"),
        ("GB", "SW1A 1AAX"),
        ("GB", "GIR 0AAX"),
        ("US", "1000"),
        ("PL", "00001x"),
        ("FR", ""),
    ],
)
def test_a_postal_code_in_another_form_is_impossible(country: str, code: str) -> None:
    assert not postal_code_possible(country, code)


def test_a_postal_code_of_the_table_is_found_where_the_table_says() -> None:
    lyon = locate("FR", "69002", SHIPPED)

    assert distance_km(lyon, Point(45.76, 4.83)) < 5


@pytest.mark.parametrize(
    ("country", "code", "town"),
    [
        ("NL", "3511 AP", Point(52.09, 5.12)),
        ("GB", "SW1A 1AA", Point(51.5, -0.13)),
        ("GB", "m11ae", Point(53.48, -2.24)),
        ("US", "10001-1234", Point(40.71, -74.0)),
        ("CA", "K1A 0B1", Point(45.42, -75.7)),
        ("PT", "4000-123", Point(41.15, -8.61)),
    ],
)
def test_a_code_of_one_street_is_found_by_its_district(
    country: str, code: str, town: Point
) -> None:
    assert distance_km(locate(country, code, SHIPPED), town) < 10


def test_a_code_outside_the_table_lies_in_the_middle_of_its_country() -> None:
    assert locate("FR", "99999", SHIPPED) == locate("FR", None, SHIPPED) == Point(46.5, 2.5)


def test_every_shipped_postal_code_is_possible_and_lies_near_its_country() -> None:
    districts_only = {"CA", "GB", "IE", "NL", "PT"}

    for (country, code), point in SHIPPED.items():
        # Canada and the United States are wide; no shipped town lies further out than this.
        assert distance_km(point, locate(country, None, SHIPPED)) < 4600, (country, code)
        if country not in districts_only | {"CZ", "GR", "JP", "LV", "PL", "SE", "SK"}:
            assert postal_code_possible(country, code), (country, code)


def test_a_retailers_own_table_may_be_compressed_and_knows_only_its_own(tmp_path: Path) -> None:
    file = tmp_path / "postal_codes.csv.gz"
    file.write_bytes(
        gzip.compress(b"country,postal_code,latitude,longitude\nFR,69002,1.5,2.5\nPL,00-001,5,6\n")
    )

    table = postal_table(file)

    assert locate("FR", "69002", table) == Point(1.5, 2.5)
    assert locate("PL", "00001", table) == Point(5, 6)
    assert locate("FR", "69001", table) == Point(46.5, 2.5)


@pytest.mark.parametrize("row", ["FR,69002,north,4", "FR,69002,45", "FR"])
def test_a_broken_row_of_a_table_is_named_by_its_line(row: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse_postal_table(["country,postal_code,latitude,longitude", row])


@pytest.mark.parametrize(
    ("here", "there", "km"),
    [
        (Point(48.857, 2.352), Point(45.764, 4.836), 392),
        (Point(52.52, 13.405), Point(40.713, -74.006), 6385),
        (Point(0, 179.5), Point(0, -179.5), 111),
        (Point(90, 0), Point(-90, 0), 20015),
    ],
)
def test_distances_agree_with_an_atlas(here: Point, there: Point, km: int) -> None:
    assert distance_km(here, there) == pytest.approx(km, rel=0.005)


@given(here=POINTS, there=POINTS)
def test_a_distance_is_the_same_both_ways_and_never_half_around_the_earth(
    here: Point, there: Point
) -> None:
    away = distance_km(here, there)

    assert 0 <= away <= 20_016
    assert away == distance_km(there, here)
    assert distance_km(here, here) == 0
