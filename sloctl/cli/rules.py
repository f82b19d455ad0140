"""`sloctl rules`: Prometheus rules for the SLOs that the daemon judges itself."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Compat(StrEnum):
    """Whose rules to write."""

    SLOTH = "sloth"


def rules(
    files: Annotated[list[Path] | None, typer.Argument(help="Files of SLOs, OpenSLO or Sloth.")] = None,
    windows: Annotated[Path | None, typer.Option(help="Alerting windows in place of the SRE workbook's.")] = None,
    compat: Annotated[
        Compat | None, typer.Option(help="Names, labels and expressions of another tool, for its dashboards.")
    ] = None,
    runbooks: Annotated[str, typer.Option(help="Address of the folder of the alerts' pages.")] = "docs/runbooks",
    builtin: Annotated[
        bool, typer.Option("--builtin", help="Alerts on sloctl itself and its GPUs, in place of those of SLOs.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="With --builtin: write nothing; say whether the output is current.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; standard output without it.")
    ] = None,
) -> None:
    """Write Prometheus recording and alerting rules for SLOs.

    Exit status: 0 written, 1 something is wrong with a file, 2 wrong usage, 3 the output cannot be written.
    """
    if builtin == bool(files) or (check and not (builtin and output)):
        raise typer.BadParameter("expected files of SLOs, or --builtin; and with --check both --builtin and --output")
    if builtin:
        _builtin(runbooks, output, check=check)
    else:
        _of_slos(files or [], windows, compat, runbooks, output)


def _builtin(runbooks: str, output: Path | None, *, check: bool) -> None:
    from sloctl.cli.generated import settle
    from sloctl.control.builtin import to_yaml

    if output is None:
        typer.echo(to_yaml(runbooks), nl=False)
    else:
        settle({output: to_yaml(runbooks)}, check=check)


def _of_slos(
    files: list[Path], windows: Path | None, compat: Compat | None, runbooks: str, output: Path | None
) -> None:
    from sloctl.cli.files import replace
    from sloctl.config.documents import load_bundle
    from sloctl.config.problems import ConfigError, require
    from sloctl.slo import sloth_rules
    from sloctl.slo.prometheus import dumped, to_yaml

    try:
        bundle = load_bundle([*files, windows] if windows else files)
        require(bundle.problems)
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if not bundle.objectives:
        typer.echo("error: there is no SLO in these files", err=True)
        raise typer.Exit(1)
    try:
        foreign = compat and sloth_rules.rule_groups(bundle.objectives, bundle.windows)
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    text = dumped(foreign) if foreign else to_yaml(bundle.objectives, bundle.windows, runbooks)
    if output is None:
        typer.echo(text, nl=False)
        return
    replace(output, text)
    typer.echo(f"{output}: rules for {len(bundle.objectives)} SLOs", err=True)
