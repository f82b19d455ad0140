import pytest
from pydantic import ValidationError

from sloctl.config.base import FROM_FILE, format_bytes, parse_bytes
from sloctl.config.daemon import ModelConfig


@pytest.mark.parametrize(
    ("text", "size"),
    [("512MiB", 512 << 20), ("2GiB", 2 << 30), ("1.5GB", 1_500_000_000), ("100B", 100), ("1TiB", 1 << 40)],
)
def test_bytes_with_their_unit(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("bad", ["", "5", "5 GiB", "-1GiB", "1gib", "GiB", 1.5, None, True])
def test_what_is_no_size_is_refused(bad):
    with pytest.raises(ValueError, match="expected bytes such as 512MiB or 2GiB"):
        parse_bytes(bad)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1536, "1.5 KiB"), (1 << 30, "1 GiB"), (-(3 << 20), "-3 MiB")]
)
def test_bytes_for_people(size, text):
    assert format_bytes(size) == text


def test_a_number_without_a_unit_is_refused_from_a_file():
    model = {"name": "m", "variants": ["fp32"], "memoryBudget": 1000}
    assert ModelConfig.model_validate(model).memory_budget == 1000
    with pytest.raises(ValidationError, match="expected bytes with a unit"):
        ModelConfig.model_validate(model, context=FROM_FILE)
