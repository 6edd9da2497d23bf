import pytest
import torch

from lrm_hf.cameras import orbit_cameras
from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.modeling.field import FieldMLP, TriplaneField
from lrm_hf.rendering import render
from lrm_hf.rendering.packed import EMPTY, MAX_EMPTY_DENSITY, PackedField


def random_field(
    batch: int = 2, size: tuple[int, int] = (12, 10), density_bias: float = -1.0, **options
) -> TriplaneField:
    torch.manual_seed(0)
    config = TriplaneFieldConfig(channels=5, hidden_size=16, density_bias=density_bias, **options)
    mlp = FieldMLP(config)
    for layer in mlp.layers:
        torch.nn.init.normal_(layer.weight, std=layer.in_features**-0.5 * 1.5)
        torch.nn.init.normal_(layer.bias, std=0.3)
    return TriplaneField(torch.randn(batch, 3, 5, *size), *mlp.parameters_in_float32(), config)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hidden_act": "silu", "density_activation": "exp", "sampling": "uniform", "radius": 0.87},
        {"plane_axes": [[0, 1], [0, 2], [1, 2]], "num_hidden_layers": 1},
    ],
)
def test_folding_changes_nothing_in_occupied_cells(options):
    field = random_field(**options)
    points = (torch.rand(2, 4000, 3) * 2 - 1) * 1.15 * field.config.radius  # beside the box too
    packed = PackedField.pack(field, resolution=8)
    live = packed._live(points)[..., None]
    assert live.float().mean() > 0.5
    density, rgb = field.query(points)
    packed_density, packed_rgb = packed.query(points)
    assert ((packed_density - density).abs() * live).max() < 1e-4 * density.max()
    assert ((packed_rgb - rgb).abs() * live).max() < 1e-5
    raw, _ = packed.raw(points)
    assert (raw[~live] == EMPTY).all() and (packed_density[~live] == 0).all()


def blob_field(center: float) -> TriplaneField:
    """A soft blob of density about (center, 0, 0): three planes that are parabolas."""
    config = TriplaneFieldConfig(
        channels=1,
        hidden_size=2,
        num_hidden_layers=1,
        density_activation="exp",
        density_bias=0.0,
        sampling="uniform",
        num_samples=32,
        color_padding=0.0,
    )
    axis = (torch.arange(64) + 0.5) / 32 - 1
    column, row = axis[None, :], axis[:, None]
    aside = (column - center) ** 2 + row**2
    planes = torch.stack([aside, aside, column**2 + row**2])[None, :, None]
    weights = (
        torch.tensor([[50.0, 50.0, 50.0], [0.0, 0.0, 0.0]]),
        torch.tensor([[-1.0, 0.0], [0.1, 0.0], [0.0, 0.0], [0.0, 0.0]]),
    )
    return TriplaneField(planes, weights, (torch.zeros(2), torch.tensor([4.0, 0.0, 0.0, 0.0])), config)


def test_pictures_agree_and_little_is_evaluated():
    fields = [blob_field(0.3), blob_field(-0.4)]
    both = TriplaneField(torch.cat([f.planes for f in fields]), fields[0].weights, fields[0].biases, fields[0].config)
    packed = PackedField.pack(both, resolution=32)
    assert 0.002 < packed.occupied.float().mean() < 0.1
    cameras = orbit_cameras(3)
    exact, fast = (render(f, cameras, 48, 48) for f in (both, packed))
    assert (exact.images - fast.images).abs().max() < 2e-3
    assert (exact.opacity - fast.opacity).abs().max() < 2e-3
    assert exact.opacity.max() > 0.9
    # each entry of the batch keeps its own cells
    alone = render(PackedField.pack(both[1], resolution=32), cameras, 48, 48)
    assert torch.allclose(alone.images[0], fast.images[1], atol=1e-6)


def test_cells_are_left_out_only_where_the_density_is_low_all_over_them():
    field = random_field(batch=1, density_activation="exp", density_bias=-4.0)
    packed = PackedField.pack(field, resolution=40)
    assert 0.05 < packed.occupied.float().mean() < 0.95
    points = torch.rand(1, 50_000, 3) * 2 - 1
    density, _ = field.query(points)
    missed = density[..., 0][~packed._live(points)]
    assert missed.numel() > 1000 and missed.max() < 1.1 * MAX_EMPTY_DENSITY  # probes are dense, not everywhere


def test_packing_twice_is_packing_once_and_shapes_are_checked():
    packed = PackedField.pack(random_field(), resolution=8)
    assert PackedField.pack(packed) is packed
    with pytest.raises(ValueError, match="`points`"):
        packed.query(torch.zeros(3, 4, 3))


def test_the_packed_form_is_kept_until_the_planes_change():
    field = random_field(batch=1)
    first = PackedField.pack(field, resolution=8)
    assert PackedField.pack(field, resolution=8) is first
    assert PackedField.pack(field, resolution=4) is not first
    first = PackedField.pack(field, resolution=8)
    field.planes.mul_(0.5)
    second = PackedField.pack(field, resolution=8)
    assert second is not first
    assert not torch.equal(second.table, first.table)
