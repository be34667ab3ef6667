"""Files that people write: YAML of JSON's types only, each error at its line and column.

JSON is read as well. `NO` stays a text, `1.10` is a number, nothing is guessed. Nothing in a file
is run; aliases are refused, and depth and size bounded, so that no small file is a large one.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import yaml
from typing_extensions import override

from oms.fields import Flaw
from oms.flaws import escaped

T = TypeVar("T")
Reader = Callable[[Any], T | tuple[Flaw, ...]]
"""Makes of a document what it says, or tells every error of it."""

MOST_BYTES = 1024 * 1024
MOST_DEPTH = 64


class Place(NamedTuple):
    """Where something stands in a file, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class FileError:
    """Something wrong in a file. `pointer` is empty where it cannot be read at all."""

    place: Place
    pointer: str
    code: str
    detail: str


@dataclass(frozen=True)
class DocumentFile(Generic[T]):
    """What a file holds: as it was written, and as it was read, unless something is wrong.

    `names` and `values`: where each field's name and value stand.
    """

    document: Any = None
    content: T | None = None
    errors: tuple[FileError, ...] = ()
    names: Mapping[str, Place] = field(default_factory=dict)
    values: Mapping[str, Place] = field(default_factory=dict)

    def located(self, flaws: Iterable[Flaw]) -> tuple[FileError, ...]:
        """Find out where flaws stand: what is missing, at what it is missing from."""
        return tuple(
            sorted(
                FileError(self._place(flaw), flaw.pointer, flaw.code, flaw.detail) for flaw in flaws
            )
        )

    def _place(self, flaw: Flaw) -> Place:
        if flaw.code in ("unknown_field", "reserved_name") and flaw.pointer in self.names:
            return self.names[flaw.pointer]
        pointer = flaw.pointer
        while pointer not in self.values and pointer:
            pointer = pointer.rpartition("/")[0]
        return self.values.get(pointer, Place(1, 1))


def read_file(path: Path, reader: Reader[T]) -> DocumentFile[T]:
    """Read a file, and tell every error that can be told without knowing places and articles.

    Raises:
        OSError
    """
    with path.open("rb") as file:
        raw = file.read(MOST_BYTES + 1)
    return parse(raw, reader)


def parse(raw: bytes, reader: Reader[T]) -> DocumentFile[T]:
    """The same, of what a file holds."""
    if len(raw) > MOST_BYTES:
        return _unreadable(Place(1, 1), "too_large", f"At most {MOST_BYTES} bytes.")
    try:
        text = _spaced(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as fault:
        before = raw[: fault.start]
        place = Place(before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        return _unreadable(place, "malformed", "This is no UTF-8.")
    reading = _Reading()
    try:
        document = reading.value(_composed(text, reading), "")
    except yaml.reader.ReaderError as fault:
        return _unreadable(_place_of(text, fault.position), "malformed", "No such character here.")
    except yaml.MarkedYAMLError as fault:
        return _unreadable(_marked(fault), "malformed", _sentence(fault))
    read = DocumentFile[T](document, names=reading.names, values=reading.values)
    found = reader(document)
    flaws = found if isinstance(found, tuple) else ()
    # What could not be read is told once, not also as what stands there instead.
    wrong = {error.place for error in reading.errors}
    located = [each for each in read.located(flaws) if each.place not in wrong]
    errors = tuple(sorted([*reading.errors, *located]))
    content = None if isinstance(found, tuple) or errors else found
    return DocumentFile(document, content, errors, reading.names, reading.values)


# --- YAML of JSON's types -------------------------------------------------------------------

_NULL, _TRUTH, _INT, _FLOAT, _TEXT = (
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")
)
_CONTAINERS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_DIGITS = 40
"""Integers of more digits are left as texts, which no field of numbers takes."""


class _Loader(yaml.SafeLoader):
    """Composes nodes; values that look like JSON's are JSON's, all others texts."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 # theirs

    def __init__(self, text: str, reading: "_Reading") -> None:
        super().__init__(text)
        self._reading, self._depth = reading, 0

    @override
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose what comes next; an alias is told and stands for nothing."""
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()  # type: ignore[no-untyped-call] # theirs
            self._reading.alias(event.start_mark)
            return yaml.ScalarNode(_NULL, "null", event.start_mark, event.end_mark)
        self._depth += 1
        if self._depth > MOST_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call] # theirs
            raise yaml.MarkedYAMLError(None, None, f"nested deeper than {MOST_DEPTH}", mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


for _tag, _pattern, _first in (
    (_NULL, r"^(?:null|)$", ["n", ""]),
    (_TRUTH, r"^(?:true|false)$", list("tf")),
    (_INT, r"^-?(?:0|[1-9][0-9]*)$", list("-0123456789")),
    (_FLOAT, r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$", list("-0123456789")),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)


def _composed(text: str, reading: "_Reading") -> yaml.Node | None:
    loader = _Loader(text, reading)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


class _Reading:
    """Turns nodes into values, and notes where they stand and what is wrong with them."""

    def __init__(self) -> None:
        self.errors: list[FileError] = []
        self.names: dict[str, Place] = {}
        self.values: dict[str, Place] = {}

    def alias(self, mark: yaml.Mark) -> None:
        """Tell that an alias is not read."""
        detail = "Aliases are not read here: write it out."
        self.errors.append(FileError(_at(mark), "", "not_allowed", detail))

    def value(self, node: yaml.Node | None, pointer: str) -> Any:
        """The value of a node."""
        if node is None:
            return None
        self.values[pointer] = _at(node.start_mark)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _CONTAINERS:
            self._wrong(node, pointer, "not_allowed", f"The tag {node.tag} is not read here.")
        if isinstance(node, yaml.MappingNode):
            return dict(self._fields(node, pointer))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, f"{pointer}/{i}") for i, each in enumerate(node.value)]
        return self._scalar(node, pointer)

    def _fields(self, node: yaml.MappingNode, pointer: str) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(key, pointer, "wrong_type", "A name is wanted here.")
                continue
            name = self._text(key, str(key.value), pointer)
            if name is None:
                continue
            here = f"{pointer}/{escaped(name)}"
            if name in seen:
                self._wrong(key, here, "repeated", f"`{name}` stands here twice.")
                continue
            seen.add(name)
            self.names[here] = _at(key.start_mark)
            yield name, self.value(child, here)

    def _scalar(self, node: yaml.Node, pointer: str) -> Any:
        text = str(node.value)
        match node.tag:
            case t if t == _NULL:
                return None
            case t if t == _TRUTH and text in ("true", "false"):
                return text == "true"
            case t if t == _INT and re.fullmatch(rf"-?[0-9]{{1,{_DIGITS}}}", text):
                return int(text)
            case t if t == _FLOAT and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?", text):
                return float(text)
            case t if t in (_TEXT, _INT):
                return self._text(node, text, pointer)
        self._wrong(node, pointer, "not_allowed", f"The tag {node.tag} is not read here.")
        return None

    def _text(self, node: yaml.Node, text: str, pointer: str) -> str | None:
        # JSON writes a character beyond the first 65,536 as two halves, which YAML leaves apart.
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._wrong(node, pointer, "not_allowed", "Half a character.")
            return None

    def _wrong(self, node: yaml.Node, pointer: str, code: str, detail: str) -> None:
        self.errors.append(FileError(_at(node.start_mark), pointer, code, detail))


def _spaced(text: str) -> str:
    """JSON may be indented by tabs, YAML may not; in JSON a tab is never part of a text."""
    if "\t" in text and text.lstrip().startswith("{"):
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return text
        return text.replace("\t", " ")
    return text


def _at(mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _marked(fault: yaml.MarkedYAMLError) -> Place:
    mark = fault.problem_mark or fault.context_mark
    return Place(1, 1) if mark is None else _at(mark)


def _sentence(fault: yaml.MarkedYAMLError) -> str:
    said = fault.problem or "this cannot be read"
    return f"{said[:1].upper()}{said[1:]}."


def _place_of(text: str, position: int) -> Place:
    before = text[:position]
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _unreadable(place: Place, code: str, detail: str) -> DocumentFile[Any]:
    return DocumentFile(errors=(FileError(place, "", code, detail),))
