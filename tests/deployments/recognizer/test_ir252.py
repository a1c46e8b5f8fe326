from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from deployments.recognizer.ir252 import IR252
from deployments.runtime.checkpoints import load_strictly
from tests import stand_in
from tests.onnx_answers import onnx_answers

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def network() -> IR252:
    network = IR252()
    entries = stand_in.published_entries("facemask_ir252")
    load_strictly(network, entries=entries, source="facemask_ir252")
    return network.eval()


def test_entries_are_those_of_the_published_checkpoint(network: IR252) -> None:
    entries = [(name, list(entry.shape)) for name, entry in network.state_dict().items()]
    assert entries == stand_in.published_shapes("facemask_ir252")


@torch.inference_mode()
def test_embeddings_are_those_of_the_published_network(network: IR252) -> None:
    embedding = normalize(network(stand_in.chips())).numpy()
    assert stand_in.difference(embedding, "facemask_ir252.embedding") < TOLERANCE


@torch.inference_mode()
def test_embeddings_survive_the_export_to_onnx(network: IR252, tmp_path: Path) -> None:
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
    assert stand_in.difference(embedding, "facemask_ir252.embedding") < TOLERANCE
