"""Labels and annotations that somebody gives an alert: what a Prometheus would refuse the whole rule file for."""

import re
from typing import Annotated

from pydantic import AfterValidator

_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_ACTION = re.compile(r"\{\{.*?\}\}", re.DOTALL)


def _texts(texts: dict[str, str]) -> dict[str, str]:
    for name, text in texts.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name; expected letters, digits and underscores, and none twice in front")
        if "{{" in _ACTION.sub("", text):
            raise ValueError(f"{name}: a template that does not end; expected }}}} after its {{{{")
    return texts


Texts = Annotated[dict[str, str], AfterValidator(_texts)]
"""Labels or annotations of an alert by name; the texts are templates of Prometheus."""
