"""Shipping labels of 4 by 6 inches, as PDF for office printers and as ZPL for label printers.

Both are drawn from the same `Label`, and the same label always gives the same bytes. The fonts
know Latin, Greek and Cyrillic; a letter of another script prints as an empty box in the PDF.
"""

import functools
import io

import fontpkg
from pydantic import BaseModel, ConfigDict, Field
from reportlab.graphics.barcode.code128 import Code128
from reportlab.graphics.barcode.qrencoder import QRCode, QRErrorCorrectLevel
from reportlab.lib.units import inch
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from oms.ports import Place

_WIDTH, _HEIGHT, _MARGIN = 4 * inch, 6 * inch, 0.2 * inch
_SMALLEST = 6.0  # points; what does not fit in this size is cut off
_FONT = "LabelText"

_DPI = 203  # of a label printer; a barcode's module is a whole number of its dots
_DOTS_WIDE, _DOTS_HIGH, _DOTS_MARGIN = 4 * _DPI, 6 * _DPI, 40
_QR_QUIET, _QR_PIXELS = 4, 8  # modules of white around it, as ISO/IEC 18004 asks; pixels a module
_ZPL_COMMANDS = frozenset("^~_\\")


class Label(BaseModel):
    """What stands on a parcel. Holds an address, so it is never logged.

    `tracking_number` is what the barcode says, at most 30 characters, or its bars would be finer
    than a scanner can tell apart; `weight_g` is in grams.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    carrier: str
    tracking_number: str = Field(pattern=r"^[A-Za-z0-9.-]{1,30}$")
    order_number: str
    shipment: str
    weight_g: int = Field(ge=1)
    sender: Place
    recipient: Place


def as_pdf(label: Label) -> bytes:
    """Draw the label on one page of 4 by 6 inches."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=(_WIDTH, _HEIGHT), invariant=1)
    canvas.setTitle(f"Label {label.tracking_number}")
    _load_font()
    _write(canvas, 5.65, 8, [label.carrier.upper(), *_lines(label.sender)])
    _rule(canvas, 4.6)
    _write(canvas, 4.35, 14, _lines(label.recipient))
    _rule(canvas, 2.7)
    _write(canvas, 2.5, 10, _details(label))
    _rule(canvas, 1.85)
    _barcode(canvas, label.tracking_number)
    canvas.showPage()
    canvas.save()
    return out.getvalue()


def as_zpl(label: Label) -> str:
    """Write the label in ZPL II, in UTF-8, for a printer of 203 dots an inch."""
    return "\n".join(
        [
            "^XA",
            "^CI28",
            f"^PW{_DOTS_WIDE}",
            f"^LL{_DOTS_HIGH}",
            *_zpl_texts(40, 28, [label.carrier.upper(), *_lines(label.sender)]),
            _zpl_rule(290),
            *_zpl_texts(310, 50, _lines(label.recipient)),
            _zpl_rule(670),
            *_zpl_texts(690, 36, _details(label)),
            _zpl_rule(830),
            _zpl_barcode(label.tracking_number),
            "^XZ",
            "",
        ]
    )


def as_qr(tracking_number: str) -> str:
    """Draw a tracking number as a QR code in SVG: a post office or a locker reads it off a phone.

    A quarter of it may be unreadable (level Q): screens are scratched, and reflect.
    """
    code = QRCode(None, QRErrorCorrectLevel.Q)
    code.addData(tracking_number)
    code.make()
    size = code.getModuleCount()
    whole = size + 2 * _QR_QUIET
    dark = "".join(
        f"M{column + _QR_QUIET} {row + _QR_QUIET}h1v1h-1z"
        for row in range(size)
        for column in range(size)
        if code.isDark(row, column)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole * _QR_PIXELS}"'
        f' height="{whole * _QR_PIXELS}" viewBox="0 0 {whole} {whole}"'
        ' shape-rendering="crispEdges">'
        f'<path fill="#fff" d="M0 0h{whole}v{whole}h-{whole}z"/><path d="{dark}"/></svg>\n'
    )


def _lines(place: Place) -> list[str]:
    """Give an address from the name down to the country, without empty lines."""
    town = " ".join(part for part in (place.postal_code, place.city) if part)
    lines = (place.name, place.line1, place.line2, town, place.region, place.country)
    return [line for line in lines if line]


def _details(label: Label) -> list[str]:
    kilos, grams = divmod(label.weight_g, 1000)
    return [
        f"Order {label.order_number}",
        f"Parcel {label.shipment}",
        f"Weight {kilos}.{grams:03d} kg",
    ]


def _dots_a_module(code: str) -> int:
    """Make the barcode as wide as fits between the margins; those are its quiet zones.

    A symbol is 11 modules wide; start and check are symbols, the stop is one of 13.
    """
    modules = 11 * (len(code) + 3) + 2
    return min(3, (_DOTS_WIDE - 2 * _DOTS_MARGIN) // modules)


# --- PDF ------------------------------------------------------------------------------------


@functools.cache
def _load_font() -> None:
    pdfmetrics.registerFont(TTFont(_FONT, str(fontpkg.path("noto-sans"))))


def _write(canvas: Canvas, top: float, size: float, lines: list[str]) -> None:
    """Write lines downwards from `top` inches, each made smaller until it fits the page."""
    room = _WIDTH - 2 * _MARGIN
    for row, line in enumerate(lines):
        width = pdfmetrics.stringWidth(line, _FONT, size)
        # Signs without a width, such as a zero-width space, fit at any size.
        shown = max(min(size, size * room / width), _SMALLEST) if width else size
        while pdfmetrics.stringWidth(line, _FONT, shown) > room:
            line = line[:-1]  # noqa: PLW2901 - cut until it fits
        canvas.setFont(_FONT, shown)
        canvas.drawString(_MARGIN, top * inch - row * size * 1.35, line)


def _rule(canvas: Canvas, height: float) -> None:
    canvas.line(_MARGIN, height * inch, _WIDTH - _MARGIN, height * inch)


def _barcode(canvas: Canvas, code: str) -> None:
    """Draw Code 128 with its text below."""
    module = _dots_a_module(code) * inch / _DPI
    bars = Code128(code, barWidth=module, barHeight=1.1 * inch, quiet=False)
    bars.drawOn(canvas, (_WIDTH - bars.width) / 2, 0.5 * inch)
    canvas.setFont(_FONT, 11)
    canvas.drawCentredString(_WIDTH / 2, 0.28 * inch, code)


# --- ZPL ------------------------------------------------------------------------------------


def _zpl_texts(top: int, height: int, lines: list[str]) -> list[str]:
    """Write lines downwards; the printer keeps each within its one row."""
    room, step = _DOTS_WIDE - 2 * _DOTS_MARGIN, height * 5 // 4
    return [
        f"^FO{_DOTS_MARGIN},{top + row * step}^A0N,{height}^TBN,{room},{height}^FH_^FD"
        f"{_zpl_escaped(line)}^FS"
        for row, line in enumerate(lines)
    ]


def _zpl_escaped(text: str) -> str:
    """Keep a customer's text from being read as commands; `^FH_` turns `_5E` back into `^`."""
    return "".join(
        f"_{ord(letter):02X}" if letter in _ZPL_COMMANDS or letter < " " else letter
        for letter in text
    )


def _zpl_rule(top: int) -> str:
    return f"^FO{_DOTS_MARGIN},{top}^GB{_DOTS_WIDE - 2 * _DOTS_MARGIN},3,3^FS"


def _zpl_barcode(code: str) -> str:
    """Draw Code 128, mode A: the printer chooses the subsets."""
    dots = _dots_a_module(code)
    return f"^FO{_DOTS_MARGIN},870^BY{dots}^BCN,220,Y,N,N,A^FD{code}^FS"
