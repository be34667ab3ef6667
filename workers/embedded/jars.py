"""Resolve a Maven coordinate and copy its jars: ``jars COORDINATE FOLDER``.

Runs with `jgo` on its path, which is in no environment of ours.
"""

import importlib
import shutil
import sys
from pathlib import Path


def main() -> None:
    """Copy every jar the coordinate needs at run time."""
    coordinate, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    jgo = importlib.import_module("jgo")
    for artifact in jgo.resolve(coordinate):
        jar = Path(artifact.resolve())
        shutil.copy(jar, folder / jar.name)


if __name__ == "__main__":
    main()
