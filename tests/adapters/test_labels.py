"""A label is right if a scanner reads it back, whatever the customer is called."""

import re

import pypdfium2
import pytest
import zxingcpp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.labels import Label, as_pdf, as_zpl
from oms.ports import Place

WAREHOUSE = Place(
    name="Retailer", line1="1 rue du Dépôt", city="Paris", postal_code="75001", country="FR"
)
ADA = Place(
    name="Ada Martin",
    line1="5 quai Tilsitt",
    line2="3e étage",
    city="Lyon",
    postal_code="69002",
    country="FR",
)
ANY_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=255)


def a_label(recipient: Place = ADA, tracking_number: str = "SIM123456789012") -> Label:
    return Label(
        carrier="simulator",
        tracking_number=tracking_number,
        order_number="K3M9-QXZ4-7",
        shipment="K3M9-QXZ4-7-S1",
        weight_g=1050,
        sender=WAREHOUSE,
        recipient=recipient,
    )


def scanned(pdf: bytes) -> list[tuple[str, str]]:
    page = pypdfium2.PdfDocument(pdf)[0]
    # 300 dots an inch, as the coarsest office printer has; a point is a 72nd of an inch.
    codes = zxingcpp.read_barcodes(page.render(scale=300 / 72).to_pil())
    return [(code.format.name, code.text) for code in codes]


def words(pdf: bytes) -> str:
    return str(pypdfium2.PdfDocument(pdf)[0].get_textpage().get_text_bounded())


def zpl_fields(zpl: str) -> list[str]:
    """Give what the printer is going to print, as the ZPL manual says it reads."""
    fields = re.findall(r"(\^FH_)?\^FD([^^~]*)\^FS", zpl)
    return [
        re.sub(r"_([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), text) if escaped else text
        for escaped, text in fields
    ]


@pytest.mark.parametrize("number", ["SIM123456789012", "A", "1Z-999.aa-10123456784", "X9" * 15])
def test_a_scanner_reads_the_tracking_number_from_the_paper(number: str) -> None:
    pdf = as_pdf(a_label(tracking_number=number))

    assert [text for _, text in scanned(pdf)] == [number]
    assert number in words(pdf)


def test_the_barcode_is_code_128_and_the_page_four_by_six_inches() -> None:
    pdf = as_pdf(a_label())

    ((symbology, _),) = scanned(pdf)
    assert symbology.replace("_", "") == "Code128"
    document = pypdfium2.PdfDocument(pdf)
    assert len(document) == 1
    assert document[0].get_size() == (288, 432)


def test_a_person_reads_who_gets_it_from_where_and_what_it_weighs() -> None:
    text = words(as_pdf(a_label()))

    for word in ("Ada Martin", "5 quai Tilsitt", "3e étage", "69002 Lyon", "75001 Paris"):
        assert word in text
    assert "Order K3M9-QXZ4-7" in text
    assert "Weight 1.050 kg" in text


@pytest.mark.parametrize("town", ["Łódź", "Őrség", "Αθήνα", "Пловдив", "Þingvellir", "Žižkov"])
def test_europe_can_be_spelled(town: str) -> None:
    recipient = ADA.model_copy(update={"city": town})

    assert town in words(as_pdf(a_label(recipient)))
    assert f"69002 {town}" in zpl_fields(as_zpl(a_label(recipient)))


def test_the_same_label_is_the_same_bytes() -> None:
    assert as_pdf(a_label()) == as_pdf(a_label())


@settings(max_examples=25)  # each draws a page
@given(name=ANY_TEXT, street=ANY_TEXT)
@example(name="Ada", street="\u200b")  # a sign without a width
@example(name="Ada", street="\x00")
def test_no_name_keeps_a_label_from_being_printed(name: str, street: str) -> None:
    recipient = ADA.model_copy(update={"name": name, "line1": street})

    assert as_pdf(a_label(recipient)).startswith(b"%PDF")


@given(name=ANY_TEXT)
def test_no_name_is_read_as_a_printers_command(name: str) -> None:
    plain, zpl = as_zpl(a_label()), as_zpl(a_label(ADA.model_copy(update={"name": name})))

    assert name in zpl_fields(zpl)
    assert zpl.count("^") == plain.count("^")
    assert "~" not in zpl


def test_the_zpl_is_one_label_with_one_barcode_in_utf_8() -> None:
    zpl = as_zpl(a_label())

    assert zpl.startswith("^XA\n^CI28\n^PW812\n^LL1218\n")
    assert zpl.endswith("^XZ\n")
    assert re.findall(r"\^BC[^^]*\^FD([^^]*)\^FS", zpl) == ["SIM123456789012"]
    assert "Weight 1.050 kg" in zpl_fields(zpl)


@pytest.mark.parametrize("number", ["", "A^XZ", "A>0", "Ä1", "1" * 31])
def test_a_tracking_number_no_printer_could_print_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="tracking_number"):
        a_label(tracking_number=number)
