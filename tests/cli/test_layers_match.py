"""Layers of two precisions, matched by the model's own nodes."""

import json
from pathlib import Path

import pytest

from sloctl.cli.layers import matched
from sloctl.engines.inspector import of_name

RECORDED = json.loads((Path(__file__).parents[1] / "engines" / "recorded" / "h200-layers.json").read_text())


def _layers(precision: str) -> list[dict]:
    return [
        {"layer": name, "nodes": list(of_name(name).nodes), "meanSeconds": seconds}
        for name, seconds in RECORDED[precision]
    ]


def test_what_one_precision_fuses_and_another_does_not_is_one_pair():
    found = {pair.names: pair.seconds for pair in matched(_layers("fp16"), _layers("int8"))}
    names = (
        "block0.conv2 + block0.add + block0.relu2",
        "block0.conv2.weight + block0.conv2.weight_QuantizeLinear + block0.conv2; PWN(block0.add, PWN(block0.relu2))",
    )
    times = dict(map(tuple, RECORDED["int8"]))
    assert found[names][1] == pytest.approx(sum(times[name] for name in names[1].split("; ")))


@pytest.mark.parametrize("other", ["fp32", "tf32", "int8"])
def test_every_layer_is_in_exactly_one_pair_and_no_time_is_lost(other: str):
    pairs = matched(_layers("fp16"), _layers(other))
    for side, precision in enumerate(("fp16", other)):
        assert sum(pair.seconds[side] or 0 for pair in pairs) == pytest.approx(sum(s for _, s in RECORDED[precision]))
        shown = [name for pair in pairs for name in pair.names[side].split("; ") if name]
        assert sorted(shown) == sorted(name for name, _ in RECORDED[precision])


def test_layers_that_only_move_data_stand_alone():
    pairs = matched(_layers("fp16"), _layers("fp32"))
    alone = [pair for pair in pairs if pair.names[0].startswith("Reformatting")]
    assert alone
    assert all(pair.names[1] == "" and pair.seconds[1] is None for pair in alone)
