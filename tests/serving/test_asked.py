"""What headers ask for: read alone, and over HTTP; gRPC's are in test_rpc."""

import json
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sloctl.config.daemon import DaemonConfig
from sloctl.serving.asked import Asked, Headers
from sloctl.serving.errors import RequestError
from sloctl.telemetry import catalogue as c

BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 1, 1, 1]}]}).encode()
PATH = "/v2/models/m/infer"
PRIORITY, TIMEOUT, TENANT = "x-sloctl-priority", "x-sloctl-timeout-ms", "x-sloctl-tenant"


def config(**fields):
    raw = {"apiVersion": "sloctl/v1", "kind": "Daemon", "models": [{"name": "m", "variants": ["a"]}], **fields}
    return DaemonConfig.model_validate(raw)


def read(found, **fields):
    return Headers(config(**fields)).read({name.encode(): value.encode("latin-1") for name, value in found.items()})


@pytest.mark.parametrize(
    ("found", "asked"),
    [
        pytest.param({}, Asked("default", None, inf), id="nothing"),
        pytest.param({PRIORITY: "low"}, Asked("default", 2, inf), id="a class by name"),
        pytest.param({PRIORITY: "1"}, Asked("default", 0, inf), id="V2's number, 1 the highest"),
        pytest.param({PRIORITY: "0"}, Asked("default", 1, inf), id="0 is the default"),
        pytest.param({PRIORITY: "99"}, Asked("default", 2, inf), id="beyond the last is the last"),
        pytest.param({TIMEOUT: "250"}, Asked("default", None, 0.25), id="milliseconds"),
        pytest.param({TENANT: "acme/eu:1"}, Asked("acme/eu:1", None, inf), id="a tenant"),
    ],
)
def test_reads_what_headers_ask_for(found, asked):
    assert read(found, tenants={}) == asked


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({PRIORITY: "urgent"}, "x-sloctl-priority is 'urgent'; expected one of high, normal, low, or a number"),
        ({PRIORITY: "-1"}, "expected one of high"),
        ({PRIORITY: "9" * 10}, "expected one of high"),
        ({PRIORITY: ""}, "expected one of high"),
        ({TIMEOUT: "0"}, "x-sloctl-timeout-ms is '0'; expected whole milliseconds from 1 on"),
        ({TIMEOUT: "1.5"}, "expected whole milliseconds"),
        ({TIMEOUT: "²"}, "expected whole milliseconds"),
        ({TENANT: ""}, "x-sloctl-tenant is ''; expected 1 to 128 visible ASCII characters"),
        ({TENANT: "(other)"}, "the first a letter or a digit"),
        ({TENANT: "a b"}, "expected 1 to 128"),
        ({TENANT: "a\n"}, "expected 1 to 128"),
        ({TENANT: "ä"}, "expected 1 to 128"),
        ({TENANT: "a" * 129}, f"is '{'a' * 40}…'"),
    ],
)
def test_a_wrong_value_is_refused_in_words(found, words):
    with pytest.raises(RequestError) as caught:
        read(found, tenants={})
    assert caught.value.status == 400
    assert words in caught.value.message


def test_the_names_of_headers_are_the_configurations_and_a_header_may_be_off():
    names = {"priorityHeader": "X-Class", "timeoutHeader": None}
    headers = Headers(config(serving=names, tenants={"header": "X-Customer"}))
    assert headers.names == {b"x-class", b"x-customer", b"x-sloctl-precision", b"x-sloctl-min-accuracy"}
    both = {b"x-sloctl-precision", b"x-sloctl-min-accuracy"}  # whether they may be used is a model's to say
    assert Headers(config(serving={"priorityHeader": None, "timeoutHeader": None})).names == both


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"tenants": {"header": "X-Sloctl-Priority"}}, id="one header for two things"),
        pytest.param({"tenants": {"header": "Content-Length"}}, id="one that has a meaning of its own"),
        pytest.param({"tenants": {"header": "X-Sloctl-Precision"}}, id="one of ours"),
        pytest.param({"tenants": {"header": "tenant-bin"}}, id="one that gRPC holds for binary"),
        pytest.param({"tenants": {"header": "x tenant"}}, id="one that is no name"),
        pytest.param({"tenants": {"rate": 0}}, id="a rate of nothing"),
        pytest.param({"tenants": {"each": {"(other)": {}}}}, id="the name of all others"),
    ],
)
def test_headers_and_tenants_that_cannot_be_are_refused(fields):
    with pytest.raises(ValidationError):
        config(**fields)


async def test_a_header_names_the_class_and_is_stronger_than_the_body(bench):
    await bench.call("POST", PATH, BODY, {PRIORITY: "high"})
    body = json.dumps({**json.loads(BODY), "parameters": {"priority": 1}}).encode()
    await bench.call("POST", PATH, body, {PRIORITY: "low"})
    assert bench.scalar(c.REQUESTS, "m", "high", "ok") == 1
    assert bench.scalar(c.REQUESTS, "m", "low", "ok") == 1


@pytest.mark.parametrize(
    ("header", "parameter", "sooner"),
    [pytest.param("50", 10_000_000, 0.05, id="the header"), pytest.param("60000", 1000, 0.001, id="the parameter")],
)
async def test_of_several_timeouts_the_sooner_holds(bench, monkeypatch, header, parameter, sooner):
    given, admit = [], bench.model.admit

    def watched(now, priority, deadline, *more):
        given.append(deadline - now)
        return admit(now, priority, 1e9, *more)

    monkeypatch.setattr(bench.model, "admit", watched)
    body = json.dumps({**json.loads(BODY), "parameters": {"timeout": parameter}}).encode()
    await bench.call("POST", PATH, body, {TIMEOUT: header})
    assert sooner - 0.05 < given[0] <= sooner


async def test_a_wrong_header_is_the_clients_mistake_and_so_is_one_that_comes_twice(bench):
    answer = await bench.call("POST", PATH, BODY, {PRIORITY: "urgent"})
    assert (answer.status, "expected one of high" in json.loads(answer.body)["error"]) == (400, True)
    answer = await bench.call("POST", PATH, BODY, {PRIORITY: "low", PRIORITY.title(): "high"})
    assert (answer.status, json.loads(answer.body)["error"]) == (400, "header x-sloctl-priority is given twice")
    assert bench.scalar(c.REQUESTS, "m", "normal", "invalid") == 2


async def test_over_its_rate_a_tenant_gets_429_and_when_to_come_back_and_others_are_served(make):
    bench = make(tenants={"rate": 0.1, "burst": 2})
    await bench.load()
    answers = [await bench.call("POST", PATH, BODY, {TENANT: "a"}) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    told = json.loads(answers[2].body)
    assert told["reason"] == "rate_limited"
    assert "tenant 'a' is over its rate of 0.1 requests a second" in told["error"]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 10
    assert (await bench.call("POST", PATH, BODY, {TENANT: "b"})).status == 200
    assert (await bench.call("POST", PATH, BODY)).status == 200
    assert bench.scalar(c.REQUESTS, "m", "normal", "rate_limited") == 1
    assert bench.model.inflight == 0


async def test_where_tenants_have_to_be_named_others_are_refused(make):
    bench = make(tenants={"unnamed": "refuse", "each": {"acme": {}}})
    await bench.load()
    assert (await bench.call("POST", PATH, BODY, {TENANT: "acme"})).status == 200
    for headers in ({}, {TENANT: "else"}):
        answer = await bench.call("POST", PATH, BODY, headers)
        assert (answer.status, json.loads(answer.body)["reason"]) == (403, "unknown_tenant")
    assert bench.scalar(c.REQUESTS, "m", "normal", "invalid") == 2


values = st.one_of(st.none(), st.binary(max_size=200), st.sampled_from([b"high", b"2", b"250", b"acme"]))


@given(values, values, values)
def test_whatever_stands_in_headers_is_understood_or_refused_with_400(tenant, priority, timeout):
    names = [name.encode() for name in (TENANT, PRIORITY, TIMEOUT)]
    found = {n: v for n, v in zip(names, (tenant, priority, timeout), strict=True) if v is not None}
    problem, asked = None, Asked("refused")
    try:
        asked = Headers(config(tenants={})).read(found)
    except RequestError as error:
        problem = error
    assert problem is None or (problem.status == 400 and len(problem.message) < 250)
    assert 1 <= len(asked.tenant) <= 128
    assert asked.tenant.isascii()
    assert asked.priority in {None, 0, 1, 2}
    assert asked.within > 0
