"""Which variant serves a request."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.admission.tiers import Unmet, Wish, by_class
from sloctl.admission.tiers import choose as choose_of


@dataclass(frozen=True)
class Candidate:
    name: str
    accuracy: float
    pace: float = 1.0
    up: bool = True
    known: bool = True


def choose(wish, variants, own):
    return choose_of(wish, variants, own, lambda each: each.up)


EXACT = Candidate("fp32", 0.99, 4.0)
HALF = Candidate("fp16", 0.97, 2.0)
ROUGH = Candidate("int8", 0.9, 1.0)
LADDER = (EXACT, HALF, ROUGH)


@pytest.mark.parametrize(
    ("model", "tiers", "served"),
    [
        pytest.param(0, (-1, -1, -1), (0, 0, 0), id="without tiers all are served as the model is"),
        pytest.param(0, (-1, -1, 2), (0, 0, 2), id="a lower class has less"),
        pytest.param(2, (0, -1, -1), (0, 2, 2), id="the highest class keeps its precision while the model is degraded"),
        pytest.param(2, (-1, -1, 1), (2, 2, 2), id="a tier above the degraded model gives a lower class nothing more"),
        pytest.param(0, (-1, 1, -1), (0, 1, 1), id="a class below a tier has no more than that tier"),
    ],
)
def test_variants_by_class(model, tiers, served):
    assert by_class(model, tiers) == served


@given(st.integers(0, 5), st.lists(st.integers(-1, 5), min_size=1, max_size=8))
def test_no_class_is_served_more_accurately_than_a_higher_one_nor_than_its_tier(model, tiers):
    served = by_class(model, tiers)
    assert list(served) == sorted(served)
    for index, (variant, tier) in enumerate(zip(served, tiers, strict=True)):
        assert variant >= (tier if tier >= 0 else model)
        assert variant in (model, *tiers[: index + 1])


def test_the_own_variant_serves_where_it_is_accurate_enough_else_the_fastest_that_is():
    assert choose(Wish(accuracy=0.9), LADDER, ROUGH) is ROUGH
    assert choose(Wish(accuracy=0.9), LADDER, EXACT) is EXACT
    assert choose(Wish(accuracy=0.95), LADDER, ROUGH) is HALF
    assert choose(Wish(accuracy=0.98), LADDER, ROUGH) is EXACT


def test_a_named_variant_serves_and_no_other():
    assert choose(Wish("fp32"), LADDER, ROUGH) is EXACT
    down = (Candidate("fp32", 0.99, up=False), ROUGH)
    assert choose(Wish("fp32"), down, ROUGH) == Unmet("variant 'fp32' is not up", final=False)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (Wish("int4"), "there is no variant 'int4'; there is fp32, fp16, int8"),
        (Wish(accuracy=0.999), "no variant has an accuracy of 0.999; the most accurate one has 0.99"),
        (Wish("int8", 0.95), "variant 'int8' does not have an accuracy of 0.95"),
    ],
)
def test_what_no_variant_ever_meets_is_refused_for_good(wish, message):
    assert choose(wish, LADDER, EXACT) == Unmet(message, final=True)


def test_what_is_not_loaded_yet_may_be_accurate_enough():
    loading = Candidate("fp32", math.nan, up=False, known=False)
    assert choose(Wish(accuracy=0.95), (loading, ROUGH), ROUGH) == Unmet(
        "no variant with an accuracy of 0.95 is up", final=False
    )
    unmeasured = Candidate("fp32", math.nan)
    assert choose(Wish(accuracy=0.95), (unmeasured,), unmeasured) == Unmet(
        "no variant has an accuracy of 0.95; none was measured", final=True
    )


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        name=st.sampled_from("abcdef"),
        accuracy=st.floats(0, 1) | st.just(math.nan),
        pace=st.floats(0, 10),
        up=st.booleans(),
        known=st.booleans(),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda each: each.name,
)


@given(CANDIDATES, st.floats(0, 1, exclude_min=True), st.data())
def test_never_below_the_minimum_never_one_that_is_down_and_refused_only_where_there_is_none(variants, least, data):
    own = data.draw(st.sampled_from(variants))
    chosen = choose(Wish(accuracy=least), variants, own)
    able = [each for each in variants if each.accuracy >= least and each.up]
    if isinstance(chosen, Unmet):
        assert not able
        return
    assert chosen in able
    assert chosen is own if own in able else chosen.pace == min(each.pace for each in able)


@given(CANDIDATES, st.just(0.0) | st.floats(0, 1), st.data())
def test_a_name_gives_that_variant_or_nothing(variants, least, data):
    own, named = data.draw(st.sampled_from(variants)), data.draw(st.sampled_from(variants))
    chosen = choose(Wish(named.name, least), variants, own)
    if isinstance(chosen, Unmet):
        assert not (named.up and named.known and (not least or named.accuracy >= least))
    else:
        assert chosen is named
        assert named.up
        assert not least or named.accuracy >= least
