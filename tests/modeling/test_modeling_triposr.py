# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""TripoSRModel: its block by hand, initial weights, files, precision, checkpointing, compiling. Its numbers are
compared with the original's in test_triposr_goldens.py; what it shares with LRMModel is tested there."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tiny_models import tiny_triposr, tiny_triposr_config
from torch import Tensor
from transformers import AutoConfig, AutoModel, ViTConfig

from lrm_hf import LRMModelOutput, TriplaneFieldConfig, TripoSRConfig, TripoSRModel, orbit_cameras, render
from lrm_hf.modeling.decoder_triposr import GatedMLP, TripoSRBlock


def pixels(batch: int = 2, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def normalize(states: Tensor, eps: float) -> Tensor:
    mean = states.mean(-1, keepdim=True)
    return (states - mean) / torch.sqrt(((states - mean) ** 2).mean(-1, keepdim=True) + eps)


class TestConfig:
    def test_defaults_are_those_of_the_published_model(self) -> None:
        config = TripoSRConfig()
        assert type(config.encoder_config) is ViTConfig
        assert (config.encoder_hidden_size, config.encoder_config.layer_norm_eps) == (768, 1e-12)
        assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (1024, 16, 16)
        assert (config.embedding_channels, config.planes_resolution, config.image_size) == (1024, 64, 512)
        assert (config.layer_norm_eps, config.group_norm_eps, config.norm_num_groups) == (1e-5, 1e-6, 32)
        # 40 degrees from top to bottom
        assert 2 * math.degrees(math.atan(0.5 / config.source_camera_focal)) == pytest.approx(40)

    def test_a_field_given_in_part_is_otherwise_triposrs(self) -> None:
        field = TripoSRConfig(field_config={"channels": 8}).field_config
        assert (field.channels, field.radius, field.hidden_act, field.sampling) == (8, 0.87, "silu", "uniform")
        field.plane_axes[0][0] = 2
        assert TripoSRConfig().field_config.plane_axes == [[0, 1], [0, 2], [1, 2]]

    def test_another_field_survives_saving(self, tmp_path: Path) -> None:
        """Also where its numbers are the defaults of a field, and not TripoSR's."""
        config = tiny_triposr_config(field_config=TriplaneFieldConfig())
        config.save_pretrained(tmp_path)
        for loaded in (TripoSRConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
            assert loaded.field_config.to_dict() == TriplaneFieldConfig().to_dict()
            assert loaded.to_diff_dict() == config.to_diff_dict()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"norm_num_groups": 5}, "`embedding_channels` must be a multiple of `norm_num_groups`, got 24 and 5"),
            ({"embedding_channels": 0}, "`embedding_channels` must be positive and finite, got 0"),
            ({"group_norm_eps": -1.0}, "`group_norm_eps` must be finite and not negative, got -1"),
            ({"num_attention_heads": 5}, "`hidden_size` must be a multiple of `num_attention_heads`, got 32 and 5"),
            ({"source_camera_azimuth": math.inf}, "`source_camera_azimuth` must be finite, got inf"),
            (
                {"encoder_config": {"model_type": "dinov2", "hidden_size": 24, "num_attention_heads": 2}},
                "`position_interpolation='legacy'` exists for `vit` encoders only, got 'dinov2'",
            ),
        ],
    )
    def test_refused(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            tiny_triposr_config(**options)


class TestDecoder:
    def test_gated_mlp(self) -> None:
        """Value first, gate second, exact GELU of the gate."""
        mlp = GatedMLP(tiny_triposr_config(hidden_size=2, num_attention_heads=1, mlp_ratio=0.5))
        with torch.no_grad():
            mlp.fc1.weight.copy_(torch.tensor([[1.0, 2.0], [0.5, -1.0]]))
            mlp.fc1.bias.copy_(torch.tensor([0.25, 0.5]))
            mlp.fc2.weight.copy_(torch.tensor([[2.0], [-1.0]]))
            mlp.fc2.bias.copy_(torch.tensor([0.0, 0.1]))
        value, gate = 1 * 3 + 2 * 1 + 0.25, 0.5 * 3 - 1 + 0.5  # 5.25 and 1
        hidden = value * gate * 0.5 * (1 + math.erf(gate / math.sqrt(2)))
        found = mlp(torch.tensor([3.0, 1.0])).tolist()
        assert found == pytest.approx([2 * hidden, -hidden + 0.1], rel=1e-6)

    @torch.no_grad()
    def test_block_by_hand(self) -> None:
        """Self-attention before cross-attention, each normalised before and added after."""
        layer = tiny_triposr().decoder.layers[1]
        generator = torch.Generator().manual_seed(1)
        states = torch.randn(2, 7, 32, generator=generator)
        condition = torch.randn(2, 5, 32, generator=generator)

        def norm(module: torch.nn.LayerNorm, values: Tensor) -> Tensor:
            return normalize(values, 1e-5) * module.weight + module.bias

        expected = states + layer.self_attn(norm(layer.self_norm, states))[0]
        expected = expected + layer.cross_attn(norm(layer.cross_norm, expected), condition)[0]
        expected = expected + layer.mlp(norm(layer.mlp_norm, expected))
        torch.testing.assert_close(layer(states, condition)[0], expected, atol=1e-4, rtol=1e-5)

    def test_biases(self) -> None:
        block = TripoSRBlock(tiny_triposr_config(), 32)
        for attention in (block.self_attn, block.cross_attn):
            assert attention.q_proj.bias is attention.k_proj.bias is attention.v_proj.bias is None
            assert attention.out_proj.bias is not None
        block = TripoSRBlock(tiny_triposr_config(attention_bias=True), 32)
        assert block.self_attn.k_proj.bias is not None

    def test_embeddings_may_be_of_another_width_than_the_blocks(self) -> None:
        model = tiny_triposr(embedding_channels=8, norm_num_groups=2)
        assert model(pixels()).planes.shape == (2, 3, 8, 8, 8)
        assert model.decoder.proj_out.weight.shape == (8, 32)

    @torch.no_grad()
    def test_planes_by_hand(self) -> None:
        """The shortcut from embeddings to planes: with an output projection of zero, nothing else is left."""
        model = tiny_triposr()
        model.decoder.proj_out.weight.zero_()
        model.decoder.proj_out.bias.zero_()
        planes = model(pixels()).planes
        for plane, row, column in ((0, 0, 0), (1, 2, 3), (2, 3, 1)):
            token = model.embeddings[plane, :, row, column]
            texels = torch.einsum("i,iohw->ohw", token, model.upsampler.weight) + model.upsampler.bias[:, None, None]
            found = planes[1, plane, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            torch.testing.assert_close(found, texels, atol=1e-5, rtol=1e-5)


class TestForward:
    @torch.no_grad()
    def test_outputs(self) -> None:
        model = tiny_triposr(attn_implementation="eager")
        target = torch.rand(2, 3, 3, 5, 4, generator=torch.Generator().manual_seed(3))
        cameras = orbit_cameras(3)
        output = model(pixels(), None, cameras, target, output_hidden_states=True, output_attentions=True)
        assert isinstance(output, LRMModelOutput)
        assert output.planes.shape == (2, 3, 8, 8, 8)
        expected = render(model.encode(pixels()), cameras, 5, 4)
        assert torch.equal(output.images, expected.images)
        assert float(output.loss) == pytest.approx(float((expected.images - target).square().mean()), rel=1e-6)
        assert [tuple(states.shape) for states in output.hidden_states] == [(2, 48, 32)] * 3
        assert [tuple(weights.shape) for weights in output.attentions] == [(2, 2, 48, 48)] * 2
        assert [tuple(weights.shape) for weights in output.cross_attentions] == [(2, 2, 48, 17)] * 2
        for weights in output.attentions + output.cross_attentions:
            torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 48))

    @torch.no_grad()
    def test_a_batch_of_three_equals_three_singles(self) -> None:
        model, images = tiny_triposr(), pixels(3)
        together = model(images).planes
        for i in range(3):
            # values go up to 20: larger batches are summed in another order
            torch.testing.assert_close(together[i : i + 1], model(images[i : i + 1]).planes, atol=2e-5, rtol=1e-5)
        assert float((together[0] - together[1]).abs().max()) > 1e-2

    @torch.no_grad()
    def test_attention_implementations_agree(self) -> None:
        eager, sdpa = (tiny_triposr(attn_implementation=name) for name in ("eager", "sdpa"))
        expected = eager(pixels()).planes
        # sums in another order, of states up to 100: an element may be off by a few bits of the largest
        torch.testing.assert_close(sdpa(pixels()).planes, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)
        with pytest.raises(ValueError, match="`output_attentions=True` needs attn_implementation='eager'"):
            sdpa(pixels(), output_attentions=True)

    def test_source_cameras_are_checked_though_not_read(self) -> None:
        with pytest.raises(TypeError, match="`source_cameras` must be Cameras or a tensor, got str"):
            tiny_triposr()(pixels(), "front")

    def test_default_source_camera(self) -> None:
        """On +x, looking along -x, z up."""
        pose = tiny_triposr().source_cameras(2).cam2world[1]
        expected = torch.tensor([[0.0, 0.0, 1.0, 1.9], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
        torch.testing.assert_close(pose[:3], expected, atol=1e-6, rtol=0)


class TestTraining:
    def test_every_parameter_gets_a_gradient(self) -> None:
        model = tiny_triposr().train()
        target = torch.rand(2, 2, 3, 6, 6, generator=torch.Generator().manual_seed(3))
        model(pixels(), None, orbit_cameras(2, distance=1.9), target, generator=torch.Generator()).loss.backward()
        without = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
        # a key's bias moves all scores of a row alike, which softmax does not see
        assert [name for name in without if not name.endswith(("key.bias", "k_proj.bias"))] == []

    def test_gradient_checkpointing(self) -> None:
        gradients = []
        for checkpointing in (False, True):
            model = tiny_triposr().train()
            if checkpointing:
                model.gradient_checkpointing_enable()
            calls: list[None] = []
            for layer in model.decoder.layers:
                layer.self_norm.register_forward_pre_hook(lambda *args, calls=calls: calls.append(None))
            model(pixels()).planes.square().mean().backward()
            assert len(calls) == (4 if checkpointing else 2), "checkpointed layers run a second time"
            gradients.append({name: p.grad for name, p in model.named_parameters()})
        plain, checkpointed = gradients
        for name, gradient in plain.items():
            if gradient is None:
                assert checkpointed[name] is None
            else:
                torch.testing.assert_close(checkpointed[name], gradient, atol=1e-5, rtol=1e-4, msg=name)

    def test_lora(self) -> None:
        """peft's adapters fit the decoder's projections; fused they change nothing."""
        peft = pytest.importorskip("peft")
        model = tiny_triposr()
        config = peft.LoraConfig(r=2, target_modules=r"decoder\.layers\.\d+\.(self|cross)_attn\.(q|v)_proj")
        adapted = peft.get_peft_model(copy.deepcopy(model), config).eval()
        with torch.no_grad():
            assert torch.equal(adapted(pixels()).planes, model(pixels()).planes), "a fresh adapter adds nothing"
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name:
                    parameter.fill_(0.1)
            assert sum("lora_B" in name for name, _ in adapted.named_parameters()) == 8
            with_adapter = adapted(pixels()).planes
            assert float((with_adapter - model(pixels()).planes).abs().max()) > 1e-3
            fused = adapted.merge_and_unload()
            torch.testing.assert_close(fused(pixels()).planes, with_adapter, atol=1e-4, rtol=1e-4)

    def test_initial_weights(self) -> None:
        torch.manual_seed(0)
        config = tiny_triposr_config(hidden_size=256, embedding_channels=256, norm_num_groups=32, triplane_low_res=8)
        model = TripoSRModel(config)
        # relative error of a standard deviation from n samples: 1 / sqrt(2 n), 0.3 % for the smallest
        assert float(model.embeddings.detach().std()) == pytest.approx(1 / 16, rel=0.02)
        layer = model.decoder.layers[1]
        for linear in (model.decoder.proj_in, layer.self_attn.q_proj, layer.cross_attn.k_proj, layer.mlp.fc1):
            assert float(linear.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
        assert not bool(layer.self_attn.out_proj.bias.any())
        for norm in (model.decoder.norm, layer.self_norm, layer.cross_norm, layer.mlp_norm):
            assert bool((norm.weight == 1).all())
            assert not bool(norm.bias.any())

    @torch.no_grad()
    def test_a_fresh_field_is_neither_empty_nor_solid(self) -> None:
        torch.manual_seed(0)
        model = TripoSRModel(tiny_triposr_config()).eval()
        output = model(pixels(), render_cameras=orbit_cameras(2, distance=1.9), height=8, width=8)
        assert 0.05 < float(output.opacity[..., 3:5, 3:5].mean()) < 0.95


class TestFiles:
    @pytest.mark.parametrize("shards", ["5GB", "30KB"])
    def test_round_trip_is_bit_identical(self, shards: str, tmp_path: Path) -> None:
        model = tiny_triposr()
        model.save_pretrained(tmp_path, max_shard_size=shards)
        assert len(list(tmp_path.glob("*.safetensors"))) > (1 if shards == "30KB" else 0)
        for loaded in (TripoSRModel.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
            assert type(loaded) is TripoSRModel
            with torch.no_grad():
                assert torch.equal(model(pixels()).planes, loaded(pixels()).planes)
        stored = json.loads((tmp_path / "config.json").read_text())
        assert (stored["architectures"], stored["model_type"]) == (["TripoSRModel"], "triposr")

    def test_names_on_disk(self, tmp_path: Path) -> None:
        """Ours to keep stable: checkpoints outlive versions."""
        tiny_triposr().save_pretrained(tmp_path)
        with safe_open(tmp_path / "model.safetensors", "pt") as file:
            names = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        ours = {name: shape for name, shape in names.items() if not name.startswith("encoder.")}
        block = {
            "mlp.fc1.weight": (256, 32),
            "mlp.fc1.bias": (256,),
            "mlp.fc2.weight": (32, 128),
            "mlp.fc2.bias": (32,),
        }
        for attention in ("self_attn", "cross_attn"):
            block |= {f"{attention}.{part}_proj.weight": (32, 32) for part in ("q", "k", "v", "out")}
            block[f"{attention}.out_proj.bias"] = (32,)
        for norm in ("self_norm", "cross_norm", "mlp_norm"):
            block |= {f"{norm}.weight": (32,), f"{norm}.bias": (32,)}
        expected = {f"decoder.layers.{i}.{name}": shape for i in range(2) for name, shape in block.items()} | {
            "embeddings": (3, 24, 4, 4),
            "decoder.norm.weight": (24,),
            "decoder.norm.bias": (24,),
            "decoder.proj_in.weight": (32, 24),
            "decoder.proj_in.bias": (32,),
            "decoder.proj_out.weight": (24, 32),
            "decoder.proj_out.bias": (24,),
            "upsampler.weight": (24, 8, 2, 2),
            "upsampler.bias": (8,),
            "field_mlp.layers.0.weight": (16, 24),
            "field_mlp.layers.0.bias": (16,),
            "field_mlp.layers.1.weight": (16, 16),
            "field_mlp.layers.1.bias": (16,),
            "field_mlp.layers.2.weight": (4, 16),
            "field_mlp.layers.2.bias": (4,),
        }
        assert ours == expected
        assert len(names) > len(ours)

    @pytest.mark.parametrize("device_map", ["auto", {"": "cpu"}])
    def test_device_map(self, device_map: Any, tmp_path: Path) -> None:
        model = tiny_triposr()
        model.save_pretrained(tmp_path)
        loaded = TripoSRModel.from_pretrained(tmp_path, device_map=device_map).cpu()
        with torch.no_grad():
            torch.testing.assert_close(loaded(pixels()).planes, model(pixels()).planes, atol=1e-5, rtol=0)

    @torch.no_grad()
    def test_half_precision_keeps_the_field_in_float32(self, tmp_path: Path) -> None:
        model = tiny_triposr()
        model.save_pretrained(tmp_path)
        exact = model(pixels()).planes
        for half in (TripoSRModel.from_pretrained(tmp_path, dtype=torch.bfloat16), copy.deepcopy(model).bfloat16()):
            field = half.encode(pixels())
            assert half.decoder.norm.weight.dtype == half.embeddings.dtype == torch.bfloat16
            assert {tensor.dtype for tensor in (field.planes, *field.weights, *field.biases)} == {torch.float32}
            # bfloat16 has 8 bits, and some ten layers follow each other
            assert float((field.planes - exact).abs().max()) < 0.1 * float(exact.abs().max())
        with torch.autocast("cpu", torch.bfloat16):
            field = model.encode(pixels())
        assert field.planes.dtype == torch.float32
        assert float((field.planes - exact).abs().max()) < 0.1 * float(exact.abs().max())


class TestCompile:
    def test_planes_have_no_graph_breaks(self) -> None:
        """`fullgraph=True` refuses a break. Backend "eager" leaves out what comes after tracing."""
        torch._dynamo.reset()
        model = tiny_triposr(num_hidden_layers=1)
        compiled = torch.compile(model.forward_planes, fullgraph=True, backend="eager")
        with torch.no_grad():
            torch.testing.assert_close(compiled(pixels())[0], model.forward_planes(pixels())[0], atol=1e-6, rtol=0)

    @pytest.mark.slow
    def test_compiled_planes_and_gradients(self) -> None:
        torch._dynamo.reset()
        model = tiny_triposr()
        gradients = []
        for function in (
            model.forward_planes,
            torch.compile(model.forward_planes, fullgraph=True, backend="aot_eager"),
        ):
            planes = function(pixels(), orbit_cameras(2))[0]
            model.zero_grad()
            planes.square().mean().backward()
            gradients.append((planes.detach(), model.upsampler.weight.grad.clone(), model.embeddings.grad.clone()))
        for expected, found in zip(*gradients, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
