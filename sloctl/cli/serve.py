"""`sloctl serve`: the daemon."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    config: Annotated[Path, typer.Option("--config", "-c", help="The daemon's configuration file.")],
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_json: Annotated[
        bool | None, typer.Option("--log-json/--log-text", help="By default, JSON unless a terminal.")
    ] = None,
) -> None:
    """Serve models and keep them within their objectives.

    SIGTERM drains and stops, SIGHUP reloads SLOs and policies. Exit status: 0 stopped, 1 wrong
    configuration, 2 wrong usage, 3 a port or the state directory cannot be used.
    """
    import json
    import sys

    from sloctl.config.problems import ConfigError
    from sloctl.config.project import load_project
    from sloctl.control.store import StateDirError, prepare_state_dir
    from sloctl.control.supervisor import PortError, Supervisor
    from sloctl.telemetry.logging import configure_logging

    try:
        configure_logging(log_level, log_json)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--log-level") from None
    try:
        project = load_project(config)
        prepare_state_dir(project.runtime.state_dir)
        supervisor = Supervisor(project.runtime, json.dumps(project.texts()))
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except (StateDirError, PortError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(3) from None
    for name, sock in (("serving", supervisor.data_socket), ("control", supervisor.control_socket)):
        host, port = sock.getsockname()[:2]
        typer.echo(f"sloctl: {name} on http://{host}:{port}", err=True)
    if supervisor.grpc_socket is not None:
        host, port = supervisor.grpc_socket.getsockname()[:2]
        typer.echo(f"sloctl: gRPC on {host}:{port}", err=True)
    sys.exit(supervisor.run())
