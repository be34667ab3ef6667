"""Ready-made rule sets to start from; they come with the product."""

from pathlib import Path

import oms

_FOLDER = Path(oms.__file__).parent / "data" / "rules"


def names() -> list[str]:
    """All of them."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def text(name: str) -> str:
    """The file of one, with its comments."""
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def about(name: str) -> str:
    """What it is for: the first line of its file."""
    return text(name).partition("\n")[0].removeprefix("#").strip()
