"""Ready-made rule sets to start from; they come with the product."""

from workers.examples import Examples

_RULES = Examples("rules")
names, text, about = _RULES.names, _RULES.text, _RULES.about
