"""Ready-made return policies to start from; they come with the product."""

from workers.examples import Examples

_POLICIES = Examples("returns")
names, text, about = _POLICIES.names, _POLICIES.text, _POLICIES.about
