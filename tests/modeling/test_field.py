# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""TriplaneField: plane axes, interpolation and MLP against hand-worked numbers and plain loops; files and errors."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.modeling.field import FieldMLP, TriplaneField


def make_field(batch: int = 2, size: tuple[int, int] = (5, 5), seed: int = 0, **options: object) -> TriplaneField:
    config = TriplaneFieldConfig(**({"channels": 3, "hidden_size": 6, "num_hidden_layers": 2} | options))
    generator = torch.Generator().manual_seed(seed)
    mlp = FieldMLP(config).requires_grad_(False)
    for parameter in mlp.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    planes = torch.randn(batch, 3, config.channels, *size, generator=generator)
    return TriplaneField(planes, *mlp.parameters_in_float32(), config)


def random_points(batch: int, count: int, reach: float = 1.2, seed: int = 1) -> Tensor:
    return (torch.rand(batch, count, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1) * reach


def query_by_loops(field: TriplaneField, batch: int, point: list[float]) -> tuple[float, list[float]]:
    """Density and colour of one point in float64, texel by texel and neuron by neuron."""
    config = field.config
    height, width = field.planes.shape[-2:]
    features = []
    for plane in range(3):
        across, up = (point[axis] / config.radius for axis in config.plane_axes[plane])
        column, row = ((across + 1) * width - 1) / 2, ((up + 1) * height - 1) / 2
        for channel in range(config.channels):
            value = 0.0
            for r in (math.floor(row), math.floor(row) + 1):
                for c in (math.floor(column), math.floor(column) + 1):
                    if 0 <= r < height and 0 <= c < width:
                        texel = float(field.planes[batch, plane, channel, r, c])
                        value += (1 - abs(row - r)) * (1 - abs(column - c)) * texel
            features.append(value)
    hidden = features
    for i, (weight, bias) in enumerate(zip(field.weights, field.biases, strict=True)):
        hidden = [
            sum(w * h for w, h in zip(row, hidden, strict=True)) + b
            for row, b in zip(weight.tolist(), bias.tolist(), strict=True)
        ]
        if i < len(field.weights) - 1:
            hidden = [max(h, 0.0) if config.hidden_act == "relu" else h / (1 + math.exp(-h)) for h in hidden]
    raw = hidden[0] + config.density_bias
    density = math.log1p(math.exp(raw)) if config.density_activation == "softplus" else math.exp(raw)
    padding = config.color_padding
    return density, [(1 + 2 * padding) / (1 + math.exp(-h)) - padding for h in hidden[1:]]


class TestFeatures:
    def test_axes_of_the_planes(self) -> None:
        """Each plane holds one texel at +x+y, +x+z, +z+y: width first."""
        config = TriplaneFieldConfig(channels=1)
        planes = torch.zeros(1, 3, 1, 2, 4)  # texel centres at +-1/2 in height, at +-1/4 and +-3/4 in width
        planes[..., 1, 3] = 1.0
        field = replace(make_field(1, channels=1), planes=planes, config=config, **_layers(config))
        points = torch.tensor([[0.75, 0.5, 0.0], [0.75, 0.0, 0.5], [0.0, 0.5, 0.75], [-0.75, -0.5, -0.75]])
        found = field.features(points[None])[0]
        # what a plane sees of a point that is 0 along its height is half of a texel, along its width nothing
        expected = [[1.0, 0.5, 0.0], [0.5, 1.0, 0.5 * 0.5], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
        torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0)

    def test_triposr_axes(self) -> None:
        """The third plane as (y, z)."""
        field = make_field(1, (4, 4), channels=1, plane_axes=[[0, 1], [0, 2], [1, 2]])
        planes = torch.zeros(1, 3, 1, 4, 4)
        planes[0, 2, 0, 3, 0] = 1.0  # y = -3/4, z = 3/4
        found = replace(field, planes=planes).features(torch.tensor([[[0.1, -0.75, 0.75], [0.1, 0.75, -0.75]]]))
        assert found[0, :, 2].tolist() == pytest.approx([1.0, 0.0], abs=1e-6)

    def test_ramp_is_linear_between_texel_centres_and_fades_outside(self) -> None:
        size = 8
        centres = (torch.arange(size) + 0.5) / size * 2 - 1
        field = make_field(1, (size, size), channels=1, radius=2.0)
        planes = torch.zeros(1, 3, 1, size, size)
        planes[0, 0, 0] = centres  # the feature is x / radius
        field = replace(field, planes=planes)
        x = torch.tensor([-1.75, -0.3, 0.0, 1.2, 1.75, 2.0, 2.25, 3.0])
        points = torch.stack([x, torch.zeros(8), torch.zeros(8)], dim=-1)[None]
        # the outermost centre is at 7/8 of the radius; half a texel further out half is left, a texel further nothing
        expected = [-0.875, -0.15, 0.0, 0.6, 0.875, 0.875 / 2, 0.0, 0.0]
        assert field.features(points)[0, :, 0].tolist() == pytest.approx(expected, abs=1e-6)

    def test_channels_are_concatenated_plane_by_plane(self) -> None:
        field = make_field(2, (4, 4))
        planes = torch.arange(18.0).reshape(2, 3, 3, 1, 1).expand(2, 3, 3, 4, 4)
        found = replace(field, planes=planes).features(torch.zeros(2, 1, 3))
        assert found[:, 0].tolist() == [[float(i) for i in range(9)], [float(i) for i in range(9, 18)]]


def _layers(config: TriplaneFieldConfig) -> dict[str, tuple[Tensor, ...]]:
    weights, biases = FieldMLP(config).parameters_in_float32()
    return {"weights": weights, "biases": biases}


class TestQuery:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"radius": 0.87, "plane_axes": [[0, 1], [0, 2], [1, 2]], "hidden_act": "silu", "density_bias": -0.5},
            {"density_activation": "exp", "color_padding": 0.0, "num_hidden_layers": 1},
        ],
    )
    def test_against_plain_loops(self, options: dict) -> None:
        field = make_field(2, (5, 7), **options)
        points = random_points(2, 20)
        density, rgb = field.query(points)
        assert density.shape == (2, 20, 1)
        assert rgb.shape == (2, 20, 3)
        for b in range(2):
            for i in range(20):
                expected = query_by_loops(field, b, points[b, i].tolist())
                assert float(density[b, i, 0]) == pytest.approx(expected[0], abs=2e-6, rel=2e-6)
                assert rgb[b, i].tolist() == pytest.approx(expected[1], abs=2e-6)

    @pytest.mark.parametrize("activation", ["softplus", "exp"])
    def test_density_from_raw(self, activation: str) -> None:
        field = make_field(1, density_activation=activation, density_bias=-1.0)
        raw = torch.tensor([-200.0, -20.0, -3.0, 0.0, 1.0, 1.5, 4.0, 30.0], requires_grad=True)
        density = field.density_from_raw(raw)
        shifted = [value - 1 for value in raw.tolist()]
        if activation == "softplus":
            expected = [math.log1p(math.exp(value)) for value in shifted]
            slope = [1 / (1 + math.exp(-value)) for value in shifted]
        else:
            expected = slope = [math.exp(value) for value in shifted]
        assert density.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-30)
        density.sum().backward()
        assert raw.grad.tolist() == pytest.approx(slope, rel=1e-5, abs=1e-30)

    def test_raw_density_beyond_the_range_of_float32(self) -> None:
        """exp(88.8) is infinite, and its gradient times the zero of an opaque piece would be no number."""
        field = make_field(1, density_activation="exp")
        raw = torch.tensor([85.0, 100.0, 1e6, -1e9], requires_grad=True)
        alpha = 1 - torch.exp(-field.density_from_raw(raw) * 0.01)
        assert alpha.tolist() == [1.0, 1.0, 1.0, 0.0]
        alpha.sum().backward()
        assert raw.grad.tolist() == [0.0, 0.0, 0.0, 0.0]

    @pytest.mark.parametrize("activation", ["softplus", "exp"])
    def test_density_does_not_depend_on_the_place_in_memory(self, activation: str) -> None:
        """Vectorised kernels round the odd elements at the end of a tensor in another way."""
        field = make_field(1, density_activation=activation)
        raw = torch.randn(1031, generator=torch.Generator().manual_seed(0)) * 4
        whole = field.density_from_raw(raw)
        for count in range(1, 66):
            assert torch.equal(field.density_from_raw(raw[:count]), whole[:count])
            assert torch.equal(field.density_from_raw(raw[count : 3 * count]), whole[count : 3 * count])

    def test_colour_stays_within_its_padding(self) -> None:
        field = make_field(1)
        biases = (*field.biases[:-1], torch.tensor([0.0, 1e4, -1e4, 0.0]))
        field = replace(field, planes=torch.zeros_like(field.planes), biases=biases)
        _, rgb = field.query(torch.zeros(1, 1, 3))
        assert rgb[0, 0, :2].tolist() == pytest.approx([1.001, -0.001], abs=1e-6)

    def test_batches_are_independent(self) -> None:
        field = make_field(3)
        points = random_points(3, 50)
        density, rgb = field.query(points)
        for i in range(3):
            one_density, one_rgb = field[i].query(points[i : i + 1])
            torch.testing.assert_close(one_density[0], density[i], atol=1e-6, rtol=1e-6)
            torch.testing.assert_close(one_rgb[0], rgb[i], atol=1e-6, rtol=0)

    def test_autocast_and_other_types_of_points(self) -> None:
        field = make_field(2)
        points = random_points(2, 30)
        density, rgb = field.query(points)
        with torch.autocast("cpu", torch.bfloat16):
            again = field.query(points)
        assert torch.equal(again[0], density)
        assert torch.equal(again[1], rgb)
        assert field.query(points.double())[0].dtype == torch.float32

    def test_no_points(self) -> None:
        density, rgb = make_field(2).query(torch.zeros(2, 0, 3))
        assert density.shape == (2, 0, 1)
        assert rgb.shape == (2, 0, 3)

    @pytest.mark.parametrize("shape", [(2, 3), (1, 4, 3), (2, 4, 2), (2, 4, 4, 3)])
    def test_wrong_shapes(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"`points` must have shape \(2, n, 3\), got"):
            make_field(2).query(torch.zeros(shape))

    def test_gradients_by_finite_differences(self) -> None:
        """Everything that has a gradient, one number of each at a time, in central differences."""
        field = make_field(1, (4, 4), hidden_act="silu")
        points = random_points(1, 9, reach=0.7)
        tensors = [field.planes, *field.weights, *field.biases, points]
        probe = torch.Generator().manual_seed(5)
        mix = torch.randn(1, 9, 4, generator=probe)

        def value(parts: list[Tensor]) -> Tensor:
            other = replace(field, planes=parts[0], weights=tuple(parts[1:4]), biases=tuple(parts[4:7]))
            return (torch.cat(other.query(parts[7]), dim=-1) * mix).double().sum()

        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        value(leaves).backward()
        eps = 1e-2  # float32: a smaller step drowns in rounding; silu and softplus are smooth, so its square is small
        for i, leaf in enumerate(leaves):
            for index in torch.randint(leaf.numel(), (5,), generator=probe).tolist():
                step = torch.zeros(leaf.numel())
                step[index] = eps if i < 7 else 1e-3
                step = step.reshape(leaf.shape)
                high = value([t + step if j == i else t for j, t in enumerate(tensors)])
                low = value([t - step if j == i else t for j, t in enumerate(tensors)])
                slope = float((high - low) / (2 * step.sum()))
                assert float(leaf.grad.reshape(-1)[index]) == pytest.approx(slope, abs=2e-3, rel=1e-2)


class TestContainer:
    def test_half_precision_becomes_float32(self) -> None:
        field = make_field(1)
        half = TriplaneField(
            field.planes.half(),
            tuple(w.bfloat16() for w in field.weights),
            tuple(b.bfloat16() for b in field.biases),
            field.config,
        )
        assert half.planes.dtype == torch.float32
        assert {tensor.dtype for tensor in half.weights + half.biases} == {torch.float32}
        assert half.query(torch.zeros(1, 2, 3))[0].dtype == torch.float32

    def test_mlp_cast_to_half_gives_float32(self) -> None:
        mlp = FieldMLP(TriplaneFieldConfig(channels=2, hidden_size=4)).to(torch.bfloat16)
        weights, biases = mlp.parameters_in_float32()
        assert {tensor.dtype for tensor in weights + biases} == {torch.float32}

    def test_indexing(self) -> None:
        field = make_field(3)
        assert len(field) == 3
        assert torch.equal(field[1].planes, field.planes[1:2])
        assert torch.equal(field[-1].planes, field.planes[2:])
        assert torch.equal(field[1:].planes, field.planes[1:])
        assert torch.equal(field[[2, 0]].planes, field.planes[[2, 0]])
        assert torch.equal(field[torch.tensor([True, False, True])].planes, field.planes[[0, 2]])
        assert [len(part) for part in field] == [1, 1, 1]
        with pytest.raises(IndexError, match="index 3 is out of range for a batch of 3"):
            field[3]

    def test_to_and_detach(self) -> None:
        field = make_field(1)
        weights = tuple(weight.clone().requires_grad_() for weight in field.weights)
        learning = replace(field, planes=field.planes.requires_grad_(), weights=weights)
        still = learning.detach()
        assert not any(tensor.requires_grad for tensor in (still.planes, *still.weights, *still.biases))
        away = learning.to("meta")
        assert {tensor.device.type for tensor in (away.planes, *away.weights, *away.biases)} == {"meta"}
        assert away.device.type == "meta"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"planes": torch.zeros(2, 3, 4, 5, 5)}, r"`planes` must have shape \(batch, 3, 3, height, width\)"),
            ({"planes": torch.zeros(2, 2, 3, 5, 5)}, r"`planes` must have shape \(batch, 3, 3, height, width\)"),
            ({"planes": torch.zeros(3, 3, 5, 5)}, r"`planes` must have shape .* got \(3, 3, 5, 5\)"),
            ({"planes": torch.zeros(1, 3, 3, 0, 5)}, r"`planes` have no texels: \(1, 3, 3, 0, 5\)"),
            ({"weights": ()}, "`weights` and `biases` must be of 3 layers, got 0 and 3"),
            ({"biases": (torch.zeros(6), torch.zeros(5), torch.zeros(4))}, r"`weights\[1\]` and `biases\[1\]` must"),
            ({"weights": (torch.zeros(6, 9), torch.zeros(6, 6), torch.zeros(3, 6))}, r"`weights\[2\]` .* \(3, 6\)"),
        ],
    )
    def test_shape_errors(self, change: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            replace(make_field(1), **change)

    def test_type_errors(self) -> None:
        for planes in (torch.zeros(1, 3, 3, 5, 5, dtype=torch.int64), [[0.0]]):
            with pytest.raises(TypeError, match="`planes` must be a floating point tensor"):
                replace(make_field(1), planes=planes)


class TestFiles:
    def test_round_trip(self, tmp_path: Path) -> None:
        field = make_field(2, radius=0.87, sampling="uniform", num_samples=7, plane_axes=[[0, 1], [0, 2], [1, 2]])
        field.save(tmp_path / "owl.safetensors")
        again = TriplaneField.load(tmp_path / "owl.safetensors")
        assert again.config.to_dict() == field.config.to_dict()
        assert torch.equal(again.planes, field.planes)
        assert all(torch.equal(a, b) for a, b in zip(again.weights, field.weights, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(again.biases, field.biases, strict=True))
        assert [path.name for path in tmp_path.iterdir()] == ["owl.safetensors"], "nothing temporary stays"

    def test_damaged_and_foreign_files(self, tmp_path: Path) -> None:
        path = tmp_path / "field.safetensors"
        make_field(1).save(path)
        tensors = load_file(path)
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(OSError, match=r"cut\.safetensors' can't be read as safetensors"):
            TriplaneField.load(cut)
        foreign = tmp_path / "foreign.safetensors"
        save_file(tensors, foreign)
        with pytest.raises(OSError, match="holds no triplane field"):
            TriplaneField.load(foreign)
        with pytest.raises(OSError, match="missing"):
            TriplaneField.load(tmp_path / "missing.safetensors")

    def test_missing_and_unknown_tensors_are_listed(self, tmp_path: Path) -> None:
        path = tmp_path / "field.safetensors"
        field = make_field(1)
        field.save(path)
        tensors = load_file(path)
        tensors["stranger"] = tensors.pop("layers.1.bias")
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        save_file(tensors, path, metadata=metadata)
        with pytest.raises(OSError, match=r"missing \['layers\.1\.bias'\], unknown \['stranger'\]"):
            TriplaneField.load(path)
