"""Files of routing rules."""

from pathlib import Path

from oms.rule_checks import read_rule_set
from oms.rules import RuleSet
from workers.document_files import DocumentFile, parse, read_file


def read_rules(path: Path) -> DocumentFile[RuleSet]:
    """Read a file, and tell every error that can be told without knowing places and articles.

    Raises:
        OSError
    """
    return read_file(path, read_rule_set)


def parse_rules(raw: bytes) -> DocumentFile[RuleSet]:
    """The same, of what a file holds."""
    return parse(raw, read_rule_set)
