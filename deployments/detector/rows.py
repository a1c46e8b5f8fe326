"""RetinaFace's best rows, chosen and decoded where the network runs, in PyTorch.

A photo lies in the upper left of a canvas that may be larger. Every convolution and pooling that
looks beyond its own cell sees zeros outside of the photo, as it does outside of an unpadded photo,
so that the answers are those of the photo alone.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deployments.detector.anchors import (
    CENTRE_VARIANCE,
    SIZE_VARIANCE,
    anchors_for,
    cell_corners,
)
from deployments.detector.network import RetinaFace


@dataclass(frozen=True, slots=True)
class _Photos:
    """The photos of a batch: sizes int32 [B,2], height and width; the canvas's height."""

    sizes: Tensor
    height: int

    def cells(self, plane: Tensor) -> Tensor:
        """True for the cells of a plane [B,C,h,w] that a photo covers: bool [B,1,h,w]."""
        stride = self.height // plane.shape[2]
        rows, columns = (
            torch.arange(0, count * stride, stride, device=plane.device) < sizes[:, None]
            for count, sizes in zip(plane.shape[2:], self.sizes.unbind(1), strict=True)
        )
        return (rows[:, :, None] & columns[:, None, :])[:, None]


_KEPT_GRIDS = 64
# The batch in the network, for the hooks of its layers.
_photos: ContextVar[_Photos] = ContextVar("photos")


class BestRows(nn.Module):
    """RetinaFace on canvases: the best rows of each photo.

    Takes planes [B,3,H,W], H and W multiples of 32, and the photos' sizes, int32 [B,2]. Returns
    float32 [B,K,15]: score, box (x1 y1 x2 y2) and five landmarks (x y) in pixels, by falling
    score. Rows that score `lowest` or less are zeros. K is `count`, or the number of anchors.
    """

    def __init__(self, network: RetinaFace, *, count: int, lowest: float) -> None:
        super().__init__()
        self.network = network
        self._count, self._lowest = count, lowest
        self._grids: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d) and layer.padding not in (0, (0, 0)):
                layer.register_forward_pre_hook(_hide_surroundings)

    def forward(self, planes: Tensor, sizes: Tensor) -> Tensor:
        height, width = planes.shape[2:]
        token = _photos.set(_Photos(sizes, height))
        try:
            loc, conf, landmarks = self.network(planes)
        finally:
            _photos.reset(token)
        anchors, corners = self._grid(height, width, planes.device)
        inside = (corners < sizes[:, None]).all(dim=-1)  # [B,A]
        scores = conf[..., 1].float() * inside
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        scores, order = scores[:, : self._count, None], order[:, : self._count, None]
        loc = loc.gather(1, order.expand(-1, -1, 4)).float()
        landmarks = landmarks.gather(1, order.expand(-1, -1, 10)).float()
        rows = torch.cat([scores, _decoded(loc, landmarks, anchors[order[..., 0]])], dim=2)
        return torch.where(scores > self._lowest, rows, 0)

    def _grid(self, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Anchors float32 [A,4], and the corners of their cells, int32 [A,2]: y and x."""
        if (height, width) in self._grids:
            return self._grids[height, width]
        grid = (
            torch.from_numpy(anchors_for(height, width).copy()).to(device),
            torch.from_numpy(cell_corners(height, width)).to(device),
        )
        if len(self._grids) < _KEPT_GRIDS:  # recordings, made first, read theirs for ever
            self._grids[height, width] = grid
        return grid


def _hide_surroundings(_layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
    [plane] = inputs
    return (plane * _photos.get().cells(plane),)


def _decoded(loc: Tensor, landmarks: Tensor, anchors: Tensor) -> Tensor:
    """As `anchors.py` decodes: [B,K,4], [B,K,10] and anchors [B,K,4] -> float32 [B,K,14]."""
    middles, sides = anchors[..., :2], anchors[..., 2:]
    centres = middles + loc[..., :2] * CENTRE_VARIANCE * sides
    halves = sides * torch.exp(loc[..., 2:] * SIZE_VARIANCE) / 2
    points = landmarks.reshape(*landmarks.shape[:2], 5, 2) * CENTRE_VARIANCE
    points = middles[..., None, :] + points * sides[..., None, :]
    return torch.cat([centres - halves, centres + halves, points.flatten(2)], dim=2)
