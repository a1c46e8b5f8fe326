import pytest
import torch

from deployments.errors import InvalidWeights
from deployments.recognizer.irse import RTSNetwork, alpha_from_entries, rts_network
from deployments.weights.checkpoints import Checkpoint
from tests.support import parity

ALPHA_ENTRY = "logvar_rts_plus_backbone.0.weight"


def network_for(configuration: dict[str, object], *, alpha: int = 24) -> RTSNetwork:
    entries = {ALPHA_ENTRY: torch.empty(alpha, 25088, device="meta")}
    with torch.device("meta"):
        return rts_network(Checkpoint(entries, configuration, "rts/pytorch_model.pt")).eval()


def alpha_of(network: RTSNetwork) -> int:
    return len(network.state_dict()[ALPHA_ENTRY])


def test_entries_are_those_of_the_published_checkpoint() -> None:
    network = network_for({}, alpha=32)
    assert parity.shapes_of(network) == parity.published_shapes("rts_irse64")


@pytest.mark.parametrize(
    ("configuration", "alpha", "rts_plus"),
    [
        ({}, 24, False),  # the width of the head
        ({"model": {"type": "rts-backbone", "alpha": 8, "rts_plus": True}}, 8, True),
        ({"alpha": 8, "rts_plus": True}, 8, True),
        ({"alpha": 8, "model": {"alpha": 16, "rts_plus": False}, "rts_plus": True}, 16, False),
        ({"model": "rts-backbone", "rts_plus": True}, 24, True),
        ({"alpha": None}, 24, False),
    ],
)
def test_alpha_and_rts_plus_are_looked_for_under_model_then_at_the_top_then_in_the_entries(
    configuration: dict[str, object], alpha: int, rts_plus: bool
) -> None:
    network = network_for(configuration)
    assert (alpha_of(network), network.rts_plus) == (alpha, rts_plus)


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"alpha": "8"}, r"alpha in its configuration\.json: expected a whole number .*'8'"),
        ({"alpha": 0}, "got 0"),
        ({"alpha": True}, "got True"),
        ({"rts_plus": 1}, r"rts_plus in its configuration\.json: expected true or false, got 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_file_and_key(
    configuration: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidWeights, match=rf"rts/pytorch_model\.pt: .*{message}"):
        network_for(configuration)


def test_alpha_is_the_width_of_the_rts_plus_head() -> None:
    entries = {ALPHA_ENTRY: torch.empty(24, 25088, device="meta")}
    assert alpha_from_entries(entries, source="pytorch_model.pt") == 24


def test_entries_without_an_rts_plus_head_are_refused_by_name() -> None:
    with pytest.raises(InvalidWeights, match=r"pytorch_model\.pt.*logvar_rts_plus_backbone\.0"):
        alpha_from_entries({}, source="pytorch_model.pt")
