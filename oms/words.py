"""How counts are said in sentences that people read."""


def count_of(count: int, noun: str) -> str:
    """`1 unit`, `2 units`, `0 units`; thousands with commas. For nouns that take an s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def is_or_are(count: int) -> str:
    """The verb behind a count."""
    return "is" if count == 1 else "are"
