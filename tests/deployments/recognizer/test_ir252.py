import torch

from deployments.recognizer.ir252 import IR252
from tests.support import parity


def test_entries_are_those_of_the_published_checkpoint() -> None:
    with torch.device("meta"):
        network = IR252()
    assert parity.shapes_of(network) == parity.published_shapes("facemask_ir252")
