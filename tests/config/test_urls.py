"""Addresses of HTTP services."""

import pytest
from pydantic import TypeAdapter, ValidationError

from sloctl.config.urls import Url, is_private

ADDRESS: TypeAdapter[str] = TypeAdapter(Url)


@pytest.mark.parametrize(
    ("text", "private"),
    [
        ("http://127.0.0.1:9093", True),
        ("http://localhost/am", True),
        ("http://[::1]:9093", True),
        ("https://am.example.org", True),
        ("http://am.example.org", False),
        ("http://127.0.0.1.example.org", False),
        ("http://[2001:db8::1]:80", False),
    ],
)
def test_an_address_is_private_by_tls_or_on_this_machine(text: str, private: bool) -> None:
    assert ADDRESS.validate_python(text) == text
    assert is_private(text) == private


def test_a_slash_at_the_end_is_dropped() -> None:
    assert ADDRESS.validate_python("https://am/path/") == "https://am/path"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "am:9093",
        "//am",
        "ftp://am",
        "file:///etc/passwd",
        "https://",
        "https://am:port",
        "https://am:99999",
        "https://am:0",
        "https://[::1",
        "https://me:secret@am",
        "https://me@am",
        "https://am?x=1",
        "https://am#x",
        "https://a m",
        "https://am\r\nx: y",
        "https://am" + "x" * 2000,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        ADDRESS.validate_python(text)
