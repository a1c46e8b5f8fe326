from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from deployments.recognizer.iresnet import IResNet
from deployments.runtime.checkpoints import load_strictly
from tests import stand_in
from tests.onnx_answers import onnx_answers

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def network() -> IResNet:
    network = IResNet()
    entries = stand_in.published_entries("arcface_ir50")
    load_strictly(network, entries=entries, source="arcface_ir50")
    return network.eval()


def test_entries_are_those_of_the_published_checkpoint(network: IResNet) -> None:
    entries = [(name, list(entry.shape)) for name, entry in network.state_dict().items()]
    assert entries == stand_in.published_shapes("arcface_ir50")


@torch.inference_mode()
def test_embeddings_are_those_of_the_published_network(network: IResNet) -> None:
    embedding = normalize(network(stand_in.chips())).numpy()
    assert stand_in.difference(embedding, "arcface_ir50.embedding") < TOLERANCE


@torch.inference_mode()
def test_embeddings_survive_the_export_to_onnx(network: IResNet, tmp_path: Path) -> None:
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
    assert stand_in.difference(embedding, "arcface_ir50.embedding") < TOLERANCE
