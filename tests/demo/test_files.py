"""A retailer may bring its own data."""

import gzip
import json
from pathlib import Path

import pytest

from workers.demo.files import DataMissing, opening_hours, read_retailer

ORDER = {"channel": "web-us", "reference": "1", "lines": []}
STORE = {"id": "s-1", "name": "One", "kind": "store", "hours": "Sun: 11-8", "manager": "nobody"}
FILES = {
    "locations.jsonl": json.dumps(STORE),
    "products.jsonl": json.dumps({"sku": "A", "name": "Lamp", "weight_g": 5}),
    "stock.csv": "sku,location,on_hand\nA,s-1,3",
    "orders.jsonl": "\n".join(json.dumps({"at": "2010-12-01", "order": ORDER}) for _ in range(3)),
    "postal_codes.csv": "country,postal_code,latitude,longitude\n",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_places_goods_stock_and_the_first_orders_are_read(directory: Path) -> None:
    read = read_retailer(directory, orders=2)

    assert read.orders == (ORDER, ORDER)
    assert read.products == {"A": {"name": "Lamp", "weight_g": 5}}
    assert read.stock == (("A", "s-1", 3),)
    assert read.channels == {"web-us": "web-us"}
    assert read.postal_table == directory / "postal_codes.csv"


def test_files_may_be_compressed(directory: Path) -> None:
    for name, text in FILES.items():
        (directory / name).unlink()
        (directory / f"{name}.gz").write_bytes(gzip.compress(text.encode()))

    read = read_retailer(directory, orders=1)

    assert read.stock == (("A", "s-1", 3),)
    assert read.postal_table == directory / "postal_codes.csv.gz"


def test_hours_become_opening_hours_and_what_the_api_does_not_know_is_named(
    directory: Path,
) -> None:
    read = read_retailer(directory, orders=1)

    assert read.locations == {
        "s-1": {"name": "One", "kind": "store", "opening_hours": {"sun": ["11:00", "20:00"]}}
    }
    assert read.dropped == {"manager"}


@pytest.mark.parametrize(
    ("written", "hours"),
    [
        ("Mon: 10-9; Thurs: 9-9:30", {"mon": ["10:00", "21:00"], "thu": ["09:00", "21:30"]}),
        ("Tue: 12-11:59", {"tue": ["12:00", "23:59"]}),
        ("Mon: 9:30 - 6", {"mon": ["09:30", "18:00"]}),
    ],
)
def test_hours_are_read_as_shops_write_them(written: str, hours: dict[str, list[str]]) -> None:
    assert opening_hours(written) == hours


@pytest.mark.parametrize("written", ["", "always", "Mon: closed", "Someday: 10-9", "Mon: 13-2"])
def test_hours_that_cannot_be_read_are_left_out(written: str) -> None:
    assert opening_hours(written) is None


def test_a_missing_file_is_named(directory: Path) -> None:
    (directory / "stock.csv").unlink()

    with pytest.raises(DataMissing, match=r"neither stock\.csv nor stock\.csv\.gz"):
        read_retailer(directory, orders=1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("stock.csv", "sku,location,on_hand\nA,s-1,three", "stock.csv, line 2"),
        ("stock.csv", "sku,location\nA,s-1", "stock.csv, line 2"),
        ("locations.jsonl", "{", "locations.jsonl, line 1"),
        ("orders.jsonl", "{}", "an order lacks 'order'"),
    ],
)
def test_a_broken_file_is_named_with_its_line(
    directory: Path, name: str, text: str, message: str
) -> None:
    (directory / name).write_text(text, encoding="utf-8")

    with pytest.raises(DataMissing, match=message):
        read_retailer(directory, orders=1)
