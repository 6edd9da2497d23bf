# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""A field that is asked only where something can be: for looking at a field often, without gradients.

Two savings. The first linear layer is folded into the planes, which is exact up to rounding, since bilinear
interpolation is linear: W [f1; f2; f3] = W1 f1 + W2 f2 + W3 f3. And points in cells that hold no density to speak of
are not evaluated at all, which is bounded by `MAX_EMPTY_DENSITY`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from ..modeling.field import TriplaneField


# a point whose neighbourhood stays below this density, per radius of the box, adds an alpha of at most 1e-3 along a
# piece of ray as long as a fiftieth of the radius
MAX_EMPTY_DENSITY = 0.05
# points probed per cell along each axis, both faces included
PROBES = 3
# raw density of a point that is not evaluated: no activation leaves anything of it
EMPTY = -1e9
CHUNK_POINTS = 2**17


@dataclass(frozen=True, eq=False)
class PackedField(TriplaneField):
    """A triplane field with what is known of it ahead; made by `PackedField.pack`. It carries no gradients.

    Attributes:
        table: `(batch * 3 * (height + 2) * (width + 2), hidden)` planes times the first layer, with a rim of zeros.
        occupied: `(batch, resolution, resolution, resolution)` bool, indexed by x, y, z: cells worth a look.
    """

    table: Tensor
    occupied: Tensor

    @classmethod
    @torch.no_grad()
    def pack(cls, field: TriplaneField, resolution: int = 64, progress: bool = False) -> PackedField:
        """Folds the first layer and finds the cells that hold something.

        A cell is left out only if none of its probes and none of those of the 26 cells around it reaches
        `MAX_EMPTY_DENSITY`. The result is kept with the field until its planes or weights change in place.

        Args:
            field: what to look at.
            resolution: cells along each axis of the box.
            progress: shows a progress bar.
        """
        if isinstance(field, PackedField):
            return field
        known = getattr(field, "_packed", None)
        tensors = (field.planes, *field.weights, *field.biases)
        # tensors made in inference mode count no versions, and can't be changed in place outside of it
        version = (resolution, *(0 if part.is_inference() else part._version for part in tensors))
        if known is not None and known[0] == version:
            return known[1]
        with torch.autocast(field.device.type, enabled=False):
            packed = cls._pack(field, resolution, progress)
        object.__setattr__(field, "_packed", (version, packed))  # the field is frozen for everybody else
        return packed

    @classmethod
    def _pack(cls, field: TriplaneField, resolution: int, progress: bool) -> PackedField:
        batch = len(field)
        parts = (
            field.planes.detach(),
            tuple(w.detach() for w in field.weights),
            tuple(b.detach() for b in field.biases),
        )
        folded = torch.einsum(
            "bpchw,pcd->bphwd", parts[0], parts[1][0].t().reshape(3, field.config.channels, -1)
        )  # [batch, 3, height, width, hidden]
        table = F.pad(folded, (0, 0, 1, 1, 1, 1)).reshape(-1, folded.shape[-1])
        everything = torch.ones(batch, 1, 1, 1, dtype=torch.bool, device=field.device)
        packed = cls(*parts, field.config, table, everything)

        count = resolution * (PROBES - 1) + 1
        axis = torch.linspace(-1, 1, count, device=field.device) * field.config.radius
        density = torch.empty(batch, count, count, count, device=field.device)
        slab = max(1, CHUNK_POINTS // (batch * count * count))
        for start in tqdm(range(0, count, slab), desc="Finding empty space", disable=not progress, leave=False):
            x = axis[start : start + slab]
            points = torch.stack(torch.meshgrid(x, axis, axis, indexing="ij"), dim=-1).reshape(1, -1, 3)
            density[:, start : start + len(x)] = packed.query(points.expand(batch, -1, 3))[0].reshape(
                batch, len(x), count, count
            )
        # most of a cell, then of its neighbours
        highest = F.max_pool3d(density[:, None], kernel_size=PROBES, stride=PROBES - 1)
        highest = F.max_pool3d(highest, kernel_size=3, stride=1, padding=1)[:, 0]
        occupied = highest * field.config.radius > MAX_EMPTY_DENSITY
        return cls(*parts, field.config, table, occupied)

    def __getitem__(self, index: int | slice | Tensor | list[int]) -> TriplaneField:
        """A part of the batch, as a plain field that is packed anew where that pays."""
        return self._plain()[index]

    def to(self, device: torch.device | str) -> TriplaneField:
        """A plain field on another device."""
        return self._plain().to(device)

    def _plain(self) -> TriplaneField:
        return TriplaneField(self.planes, self.weights, self.biases, self.config)

    def raw(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """As `TriplaneField.raw`; where nothing can be, the density is zero and the colour black."""
        if points.ndim != 3 or points.shape[-1] != 3 or points.shape[0] != len(self):
            raise ValueError(f"`points` must have shape ({len(self)}, n, 3), got {tuple(points.shape)}.")
        points = points.to(self.planes.dtype)
        with torch.no_grad(), torch.autocast(points.device.type, enabled=False):
            batch, count = points.shape[:2]
            live = self._live(points).reshape(-1)
            index = live.nonzero()[:, 0]
            output = self._evaluate(points.reshape(-1, 3)[index], index // count)
            raw = points.new_full((batch * count, 1), EMPTY).index_copy_(0, index, output[:, :1])
            padding = self.config.color_padding
            color = torch.sigmoid(output[:, 1:]) * (1 + 2 * padding) - padding
            rgb = points.new_zeros(batch * count, 3).index_copy_(0, index, color)
        return raw.reshape(batch, count, 1), rgb.reshape(batch, count, 3)

    def _live(self, points: Tensor) -> Tensor:
        """`(batch, n)`: whether a point lies in an occupied cell; points beside the box count with the outermost."""
        resolution = self.occupied.shape[1]
        cell = ((points / self.config.radius + 1) * (resolution / 2)).clamp(0, resolution - 1).long()
        flat = (cell[..., 0] * resolution + cell[..., 1]) * resolution + cell[..., 2]
        return self.occupied.flatten(1).gather(1, flat)

    def _evaluate(self, points: Tensor, owner: Tensor) -> Tensor:
        """MLP output `(n, 4)` at points `(n, 3)` of the batch entries `owner` `(n,)`."""
        height, width = self.planes.shape[-2:]
        axes = torch.tensor(self.config.plane_axes, device=points.device)
        size = torch.tensor([width, height], dtype=points.dtype, device=points.device)
        position = ((points / self.config.radius)[:, axes] + 1) * (size / 2) - 0.5  # [n, 3 planes, (width, height)]
        # the rim of zeros takes what lies beyond the outermost texels; further out the weights are zero as well
        position = torch.maximum(torch.minimum(position, size), -torch.ones_like(size))
        corner = torch.minimum(position.floor(), size - 1)
        x, y = (position - corner).unbind(-1)
        column, row = (corner.long() + 1).unbind(-1)
        plane = owner[:, None] * 3 + torch.arange(3, device=points.device)
        first = (plane * (height + 2) + row) * (width + 2) + column
        rows = torch.stack([first, first + 1, first + width + 2, first + width + 3], dim=-1)
        shares = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], dim=-1)
        hidden = F.embedding_bag(rows.flatten(1), self.table, mode="sum", per_sample_weights=shares.flatten(1))
        hidden = hidden + self.biases[0]
        activation = F.relu if self.config.hidden_act == "relu" else F.silu
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            hidden = F.linear(activation(hidden), weight, bias)
        return hidden
