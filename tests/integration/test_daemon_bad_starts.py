"""Starts that cannot work, and some that can in part: one message that says what to do, never a traceback."""

import os
import shutil
import socket

import pytest
from running_daemon import request, until

pytestmark = pytest.mark.integration

CONFIGURATION, PORT_OR_STATE = 1, 3  # exit statuses of `sloctl serve`


def _one_line(said):
    assert "Traceback" not in said
    lines = said.strip().splitlines()
    assert len(lines) == 1, said
    return lines[0]


@pytest.mark.parametrize("field", ["serving", "control"])
def test_a_port_in_use_is_named_with_the_field_to_change(serve_fails, field):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = serve_fails(**{field: {"port": port}, **({"control": {"port": 0}} if field == "serving" else {})})
    assert code == PORT_OR_STATE
    line = _one_line(said)
    assert line.startswith(f"error: cannot listen on 127.0.0.1:{port}: address already in use; ")
    assert f"{field}.port" in line


def test_a_file_in_place_of_the_state_directory(serve_fails, tmp_path):
    (tmp_path / "state").write_text("")
    code, said = serve_fails()
    assert code == PORT_OR_STATE
    line = _one_line(said)
    assert f"state directory {tmp_path}/state is not writable: " in line
    assert "stateDir" in line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "sloctl.yaml"),
        ("models: [", "sloctl.yaml:1:"),
        ("apiVersion: sloctl/v1\nkind: Daemon\nmodels: []\n", "sloctl.yaml:3:"),
        ("apiVersion: sloctl/v1\nkind: Daemon\nmodells: []\n", "modells"),
    ],
    ids=["no such file", "YAML that does not parse", "a daemon without models", "a misspelt field"],
)
def test_a_wrong_configuration_is_refused_with_its_place(serve_fails, tmp_path, text, says):
    path = tmp_path / "sloctl.yaml"
    if text is not None:
        path.write_text(text)
    code, said = serve_fails(config=path)
    assert code == CONFIGURATION
    assert says in said
    assert "Traceback" not in said


def test_a_corrupt_database_is_set_aside_and_a_new_one_begun(daemon, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    (state / "sloctl.db").write_bytes(b"no database " * 1000)
    served = daemon()
    assert served.infer()[0] == 200
    assert [kept.read_bytes()[:11] for kept in state.glob("sloctl.db.corrupt-*")] == [b"no database"]
    assert "set aside" in served.output
    assert "Traceback" not in served.output


@pytest.fixture
def damaged(repository, tmp_path):
    """A copy of the repository with these variants' model files cut in half."""

    def make(*variants):
        own = tmp_path / "damaged"
        shutil.copytree(repository, own)
        for variant in variants:
            path = own / "tiny" / variant / "model.onnx"
            os.truncate(path, path.stat().st_size // 2)
        return str(own)

    return make


def test_a_truncated_variant_is_left_out_and_the_other_serves(daemon, damaged):
    served = daemon(repository=damaged("exact"))
    status, headers, _ = served.infer()
    assert (status, headers["sloctl-variant"]) == (200, "rough")
    levels = {each["variant"]: each["levels"] for each in served.get("/health")[1]["variants"]}
    broken = [level for level in levels["exact"] if level["state"] == "failing"]
    assert [level["level"] for level in broken] == ["model"]
    assert "truncated" in broken[0]["message"]
    assert "import it anew" in broken[0]["message"]
    assert "Traceback" not in served.output


def test_without_any_variant_it_stays_up_and_says_why_it_is_not_ready(daemon, damaged):
    served = daemon(wait=False, repository=damaged("exact", "rough"))
    until(lambda: "truncated" in str(served.get("/health/ready")[1]["reasons"]), 20, "the reason is told")
    assert served.get("/health/ready")[0] == 503
    assert served.get("/health/live")[0] == 200
    assert request(served.serving, "GET", "/v2/health/ready")[0] == 503
    status, _, body = served.infer()
    assert status == 503, body
    said = served.cli("status")
    assert (said.returncode, "not ready" in said.stdout) == (1, True), said.stdout
    assert served.stop() == 0
    assert "Traceback" not in served.output
