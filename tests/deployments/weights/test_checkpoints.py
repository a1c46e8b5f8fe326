from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from deployments.errors import InvalidWeights
from deployments.weights.checkpoints import load_checkpoint, load_entries, load_strictly

SOURCE = "pytorch_model.pt"


class Stem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.bn = nn.BatchNorm2d(4)


def stem_entries() -> dict[str, Tensor]:
    return {
        "conv.weight": torch.full((4, 3, 3, 3), 0.5),
        "bn.weight": torch.tensor([1.0, 2.0, 3.0, 4.0]),
        "bn.bias": torch.zeros(4),
        "bn.running_mean": torch.zeros(4),
        "bn.running_var": torch.ones(4),
    }


def assert_same(entries: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(entries) == list(expected)
    assert all(torch.equal(entries[name], expected[name]) for name in expected)


def test_a_plain_checkpoint_gives_its_entries(tmp_path: Path) -> None:
    torch.save(stem_entries(), tmp_path / SOURCE)
    assert_same(load_entries(tmp_path / SOURCE), stem_entries())


def test_a_checkpoint_may_wrap_its_entries_beside_other_values(tmp_path: Path) -> None:
    torch.save({"epoch": 250, "state_dict": stem_entries()}, tmp_path / SOURCE)
    assert_same(load_entries(tmp_path / SOURCE), stem_entries())


def test_the_prefix_of_a_parallel_module_is_taken_off(tmp_path: Path) -> None:
    prefixed = {f"module.{name}": entry for name, entry in stem_entries().items()}
    torch.save(prefixed, tmp_path / SOURCE)
    assert_same(load_entries(tmp_path / SOURCE), stem_entries())


def test_a_module_saved_by_its_parameters_gives_plain_tensors(tmp_path: Path) -> None:
    torch.save(dict(Stem().named_parameters()), tmp_path / SOURCE)
    assert not any(entry.requires_grad for entry in load_entries(tmp_path / SOURCE).values())


def test_a_safetensors_file_gives_its_entries(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(stem_entries(), path)
    entries = load_entries(path)
    assert_same({name: entries[name] for name in stem_entries()}, stem_entries())


def test_the_configuration_beside_a_checkpoint_is_read_with_it(tmp_path: Path) -> None:
    torch.save(stem_entries(), tmp_path / SOURCE)
    alone = load_checkpoint(tmp_path / SOURCE)
    assert (alone.configuration, alone.source) == ({}, str(tmp_path / SOURCE))
    (tmp_path / "configuration.json").write_text('{"model": {"alpha": 32}}')
    checkpoint = load_checkpoint(tmp_path / SOURCE)
    assert checkpoint.configuration == {"model": {"alpha": 32}}
    assert_same(dict(checkpoint.entries), stem_entries())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"model": ', "not readable as JSON"),
        (b"\xff\xfe\x00", "not readable as JSON"),
        (b"[1, 2]", "expected a JSON object, got list"),
    ],
)
def test_a_configuration_that_is_no_json_object_is_refused_by_name(
    content: bytes, message: str, tmp_path: Path
) -> None:
    torch.save(stem_entries(), tmp_path / SOURCE)
    (tmp_path / "configuration.json").write_bytes(content)
    with pytest.raises(InvalidWeights, match=rf"configuration\.json: {message}"):
        load_checkpoint(tmp_path / SOURCE)


class Touch:
    """A pickle that creates a file if it is loaded unchecked."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({**stem_entries(), "payload": Touch(trace)}, tmp_path / SOURCE)
    with pytest.raises(InvalidWeights, match=SOURCE):
        load_entries(tmp_path / SOURCE)
    assert not trace.exists()


@pytest.mark.parametrize("name", [SOURCE, "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1", b"\x80"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidWeights, match=name):
        load_entries(tmp_path / name)


def test_a_cut_off_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / SOURCE
    torch.save(stem_entries(), path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InvalidWeights, match=SOURCE):
        load_entries(path)


def test_an_entry_that_is_no_tensor_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({**stem_entries(), "epoch": 250}, tmp_path / SOURCE)
    with pytest.raises(InvalidWeights, match="'epoch': expected a tensor, got int"):
        load_entries(tmp_path / SOURCE)


def test_a_file_without_names_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / SOURCE)
    with pytest.raises(InvalidWeights, match="expected named tensors, got list"):
        load_entries(tmp_path / SOURCE)


@pytest.mark.parametrize("name", [SOURCE, "model.safetensors"])
def test_a_missing_file_is_not_called_damaged(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        load_entries(tmp_path / name)


def test_entries_that_fit_are_copied_with_or_without_step_counters() -> None:
    counter = {"bn.num_batches_tracked": torch.tensor(7)}
    for entries in (stem_entries(), {**stem_entries(), **counter}):
        stem = Stem()
        load_strictly(stem, entries=entries, source=SOURCE)
        assert stem.bn.weight.tolist() == [1.0, 2.0, 3.0, 4.0]
        assert (stem.conv.weight == 0.5).all()


def test_a_network_that_counts_no_steps_ignores_a_checkpoints_counters() -> None:
    layer = nn.Linear(2, 2, bias=False)
    entries = {"weight": torch.ones(2, 2), "num_batches_tracked": torch.tensor(7)}
    load_strictly(layer, entries=entries, source=SOURCE)
    assert layer.weight.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def misfit(entries: dict[str, Tensor]) -> str:
    stem = Stem()
    before = {name: entry.clone() for name, entry in stem.state_dict().items()}
    with pytest.raises(InvalidWeights) as caught:
        load_strictly(stem, entries=entries, source=SOURCE)
    assert_same(dict(stem.state_dict()), before)
    return caught.value.message


def test_the_first_missing_entry_is_named() -> None:
    entries = stem_entries()
    del entries["bn.bias"], entries["bn.running_var"]
    assert misfit(entries) == (
        "pytorch_model.pt does not fit Stem: entry 'bn.bias' is missing, expected shape [4]"
    )


def test_the_first_entry_of_another_shape_is_named_with_both_shapes() -> None:
    entries = {**stem_entries(), "conv.weight": torch.zeros(4, 1, 3, 3), "bn.bias": torch.zeros(5)}
    assert misfit(entries) == (
        "pytorch_model.pt does not fit Stem:"
        " entry 'conv.weight' has shape [4, 1, 3, 3], expected [4, 3, 3, 3]"
    )


def test_the_first_unexpected_entry_is_named() -> None:
    entries = {**stem_entries(), "fc.weight": torch.zeros(2, 4), "fc.bias": torch.zeros(2)}
    assert misfit(entries) == (
        "pytorch_model.pt does not fit Stem: entry 'fc.weight' is unexpected"
    )


def test_the_error_carries_file_network_and_entry_as_data() -> None:
    with pytest.raises(InvalidWeights) as caught:
        load_strictly(Stem(), entries={}, source=SOURCE)
    assert caught.value.details == {"source": SOURCE, "network": "Stem", "entry": "conv.weight"}
