import pytest
import torch
from torch import nn

from lrm_hf.modeling.configuration_lrm import LRMConfig
from lrm_hf.modeling.modeling_lrm import LRMModel
from lrm_hf.training.optimization import Muon, build_optimizers, cosine_schedule, orthogonalize, split_parameters


def test_orthogonalize_brings_singular_values_near_one():
    generator = torch.Generator().manual_seed(0)
    for shape in ((16, 16), (8, 32), (32, 8)):
        matrices = torch.randn(3, *shape, generator=generator)
        values = torch.linalg.svdvals(orthogonalize(matrices))
        # the polynomial's iterates end between 0.68 and 1.13 for all but the smallest singular values
        assert values.max() < 1.25 and values.median() > 0.65
        u, _, v = torch.linalg.svd(matrices, full_matrices=False)
        nearest = u @ v
        cosine = (orthogonalize(matrices) * nearest).sum((1, 2)) / (
            orthogonalize(matrices).norm(dim=(1, 2)) * nearest.norm(dim=(1, 2))
        )
        assert cosine.min() > 0.97


def test_muon_follows_torchs_own_up_to_its_bfloat16():
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(24, 16, generator=generator)
    gradients = [torch.randn(24, 16, generator=generator) for _ in range(4)]
    moved = []
    for build in (
        lambda p: Muon([p], lr=0.02, momentum=0.9, weight_decay=0.1),
        lambda p: torch.optim.Muon([p], lr=0.02, momentum=0.9, weight_decay=0.1),
    ):
        parameter = nn.Parameter(start.clone())
        optimizer = build(parameter)
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        moved.append(parameter.detach() - start)
    # bfloat16 keeps 8 bits: five iterations leave errors of a few per cent
    assert (moved[0] - moved[1]).norm() / moved[1].norm() < 0.05


def test_muon_batches_shapes_and_refuses_vectors():
    torch.manual_seed(0)
    alone, together = (nn.Parameter(torch.ones(4, 6)) for _ in range(2))
    other = nn.Parameter(torch.ones(4, 6))
    gradient = torch.randn(4, 6)
    alone.grad, together.grad, other.grad = gradient.clone(), gradient.clone(), -gradient
    Muon([alone], lr=0.1).step()
    Muon([together, other], lr=0.1).step()
    assert torch.allclose(alone, together, atol=1e-6)
    assert not torch.allclose(other, together)
    with pytest.raises(ValueError, match="matrices"):
        Muon([nn.Parameter(torch.ones(4))])


def test_split_covers_every_parameter_once():
    config = LRMConfig(
        encoder_config={"model_type": "vit", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                        "intermediate_size": 64, "image_size": 32, "patch_size": 8},
        field_config={"channels": 4, "hidden_size": 8},
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, camera_embed_dim=8, triplane_low_res=4,
    )  # fmt: skip
    model = LRMModel(config)
    groups = split_parameters(model)
    found = [id(parameter) for group in groups for parameter in group]
    assert sorted(found) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    matrices, weights, plain = groups
    names = {id(p): n for n, p in model.named_parameters()}
    assert all("decoder.layers" in names[id(p)] or "encoder." in names[id(p)] for p in matrices)
    assert any("encoder." in names[id(p)] for p in matrices)
    assert "pos_embed" in {names[id(p)] for p in plain}
    assert {names[id(p)] for p in weights} >= {"upsampler.weight", "field_mlp.layers.0.weight"}
    both = build_optimizers(model, lr=1e-3, muon_lr=1e-2, weight_decay=0.1)
    assert [type(o).__name__ for o in both] == ["AdamW", "Muon"]
    assert sum(len(g["params"]) for o in both for g in o.param_groups) == len(found)
    only = build_optimizers(model, lr=1e-3, muon_lr=None, weight_decay=0.1)
    assert sum(len(g["params"]) for g in only[0].param_groups) == len(found)
    assert only[0].param_groups[0]["weight_decay"] == 0.0


def test_schedule_by_hand():
    factor = cosine_schedule(warmup_steps=10, max_steps=110, floor=0.02)
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == pytest.approx(1.0)
    assert factor(10) == pytest.approx(1.0)
    assert factor(60) == pytest.approx(0.51)
    assert factor(110) == factor(500) == pytest.approx(0.02)
