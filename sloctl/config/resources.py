"""Files that come with sloctl: rules, dashboards, the example model."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def resource(name: str) -> Path:
    """The path of a file or folder such as `rules/windows/sre-workbook.yaml`.

    An installed package carries them in `sloctl/_data`; a checkout has them at its top. Raises
    FileNotFoundError.
    """
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        if (path := root / name).exists():
            return path
    raise FileNotFoundError(f"{name} is missing from this installation of sloctl; install it again")
