"""Names of devices, and what the checks say of them."""

from pathlib import Path

import pytest

from sloctl.config.devices import labels, local, visible
from sloctl.config.problems import Code
from sloctl.config.project import examine

GPU = "GPU-5d2c6f2e-0b1c-4a68-9c0a-3f6d0a2b7c1"
MIG = "MIG-5d2c6f2e-0b1c-4a68-9c0a-3f6d0a2b7c1"


def test_a_process_sees_its_own_device_first_and_each_once() -> None:
    assert visible([GPU + "1", GPU + "2", GPU + "1"]) == (GPU + "1", GPU + "2")
    assert visible([GPU + "1", "cpu"]) == (GPU + "1",)
    assert visible(["cuda:1", GPU + "2"]) == ()
    assert visible(["cpu"]) == ()


def test_what_is_seen_goes_by_its_place() -> None:
    seen = visible([GPU + "1", GPU + "2"])
    assert [local(device, seen) for device in (GPU + "1", GPU + "2", "cpu")] == ["cuda:0", "cuda:1", "cpu"]
    assert local("cuda:3", ()) == "cuda:3"


def test_labels_differ() -> None:
    assert labels(["cpu"]) == ("cpu",)
    assert labels(["cpu", "cpu", "cuda:0", "cpu"]) == ("cpu", "cpu#2", "cuda:0", "cpu#3")


@pytest.mark.parametrize(
    ("devices", "variant", "field"),
    [
        ("devices: [cpu, cpu]", "fp32", None),
        (f"devices: [{GPU}1, {GPU}2]", "fp32", None),
        (f"devices: [{GPU}1, {GPU}1]", "fp32", "devices[1]"),
        (f"devices: [{GPU}1, {GPU.lower().replace('gpu', 'GPU')}1]", "fp32", "devices[1]"),
        ("devices: [gpu0]", "fp32", "devices[0]"),
        ("device: cuda", "fp32", "device"),
        ("{device: cpu, devices: [cpu]}", "fp32", "device"),
        (f"device: {MIG}1", "fp32", None),
        (f"devices: [{MIG}1, {MIG}2]", "fp32", None),
        (f"device: {GPU}1", f"{{name: fp32, device: {GPU}2}}", None),
        (f"device: {GPU}1", "{name: fp32, device: gpu2}", "models[0].variants[0].device"),
        (f"device: {GPU}1", f"{{name: fp32, device: {MIG}2}}", "models[0].variants[0].device"),
        (f"device: {MIG}1", f"{{name: fp32, device: {MIG}1}}", None),
        (f"devices: [{MIG}1, {MIG}2]", f"{{name: fp32, device: {MIG}1}}", "models[0].variants[0].device"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(tmp_path: Path, devices: str, variant: str, field: str | None) -> None:
    path = tmp_path / "sloctl.yaml"
    lines = devices.strip("{}").replace("cpu, devices", "cpu\ndevices")
    path.write_text(f"apiVersion: sloctl/v1\nkind: Daemon\n{lines}\nmodels: [{{name: m, variants: [{variant}]}}]\n")
    _, _, problems = examine(path)
    assert [(problem.code, problem.field) for problem in problems] == ([(Code.INVALID_DEVICE, field)] if field else [])
    assert all(problem.line > 0 for problem in problems)
