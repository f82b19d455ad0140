import json
from collections import defaultdict
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sloctl.admission.tenants import Tenant, Tenants
from sloctl.config.tenants import OTHERS, Limits, TenantsConfig


def tenants(parts=1, **config):
    return Tenants(TenantsConfig.model_validate(config), parts)


def spend(who, name, now):
    """Seconds to wait, 0 if the request passes."""
    return who.find(name, now).spend(now)


def test_a_full_bucket_passes_a_burst_at_once_and_then_the_rate():
    tenant = Tenant("a", "a", Limits(rate=10, burst=3, weight=1))
    assert [tenant.spend(5.0) for _ in range(4)] == [0, 0, 0, 0.1]
    assert tenant.spend(5.1) == 0
    assert tenant.spend(5.1) == pytest.approx(0.1)


rates = st.floats(0.01, 1e5)
steps = st.lists(st.tuples(st.integers(0, 3), st.floats(0, 2)), max_size=80)


def passed_by_tenant(who, asked):
    """When each tenant's requests passed; `asked` is (tenant, seconds since the last one)."""
    now, passed = 1e6, defaultdict(list)
    for number, step in asked:
        now += step
        if not spend(who, f"t{number}", now):
            passed[f"t{number}"].append(now)
    return passed


def keeps(moments, rate, burst):
    """Whether no stretch of time has more than burst + rate·t."""
    return all(
        len(moments[i : j + 1]) <= burst + rate * (moments[j] - moments[i]) + 1e-3
        for i in range(len(moments))
        for j in range(i, len(moments))
    )


@given(rates, st.integers(1, 20), steps, st.integers(1, 4))
def test_no_stretch_of_time_has_more_than_the_burst_and_the_rate_however_many_are_remembered(rate, burst, asked, most):
    who = tenants(rate=rate, burst=burst, maxTracked=most)
    for moments in passed_by_tenant(who, asked).values():
        assert keeps(moments, rate, burst)
    assert len(who) <= most + 1


@given(rates, st.integers(1, 20), steps)
def test_tenants_are_independent_while_all_are_remembered(rate, burst, asked):
    together = passed_by_tenant(tenants(rate=rate, burst=burst), asked)
    for name in together:
        alone, now = tenants(rate=rate, burst=burst), 1e6
        passed = []
        for number, step in asked:
            now += step
            if f"t{number}" == name and not spend(alone, name, now):
                passed.append(now)
        assert passed == together[name]


@given(rates, st.integers(1, 20), st.integers(1, 40), st.floats(0, 5))
def test_after_the_time_it_was_told_a_request_passes_and_not_before(rate, burst, asked, later):
    tenant = Tenant("a", "a", Limits(rate, burst, 1))
    for _ in range(asked):
        tenant.spend(1e6)
    now = 1e6 + later
    wait = tenant.spend(now)
    if wait:
        early = wait - 3e-6  # waits are rounded up to a microsecond
        assert early <= 0 or tenant.spend(now + early) > 0
        assert tenant.spend(now + wait) == 0


@given(st.integers(1, 5), st.integers(1, 5), st.integers(5, 60))
def test_many_names_at_once_pass_no_more_than_their_buckets(burst, most, names):
    who = tenants(rate=1, burst=burst, maxTracked=most)
    passed = sum(spend(who, f"t{number}", 1e6) == 0 for number in range(names) for _ in range(burst + 1))
    assert passed == min(names, most + 1) * burst


def test_a_name_that_comes_back_after_being_pushed_out_has_not_gained_a_burst():
    who = tenants(rate=1, burst=2, maxTracked=1)
    assert [spend(who, "first", 100.0) for _ in range(2)] == [0, 0]
    assert spend(who, "mine", 100.0) == 0  # out of what all others share
    assert spend(who, "mine", 100.0) == 0
    # By now the first one is full and makes room; what mine took from the others' bucket it owes.
    assert spend(who, "mine", 102.0) == 0
    assert who.find("mine", 102.0) is not who.others
    assert spend(who, "mine", 102.0) == 0
    assert spend(who, "mine", 102.0) == pytest.approx(1.0)


def test_a_named_tenant_is_never_forgotten():
    who = tenants(rate=1, burst=1, maxTracked=1, each={"acme": {"rate": 2, "burst": 2}})
    mine = who.find("acme", 0.0)
    for number in range(20):
        spend(who, f"t{number}", float(number))
    assert who.find("acme", 30.0) is mine
    assert (mine.label, who.find("t1", 30.0).label) == ("acme", OTHERS)


@pytest.mark.parametrize(("unnamed", "same"), [("own", False), ("shared", True)])
def test_those_without_a_name_in_the_configuration_have_a_bucket_each_or_one_together(unnamed, same):
    who = tenants(rate=5, unnamed=unnamed)
    assert (who.find("a", 0.0) is who.find("b", 0.0)) is same


def test_a_tenant_that_has_to_be_named_and_is_not_is_nobody():
    who = tenants(rate=5, unnamed="refuse", each={"acme": {}})
    assert who.closed
    assert who.find("other", 0.0) is who.others
    assert who.find("acme", 0.0).label == "acme"


def test_several_processes_have_a_part_of_the_rate_each():
    each = [tenants(4, rate=8, burst=8) for _ in range(4)]
    assert sum(spend(who, "a", 1.0) == 0 for who in each for _ in range(8)) == 8
    assert sum(spend(who, "a", 2.0) == 0 for who in each for _ in range(8)) == 8


@settings(max_examples=20)
@given(st.integers(1, 200))
def test_no_rate_is_no_limit(count):
    who = tenants(each={"acme": {"weight": 2}})
    assert not any(spend(who, name, 1.0) for name in ("acme", "other") for _ in range(count))


@pytest.mark.parametrize(
    ("config", "limits"),
    [
        pytest.param({}, Limits(inf, 1, 1.0), id="nothing said is no limit"),
        pytest.param({"rate": 100}, Limits(100, 100, 1.0), id="a burst is what the rate gives in a second"),
        pytest.param({"rate": 0.2}, Limits(0.2, 1, 1.0), id="and at least one"),
        pytest.param({"rate": 100, "burst": 5, "weight": 2}, Limits(100, 5, 2.0), id="all is inherited"),
        pytest.param({"rate": 9, "burst": 5, "own": {"rate": 50}}, Limits(50, 50, 1.0), id="but no foreign burst"),
        pytest.param({"rate": 9, "own": {"rate": "unlimited"}}, Limits(inf, 1, 1.0), id="one may have no limit"),
        pytest.param({"rate": 9, "own": {"burst": 3, "weight": 4}}, Limits(9, 3, 4.0), id="a burst of its own"),
    ],
)
def test_what_a_tenant_does_not_have_of_its_own_is_as_for_all(config, limits):
    own = config.pop("own", {})
    assert TenantsConfig.model_validate(config | {"each": {"acme": own}}).limits["acme"] == limits


@pytest.mark.parametrize("rate", ["fast", "5/s", 0, -1, True, 2_000_000, float("nan")])
def test_what_is_no_rate_is_refused_in_words(rate):
    with pytest.raises(ValidationError, match="expected requests a second from"):
        TenantsConfig.model_validate({"rate": rate})


@given(st.one_of(st.just("unlimited"), st.floats(0.001, 1e6)), st.one_of(st.none(), st.integers(1, 100)))
def test_a_configuration_is_read_back_as_it_was(rate, burst):
    config = TenantsConfig.model_validate({"rate": rate, "burst": burst, "each": {"a": {"rate": rate}, "b": {}}})
    raw = json.loads(json.dumps(config.model_dump(mode="json", by_alias=True), allow_nan=False))
    assert TenantsConfig.model_validate(raw) == config
