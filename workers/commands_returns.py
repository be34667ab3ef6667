"""`oms returns`: what comes back."""

import typer

from workers import commands_return_policy

app = typer.Typer(help="What comes back, and by which rules.")
app.add_typer(commands_return_policy.app, name="policy")
