"""Ids in paths: what cannot be an id names nothing (404), and PUT cannot make it (422)."""

from typing import Annotated

from fastapi import Path

from oms.fields import ID_PATTERN

PathId = Annotated[str, Path(pattern=ID_PATTERN)]
