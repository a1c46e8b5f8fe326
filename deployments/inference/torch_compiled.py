"""Networks that `torch.compile` compiles. Importing this takes seconds, as PyTorch's compiler does.

Run on the CPU, never on a real GPU so far.
"""

import torch
from torch import Tensor, nn
from torch._dynamo.decorators import maybe_mark_dynamic
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

from deployments.errors import InvalidConfig
from deployments.inference.torch_modes import Forward


class Compiled:
    """Compiles a network, whole or not at all, when it is first called.

    One image, and several, are compiled apart. The size of a batch is free then, and that of the
    images if `any_size`. Where PyTorch finds that what it compiled does not fit an input, it
    compiles once more, up to `torch._dynamo.config.recompile_limit` times for all networks of the
    process; inputs that would need yet another are run as if eager, with a warning by PyTorch.
    """

    def __init__(self, network: nn.Module, *, name: str, any_size: bool) -> None:
        self._network: Forward = network
        self._compiled: Forward = torch.compile(network, fullgraph=True)
        self._name = name
        self._free_axes = (0, 1, 2) if any_size else (0,)

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """uint8 [B,H,W,3] -> float32 [B,...]. Raises InvalidConfig if compiling fails."""
        maybe_mark_dynamic(images, self._free_axes)
        try:
            return self._compiled(images)
        except FailOnRecompileLimitHit:
            return self._network(images)
        except TorchDynamoException as error:
            reason = str(error).partition("\n")[0]
            raise InvalidConfig(
                f"torch_mode: compile fails for {self._name}: {reason}; it needs a C++ compiler on"
                " the cpu, Triton on cuda"
            ) from error
