"""The `sloctl` command: names and modules; each command imports what it needs when it runs."""

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

# command -> (module, function); in the order of --help
COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("sloctl.cli.serve", "serve"),
    "demo": ("sloctl.cli.demo", "demo"),
    "stack": ("sloctl.cli.stack", "stack"),
    "status": ("sloctl.cli.status", "status"),
    "decisions": ("sloctl.cli.decisions", "decisions"),
    "explain": ("sloctl.cli.explain", "explain"),
    "override": ("sloctl.cli.override", "override"),
    "maintenance": ("sloctl.cli.maintenance", "maintenance"),
    "layers": ("sloctl.cli.layers", "layers"),
    "simulate": ("sloctl.cli.simulate", "simulate"),
    "validate": ("sloctl.cli.validate", "validate"),
    "fmt": ("sloctl.cli.fmt", "fmt"),
    "schema": ("sloctl.cli.schema", "schema"),
    "convert": ("sloctl.cli.convert", "convert"),
    "test": ("sloctl.cli.test", "run_tests"),
    "backtest": ("sloctl.cli.backtest", "backtest"),
    "rules": ("sloctl.cli.rules", "rules"),
    "build": ("sloctl.cli.build", "build"),
    "advise": ("sloctl.cli.advise", "advise"),
    "import": ("sloctl.cli.import_model", "import_model"),
    "preflight": ("sloctl.cli.preflight", "preflight"),
    "dashboards": ("sloctl.cli.dashboards", "dashboards"),
    "doctor": ("sloctl.cli.doctor", "doctor"),
}


class _Lazy(TyperGroup):
    """Imports a command's module only when that command is named, so that each starts quickly."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name]
        single = typer.Typer(add_completion=False)
        single.command(cmd_name)(getattr(importlib.import_module(module), function))
        return typer.main.get_command(single)


app = typer.Typer(cls=_Lazy, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(value: bool) -> None:
    if value:
        from sloctl import __version__

        typer.echo(f"sloctl {__version__}")
        raise typer.Exit


@app.callback()
def _root(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True)) -> None:
    """SRE observability and SLO controller for inference engines: serve, measure, judge, act."""


def main(**extra: Any) -> None:
    """Entry point of the console script."""
    app(**extra)


if __name__ == "__main__":
    main()
