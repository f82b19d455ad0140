"""Layer names as an H200 reported them (recorded/h200-layers.json), and the inspector's JSON as NVIDIA documents it."""

import json
from pathlib import Path

import pytest

from sloctl.engines.inspector import from_names, of_name, parse

RECORDED = json.loads((Path(__file__).parent / "recorded" / "h200-layers.json").read_text())


@pytest.mark.parametrize(
    ("name", "kind", "nodes"),
    [
        ("fc", "compute", ("fc",)),
        ("stem.conv + stem.relu", "compute", ("stem.conv", "stem.relu")),
        ("PWN(block0.add, PWN(block0.relu2))", "compute", ("block0.add", "block0.relu2")),
        ("w + w_QuantizeLinear + conv + PWN(relu1)", "compute", ("w", "w_QuantizeLinear", "conv", "relu1")),
        ("Reformatting CopyNode for Input Tensor 0 to stem.conv + stem.relu", "reformat", ()),
        ("Reformatting CopyNode for Output Tensor 0 to fc", "reformat", ()),
        ("/concat/Concat_303 copy", "copy", ()),
        ("{ForeignNode[/encoder/MatMul.../encoder/Add_7]}", "compute", ("/encoder/MatMul", "/encoder/Add_7")),
    ],
)
def test_a_fused_name_tells_its_nodes_and_whether_it_computes(name: str, kind: str, nodes: tuple[str, ...]):
    info = of_name(name)
    assert (info.kind, info.nodes) == (kind, nodes)


@pytest.mark.parametrize("precision", sorted(RECORDED))
def test_every_convolution_of_the_model_is_in_exactly_one_layer_of_each_plan(precision: str):
    layers = from_names(name for name, _ in RECORDED[precision])
    nodes = [node for info in layers.values() for node in info.nodes]
    convolutions = {f"block{i}.conv{j}" for i in range(8) for j in (1, 2)} | {"stem.conv", "fc"}
    assert all(nodes.count(node) == 1 for node in convolutions)


def test_detailed_json_names_the_onnx_nodes_and_the_kind():
    text = json.dumps(
        {
            "Layers": [
                {
                    "Name": "/conv1/Conv + /relu/Relu",
                    "LayerType": "CaskConvolution",
                    "Metadata": "[ONNX Layer: /conv1/Conv]\x1e[ONNX Layer: /relu/Relu]",
                },
                {"Name": "__mye12", "LayerType": "kgen", "Metadata": "[ONNX Layer: /a]\x1f[ONNX Layer: /b]\x1f"},
                {"Name": "odd", "LayerType": "Reformat", "Metadata": "[ONNX Layer: /c]"},
                {"Name": "bare", "LayerType": "NoOp", "Metadata": ""},
            ],
            "Bindings": ["x", "y"],
        }
    )
    found = {name: (info.kind, info.nodes) for name, info in parse(text).items()}
    assert found == {
        "/conv1/Conv + /relu/Relu": ("compute", ("/conv1/Conv", "/relu/Relu")),
        "__mye12": ("compute", ("/a", "/b")),
        "odd": ("reformat", ()),
        "bare": ("compute", ("bare",)),
    }


def test_names_only_and_nothing_at_all():
    assert parse('{"Layers": ["a + b", ""]}')["a + b"].nodes == ("a", "b")
    assert parse('{"Layers": []}') == parse('{"Layers": null}') == parse("[]") == {}
    with pytest.raises(ValueError, match="Expecting value"):
        parse("Error: no information")
