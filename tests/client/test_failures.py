"""What the errors of client libraries say, the libraries' own where they are there."""

import errno
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.client import BadStatusLine, IncompleteRead

import grpc
import pytest
import tritonclient.grpc as triton
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from sloctl.client import InferenceError, describe
from sloctl.client.failures import of_grpc, of_http
from sloctl.client.http import retry_after


class FakeRpcError(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, *trailers: tuple[str, str]) -> None:
        self._code, self._trailers = code, trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "refused"

    def debug_error_string(self) -> str:
        return ""

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._trailers


def as_tritons_client(raw: FakeRpcError) -> None:
    try:
        raise raw
    except grpc.RpcError as error:
        triton._utils.raise_error_grpc(error)


HTTP = [
    # status, reason, sent again, taken on
    (503, "overloaded", True, False),
    (503, "draining", True, False),
    (503, "deadline", False, False),
    (503, "", True, False),
    (429, "rate_limited", True, False),
    (502, "", True, False),
    (504, "", False, False),
    (500, "engine_error", False, True),
    (400, "invalid", False, True),
    (404, "not_found", False, True),
    (413, "too_large", False, True),
]


@pytest.mark.parametrize(("status", "reason", "again", "accepted"), HTTP)
def test_http_answers(status, reason, again, accepted) -> None:
    failure = describe(InferenceError(status, "words", reason, 0.25))
    assert (failure.reason, failure.again, failure.accepted) == (reason or str(status), again, accepted)
    assert failure.after == 0.25
    assert of_http(status, reason).after == 0


GRPC = [
    # code, pushback, sent again, taken on
    ("UNAVAILABLE", "250", True, False),
    ("UNAVAILABLE", None, True, False),
    ("UNAVAILABLE", "-1", False, False),
    ("UNAVAILABLE", "soon", False, False),
    ("RESOURCE_EXHAUSTED", "250", True, False),
    ("RESOURCE_EXHAUSTED", None, False, True),
    ("DEADLINE_EXCEEDED", "250", False, False),
    ("INTERNAL", None, False, True),
    ("INVALID_ARGUMENT", None, False, True),
]


@pytest.mark.parametrize(("code", "pushback", "again", "accepted"), GRPC)
def test_grpc_statuses_by_themselves_and_inside_of_tritons_error(code, pushback, again, accepted) -> None:
    trailers = [("grpc-retry-pushback-ms", pushback)] if pushback else []
    raw = FakeRpcError(grpc.StatusCode[code], *trailers)
    with pytest.raises(InferenceServerException) as caught:
        as_tritons_client(raw)
    for failure in (describe(raw), describe(caught.value)):
        assert (failure.reason, failure.again, failure.accepted) == (code.lower(), again, accepted)
        assert failure.after == (0.25 if pushback == "250" else 0)


def test_the_servers_own_word_is_the_reason() -> None:
    assert of_grpc("UNAVAILABLE", [("sloctl-reason", "shed"), ("x-bin", b"\0")]).reason == "shed"


def test_tritons_http_error_has_the_status_alone() -> None:
    failure = describe(InferenceServerException("too many requests wait already", status="503"))
    assert (failure.reason, failure.again, failure.accepted, failure.after) == ("503", True, False, 0)
    assert not describe(InferenceServerException("no input 'z'", status="400")).again
    assert not describe(InferenceServerException("of the client itself")).again


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        ConnectionResetError(),
        TimeoutError(),
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        OSError(errno.EHOSTUNREACH, "No route to host"),
        IncompleteRead(b"{"),
        BadStatusLine(""),
    ],
)
def test_a_connection_that_fails_is_worth_another_attempt(error) -> None:
    failure = describe(error)
    assert (failure.reason, failure.again, failure.accepted) == ("unreachable", True, False)


def test_a_mistake_while_another_servers_refusal_is_handled_is_no_refusal() -> None:
    mistake = ValueError("of ours")
    mistake.__context__ = FakeRpcError(grpc.StatusCode.UNAVAILABLE)
    assert not describe(mistake).again


@pytest.mark.parametrize("error", [ValueError("of ours"), FileNotFoundError(), ZeroDivisionError()])
def test_a_mistake_on_this_side_is_not(error) -> None:
    assert not describe(error).again


# Retry-After

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3),
        ({"retry-after": "3", "retry-after-ms": "2250"}, 2.25),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, 90),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "x"}, None),
        ({"retry-after": "-3"}, None),
    ],
)
def test_retry_after_in_each_form(headers, seconds) -> None:
    assert retry_after(headers, NOW.timestamp()) == seconds


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_header_breaks_a_client(one, other) -> None:
    for headers in ({"retry-after": one}, {"retry-after-ms": other}):
        describe(InferenceError(503, "", "", retry_after(headers, 0.0)))
