# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The triplane field: three planes of features and an MLP that together give density and colour at any point.

What models hand over and what renderers and meshers take. The arithmetic is always float32.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..files import replacing
from .configuration_lrm import TriplaneFieldConfig
from .initial_weights import with_init_std


if TYPE_CHECKING:
    import trimesh


# beyond this exponent a density is opaque at any length that a float32 ray resolves, and its gradient would overflow
MAX_EXPONENT = 80.0


class FieldMLP(nn.Module):
    """The MLP from concatenated plane features to raw density and raw colour."""

    def __init__(self, config: TriplaneFieldConfig):
        super().__init__()
        widths = [3 * config.channels] + [config.hidden_size] * config.num_hidden_layers + [4]
        # He et al., "Delving deep into rectifiers", ICCV 2015: this spread keeps the signal's size
        self.layers = nn.ModuleList(
            with_init_std(nn.Linear(i, o), math.sqrt(2 / i)) for i, o in zip(widths[:-1], widths[1:], strict=True)
        )

    def parameters_in_float32(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Weights and biases of all layers as float32, whatever type the module was cast to.

        Raises:
            TypeError: if a layer was replaced by one that computes something else, such as an adapter's.
        """
        for layer in self.layers:
            if not isinstance(layer, nn.Linear):
                raise TypeError(
                    f"the field's MLP takes plain linear layers only, got {type(layer).__module__}."
                    f"{type(layer).__name__}: adapters belong on the encoder and the decoder (see `lora_config`)."
                )
        layers = [cast(nn.Linear, layer) for layer in self.layers]
        return tuple(layer.weight.float() for layer in layers), tuple(layer.bias.float() for layer in layers)


@dataclass(frozen=True, eq=False)
class TriplaneField:
    """A batch of fields that share one MLP.

    Attributes:
        planes: `(batch, 3, channels, height, width)` float32 features.
        weights, biases: of the MLP's linear layers, float32.
        config: radius, axes, activations and sampling rule.

    Raises:
        TypeError: if the planes are no floating point tensor.
        ValueError: if shapes do not fit the config.
    """

    planes: Tensor
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    config: TriplaneFieldConfig

    def __post_init__(self) -> None:
        if not isinstance(self.planes, Tensor) or not self.planes.is_floating_point():
            raise TypeError("`planes` must be a floating point tensor.")
        if self.planes.ndim != 5 or tuple(self.planes.shape[1:3]) != (3, self.config.channels):
            raise ValueError(
                f"`planes` must have shape (batch, 3, {self.config.channels}, height, width), "
                f"got {tuple(self.planes.shape)}."
            )
        if len(self.weights) != self.config.num_hidden_layers + 1 or len(self.biases) != len(self.weights):
            raise ValueError(
                f"`weights` and `biases` must be of {self.config.num_hidden_layers + 1} layers, got "
                f"{len(self.weights)} and {len(self.biases)}."
            )
        if self.planes.shape[-1] == 0 or self.planes.shape[-2] == 0:
            raise ValueError(f"`planes` have no texels: {tuple(self.planes.shape)}.")
        widths = [3 * self.config.channels] + [self.config.hidden_size] * self.config.num_hidden_layers + [4]
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if tuple(weight.shape) != (widths[i + 1], widths[i]) or tuple(bias.shape) != (widths[i + 1],):
                raise ValueError(
                    f"`weights[{i}]` and `biases[{i}]` must have shapes {(widths[i + 1], widths[i])} and "
                    f"{(widths[i + 1],)}, got {tuple(weight.shape)} and {tuple(bias.shape)}."
                )
        object.__setattr__(self, "planes", self.planes.float())
        object.__setattr__(self, "weights", tuple(weight.float() for weight in self.weights))
        object.__setattr__(self, "biases", tuple(bias.float() for bias in self.biases))

    def __len__(self) -> int:
        return self.planes.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        """Without what rendering keeps with a field, which counts changes of tensors that a copy does not have."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __getitem__(self, index: int | slice | Tensor | list[int]) -> TriplaneField:
        """A part of the batch; an integer keeps a batch of one."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"index {index} is out of range for a batch of {len(self)}.")
            index = [index]
        return replace(self, planes=self.planes[index])

    @property
    def device(self) -> torch.device:
        return self.planes.device

    def to(self, device: torch.device | str) -> TriplaneField:
        return replace(
            self,
            planes=self.planes.to(device),
            weights=tuple(weight.to(device) for weight in self.weights),
            biases=tuple(bias.to(device) for bias in self.biases),
        )

    def detach(self) -> TriplaneField:
        return replace(
            self,
            planes=self.planes.detach(),
            weights=tuple(weight.detach() for weight in self.weights),
            biases=tuple(bias.detach() for bias in self.biases),
        )

    def features(self, points: Tensor) -> Tensor:
        """Bilinear samples of the three planes, concatenated plane by plane.

        Texel centres lie at odd multiples of `radius / size`; beyond the outermost texels features fade to zero.

        Args:
            points: `(batch, n, 3)` in world units.

        Returns:
            `(batch, n, 3 * channels)`.
        """
        batch, count = points.shape[:2]
        planes = self.planes
        axes = torch.tensor(self.config.plane_axes, device=points.device)
        grid = (points / self.config.radius)[..., axes]  # [batch, n, 3 planes, 2]
        # a batch of one stays a view here, and grid_sample takes strided positions one by one, six times slower
        grid = grid.transpose(1, 2).reshape(batch * 3, count, 1, 2).contiguous()
        sampled = F.grid_sample(planes.flatten(0, 1), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return sampled.reshape(batch, 3 * self.config.channels, count).transpose(1, 2)

    def raw(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density before its activation `(batch, n, 1)` and colour in [0, 1] `(batch, n, 3)` at `(batch, n, 3)`."""
        if points.ndim != 3 or points.shape[-1] != 3 or points.shape[0] != len(self):
            raise ValueError(f"`points` must have shape ({len(self)}, n, 3), got {tuple(points.shape)}.")
        with torch.autocast(points.device.type, enabled=False):
            hidden = self.features(points.to(self.planes.dtype))
            activation = F.relu if self.config.hidden_act == "relu" else F.silu
            last = len(self.weights) - 1
            for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                hidden = F.linear(hidden, weight, bias)
                if i < last:
                    hidden = activation(hidden)
            padding = self.config.color_padding
            return hidden[..., :1], torch.sigmoid(hidden[..., 1:]) * (1 + 2 * padding) - padding

    def density_from_raw(self, raw: Tensor) -> Tensor:
        """Volume density per world unit, non-negative."""
        shifted = raw + self.config.density_bias
        if self.config.density_activation == "exp":
            return torch.exp(shifted.clamp(max=MAX_EXPONENT))
        # F.softplus rounds a value by where it stands in memory, so that a picture would depend on the chunk size
        return torch.maximum(shifted, torch.zeros_like(shifted)) + torch.log1p(torch.exp(-shifted.abs()))

    def query(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density and colour at points, also outside the box (where plane features are zero).

        Args:
            points: `(batch, n, 3)` in world units.

        Returns:
            density: `(batch, n, 1)`, non-negative, per world unit; rgb: `(batch, n, 3)`, within `color_padding` of
            [0, 1].

        Raises:
            ValueError: if `points` has another shape or batch size.
        """
        raw, rgb = self.raw(points)
        return self.density_from_raw(raw), rgb

    def extract_mesh(
        self, resolution: int = 256, threshold: float | None = None, **kwargs: Any
    ) -> list[trimesh.Trimesh]:
        """One coloured mesh per field of the batch; see [`~lrm_hf.meshing.extract_mesh`]."""
        from ..meshing import extract_mesh

        return extract_mesh(self, resolution=resolution, threshold=threshold, **kwargs)

    def save(self, path: str | os.PathLike) -> None:
        """Writes planes, MLP and config to one safetensors file."""
        tensors = {"planes": self.planes}
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            tensors[f"layers.{i}.weight"], tensors[f"layers.{i}.bias"] = weight, bias
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata={"field_config": json.dumps(self.config.to_diff_dict())})

    @classmethod
    def load(cls, path: str | os.PathLike, device: torch.device | str = "cpu") -> TriplaneField:
        """Reads what `save` wrote.

        Raises:
            OSError: if the file is missing, damaged, or holds something else.
        """
        try:
            with safe_open(path, framework="pt", device=str(device)) as file:
                metadata = file.metadata() or {}
                if "field_config" not in metadata:
                    raise OSError(f"{os.fspath(path)!r} is a safetensors file, but holds no triplane field.")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except SafetensorError as error:
            raise OSError(f"{os.fspath(path)!r} can't be read as safetensors: {error}") from error
        values = json.loads(metadata["field_config"])
        config = TriplaneFieldConfig(
            **{name: value for name, value in values.items() if name not in ("model_type", "transformers_version")}
        )
        layers = range(config.num_hidden_layers + 1)
        expected = {"planes"} | {f"layers.{i}.{kind}" for i in layers for kind in ("weight", "bias")}
        if set(tensors) != expected:
            raise OSError(
                f"{os.fspath(path)!r} does not hold the tensors of its field: missing "
                f"{sorted(expected - set(tensors))}, unknown {sorted(set(tensors) - expected)}."
            )
        return cls(
            tensors["planes"],
            tuple(tensors[f"layers.{i}.weight"] for i in layers),
            tuple(tensors[f"layers.{i}.bias"] for i in layers),
            config,
        )
