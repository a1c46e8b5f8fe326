from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from deployments.errors import InvalidWeights
from deployments.recognizer.irse import RTSNetwork, alpha_from_entries
from deployments.runtime.checkpoints import load_strictly
from tests import stand_in
from tests.onnx_answers import onnx_answers

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def network() -> RTSNetwork:
    entries = stand_in.published_entries("rts_irse64")
    alpha = alpha_from_entries(entries, source="rts_irse64")
    network = RTSNetwork(alpha=alpha, rts_plus=False)
    load_strictly(network, entries=entries, source="rts_irse64")
    return network.eval()


def test_entries_are_those_of_the_published_checkpoint(network: RTSNetwork) -> None:
    entries = [(name, list(entry.shape)) for name, entry in network.state_dict().items()]
    assert entries == stand_in.published_shapes("rts_irse64")


@torch.inference_mode()
def test_embeddings_and_scores_are_those_of_the_published_network(network: RTSNetwork) -> None:
    embedding, uncertainty = network(stand_in.chips())
    assert stand_in.difference(normalize(embedding).numpy(), "rts_irse64.embedding") < TOLERANCE
    assert stand_in.difference(uncertainty.numpy(), "rts_irse64.score") < TOLERANCE


@torch.inference_mode()
def test_embeddings_and_scores_survive_the_export_to_onnx(
    network: RTSNetwork, tmp_path: Path
) -> None:
    chips = stand_in.chips()
    [answer] = onnx_answers(
        network,
        output_names=network.output_names,
        example=chips[:1],
        free_axes={0: "batch"},
        inputs=[chips],
        folder=tmp_path,
    )
    embedding = normalize(torch.from_numpy(answer["embedding"])).numpy()
    assert stand_in.difference(embedding, "rts_irse64.embedding") < TOLERANCE
    assert stand_in.difference(answer["uncertainty"], "rts_irse64.score") < TOLERANCE


def test_rts_plus_gives_alpha_uncertainties_for_each_chip() -> None:
    with torch.device("meta"):
        network = RTSNetwork(alpha=8, rts_plus=True).eval()
        embedding, uncertainty = network(torch.empty(2, 3, 112, 112))
    assert embedding.shape == (2, 512)
    assert uncertainty.shape == (2, 8)


def test_alpha_is_the_width_of_the_rts_plus_head() -> None:
    entries = {"logvar_rts_plus_backbone.0.weight": torch.empty(24, 25088, device="meta")}
    assert alpha_from_entries(entries, source="pytorch_model.pt") == 24


def test_entries_without_an_rts_plus_head_are_refused_by_name() -> None:
    with pytest.raises(InvalidWeights, match=r"pytorch_model\.pt.*logvar_rts_plus_backbone\.0"):
        alpha_from_entries({}, source="pytorch_model.pt")
