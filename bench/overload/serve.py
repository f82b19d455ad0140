"""`sloctl` whose daemon starts emulated data planes: `python -m bench.overload.serve serve -c CONFIG`."""

from functools import wraps
from typing import Any

from sloctl.cli.main import main
from sloctl.control import supervisor

_REPLACED = {"sloctl.serving": "bench.overload.emulated"}


def install() -> None:
    """From now on this process' supervisor starts them."""
    name = "_plane"  # where the supervisor puts a plane's command together
    plane = getattr(supervisor, name)

    @wraps(plane)
    def replaced(label: str, module: str, *rest: Any) -> Any:
        return plane(label, _REPLACED.get(module, module), *rest)

    setattr(supervisor, name, replaced)


if __name__ == "__main__":
    install()
    main()
