import math
import sys
import types

import pytest
import torch
from transformers import BertConfig, BertModel, ResNetConfig, ResNetModel, ViTConfig, ViTImageProcessor, ViTModel

from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.modeling.field import FieldMLP, TriplaneField
from lrm_hf.training.losses import (
    OCCUPANCY_LENGTH,
    build_perceptual_loss,
    depth_loss,
    feature_distance,
    occupancy_loss,
    opacity_entropy_loss,
    opacity_loss,
    pixel_loss,
    plane_variation_loss,
    psnr,
    surface_color_loss,
)


def test_occupancy_is_binary_cross_entropy_of_a_short_opacity():
    density = torch.tensor([[[2.0], [30.0], [7.0]]], dtype=torch.float64)
    occupied = torch.tensor([[[0.0], [1.0], [1.0]]], dtype=torch.float64)
    opacity = 1 - torch.exp(-density * OCCUPANCY_LENGTH)
    expected = torch.nn.functional.binary_cross_entropy(opacity, occupied)
    assert float(occupancy_loss(density, occupied)) == pytest.approx(float(expected), rel=1e-9)


def test_occupancy_stays_finite_at_both_ends():
    density = torch.tensor([[[0.0], [1e9]]], requires_grad=True)
    loss = occupancy_loss(density, torch.tensor([[[1.0], [0.0]]]))
    loss.backward()
    assert math.isfinite(float(loss)) and bool(torch.isfinite(density.grad).all())


def test_surface_color_counts_only_points_that_exist():
    rgb = torch.tensor([[[0.5, 0.5, 0.5], [0.0, 0.0, 0.0]]])
    target = torch.tensor([[[0.5, 0.7, 0.5], [1.0, 1.0, 1.0]]])
    weight = torch.tensor([[[1.0], [0.0]]])
    assert float(surface_color_loss(rgb, target, weight)) == pytest.approx(0.04 / 3, rel=1e-5)
    assert float(surface_color_loss(rgb, target, torch.zeros(1, 2, 1))) == 0.0


def test_plane_variation_by_hand():
    config = TriplaneFieldConfig(channels=1, hidden_size=2, num_hidden_layers=1)
    planes = torch.zeros(1, 3, 1, 2, 2)
    planes[0, 0, 0] = torch.tensor([[0.0, 3.0], [1.0, 1.0]])
    field = TriplaneField(planes, *FieldMLP(config).parameters_in_float32(), config)
    # differences along width: 3 and 0 in the first plane, over 6 pairs; along height: 1 and -2
    assert float(plane_variation_loss(field)) == pytest.approx(9 / 6 + 5 / 6)


def test_psnr_by_hand():
    images = torch.full((2, 3, 4, 4), 0.5)
    target = images.clone()
    target[0] += 0.1
    values = psnr(images, target)
    assert float(values[0]) == pytest.approx(20.0, abs=1e-4)
    assert float(values[1]) == pytest.approx(100.0, abs=1e-4)


def test_pixel_by_hand():
    images, target = torch.zeros(1, 2, 3, 1, 1), torch.zeros(1, 2, 3, 1, 1)
    target[0, 1, 0] = 0.6  # one of six values
    assert float(pixel_loss(images, target)) == pytest.approx(0.06)
    assert float(pixel_loss(images, target, "l1")) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="`kind` must be 'mse' or 'l1', got 'huber'"):
        pixel_loss(images, target, "huber")
    with pytest.raises(ValueError, match="same shape"):
        pixel_loss(images, target[:, :1])  # would broadcast


def test_opacity_by_hand():
    opacity = torch.tensor([0.5, 0.2]).reshape(1, 1, 1, 1, 2)
    target = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 1, 2)
    assert float(opacity_loss(opacity, target)) == pytest.approx((0.25 + 0.04) / 2)
    assert float(opacity_loss(opacity, target, "bce")) == pytest.approx((math.log(2) - math.log(0.8)) / 2)
    with pytest.raises(ValueError, match="`kind`"):
        opacity_loss(opacity, target, "l1")


def test_the_union_of_masks_by_hand():
    # the second picture is empty, and as it should be
    opacity = torch.tensor([[[[0.5, 1.0, 0.5]]], [[[0.0, 0.0, 0.0]]]])
    target = torch.tensor([[[[1.0, 1.0, 0.0]]], [[[0.0, 0.0, 0.0]]]])
    common, union = 1.5, 2.0 + 2.0 - 1.5
    assert float(opacity_loss(opacity, target, "iou")) == pytest.approx((1 - (common + 1) / (union + 1)) / 2)
    assert float(opacity_loss(target, target, "iou")) == 0


def test_opacity_cross_entropy_is_finite_where_the_renderer_is_sure_and_wrong():
    opacity = torch.tensor([[[0.0, 1.0]]], requires_grad=True)
    loss = opacity_loss(opacity, torch.tensor([[[1.0, 0.0]]]), "bce")
    loss.backward()
    assert float(loss) == pytest.approx(-math.log(1e-6), rel=0.01)  # 1 - 1e-6 is rounded to float32
    assert bool(torch.isfinite(opacity.grad).all())


def test_depth_counts_only_where_the_target_is_known():
    depth = torch.tensor([[[1.5, math.nan, 2.0]]], requires_grad=True)
    target = torch.tensor([[[1.0, 0.0, 2.25]]])
    loss = depth_loss(depth, target)
    loss.backward()
    assert float(loss) == pytest.approx((0.5 + 0.25) / 2)
    assert depth.grad.tolist() == [[[0.5, 0.0, -0.5]]]
    assert float(depth_loss(torch.ones(1, 1, 3), torch.zeros(1, 1, 3))) == 0.0


def test_opacity_entropy_by_hand():
    assert float(opacity_entropy_loss(torch.tensor([0.5]))) == pytest.approx(math.log(2))
    mixed = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert float(opacity_entropy_loss(torch.tensor([0.25, 0.75]))) == pytest.approx(mixed)
    # -p log p at the clamp of 1e-6 is 1.4e-5
    assert float(opacity_entropy_loss(torch.tensor([0.0, 1.0]))) == pytest.approx(0.0, abs=2e-5)


def test_feature_distance_by_hand():
    tokens = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]])
    other = torch.tensor([[[6.0, 8.0], [0.0, 2.0]]])
    # the first pair has one direction, the second is at right angles: |(1, -1)|^2 = 2
    assert float(feature_distance(tokens, other)) == pytest.approx(1.0)
    maps = [part.transpose(1, 2).unflatten(2, (1, 2)) for part in (tokens, other)]
    assert float(feature_distance(*maps)) == pytest.approx(1.0)
    assert float(feature_distance(tokens, -tokens)) == pytest.approx(4.0)


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    """A ViT with a processor of its own and a ResNet without one, random and tiny."""
    root = tmp_path_factory.mktemp("backbones")
    torch.manual_seed(0)
    vit = ViTConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=16,
        patch_size=4,
        hidden_dropout_prob=0.5,
    )
    ViTModel(vit, add_pooling_layer=False).save_pretrained(root / "vit")
    ViTImageProcessor(image_mean=[0.5, 0.5, 0.5], image_std=[0.25, 0.25, 0.25]).save_pretrained(root / "vit")
    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])).save_pretrained(root / "resnet")
    BertModel(
        BertConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
    ).save_pretrained(root / "bert")
    return root


def test_perceptual_loss_of_a_vit_is_that_of_its_hidden_states(backbones):
    loss = build_perceptual_loss(str(backbones / "vit"), layers=[0, 2])
    images, target = torch.rand(2, 2, 3, 16, 16).unbind(1)
    model = ViTModel.from_pretrained(backbones / "vit", add_pooling_layer=False).eval()
    a, b = (model((part - 0.5) / 0.25, output_hidden_states=True).hidden_states for part in (images, target))
    expected = (feature_distance(a[0], b[0]) + feature_distance(a[2], b[2])) / 2
    assert float(loss(images, target)) == pytest.approx(float(expected), rel=1e-5)
    assert float(expected) > 1e-3


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_perceptual_loss_moves_pictures_and_nothing_else(backbones, name):
    loss = build_perceptual_loss(str(backbones / name), size=32)
    loss.train()  # dropout of the ViT stays off
    assert not any(part.training for part in loss.network.modules())
    images = torch.rand(2, 3, 3, 12, 12, requires_grad=True)
    target = torch.rand(2, 3, 3, 12, 12)
    first = loss(images, target)
    assert torch.equal(first, loss(images, target))
    first.backward()
    assert images.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert float(loss(target, target)) == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ValueError, match=r"\(\.\.\., 3, height, width\)"):
        loss(images[:, :, :1], target[:, :, :1])


def test_what_is_no_backbone_says_so(backbones, tmp_path):
    with pytest.raises(ValueError, match="takes 'input_ids', expected a model of pictures"):
        build_perceptual_loss(str(backbones / "bert"))
    with pytest.raises(ValueError, match=r"`layers` must be from 0 to 3"):
        build_perceptual_loss(str(backbones / "vit"), layers=[4])
    with pytest.raises(OSError, match="nothing_here"):
        build_perceptual_loss(str(tmp_path / "nothing_here"))


def test_lpips_that_is_not_installed_is_an_error_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(ImportError, match=r'pip install "lrm_hf\[lpips\]"`, or name a backbone'):
        build_perceptual_loss()


def test_lpips_gets_pictures_of_a_size_it_can_halve(monkeypatch):
    """A stand-in of lpips' interface: what it is given, and that its answer is averaged."""
    seen = []

    class LPIPS(torch.nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            assert (net, verbose) == ("alex", False)
            self.weight = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, images, target, normalize):
            assert normalize is True
            seen.append(tuple(images.shape))
            return self.weight * (images - target).abs().mean(dim=(1, 2, 3), keepdim=True)

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=LPIPS))
    loss = build_perceptual_loss()
    assert not loss.network.weight.requires_grad
    target = torch.stack([torch.full((3, 20, 20), 0.1), torch.full((3, 20, 20), 0.3)])
    assert float(loss(torch.zeros(2, 3, 20, 20), target)) == pytest.approx(0.4, rel=1e-5)
    loss(torch.zeros(1, 3, 80, 40), torch.zeros(1, 3, 80, 40))
    assert seen == [(2, 3, 64, 64), (1, 3, 80, 64)]
    with pytest.raises(ValueError, match="LPIPS has its own"):
        build_perceptual_loss(size=64)
