"""Ready-made documents to start from; they come with the product."""

from pathlib import Path

import oms


class Examples:
    """The files of one folder of `oms/data`; the first line of each says what it is for."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(oms.__file__).parent / "data" / folder

    def names(self) -> list[str]:
        """All of them."""
        return sorted(path.stem for path in self._folder.glob("*.yaml"))

    def text(self, name: str) -> str:
        """The file of one, with its comments."""
        return (self._folder / f"{name}.yaml").read_text(encoding="utf-8")

    def about(self, name: str) -> str:
        """What it is for: the first line of its file."""
        return self.text(name).partition("\n")[0].removeprefix("#").strip()
