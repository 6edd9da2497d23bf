# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""LRMModel: outputs and losses, cameras in all forms, encoders, initial weights, files, precision, compiling."""

from __future__ import annotations

import copy
import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from lrm_hf.cameras import Cameras, orbit_cameras
from lrm_hf.modeling.configuration_lrm import LRMConfig
from lrm_hf.modeling.encoder import encode_tokens
from lrm_hf.modeling.field import TriplaneField
from lrm_hf.modeling.modeling_lrm import LRMModel, LRMModelOutput
from lrm_hf.rendering import render


ENCODER = {
    "model_type": "vit",
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}
LIFT = {"lift_samples": 3, "lift_channels": 4, "lift_planes": [1], "lift_upscale": 2}
KINDS = ("basic", "condition", "condition_modulation")


def small_config(encoder: str = "vit", **options: Any) -> LRMConfig:
    values = {
        "encoder_config": {**ENCODER, "model_type": encoder},
        "field_config": {"channels": 4, "hidden_size": 8, "num_hidden_layers": 2, "num_samples": 8},
        "image_size": 16,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "camera_embed_dim": 12,
        "triplane_low_res": 4,
    }
    return LRMConfig(**(values | options))


def make_model(encoder: str = "vit", seed: int = 0, **options: Any) -> LRMModel:
    """A small model whose parameters are all of a size that shows."""
    model = LRMModel(small_config(encoder, **options)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def pictures(batch: int = 2, height: int = 16, width: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def assert_same_weights(a: nn.Module, b: nn.Module) -> None:
    first, second = a.state_dict(), b.state_dict()
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


class TestForward:
    def test_planes_alone(self) -> None:
        model = make_model()
        output = model(pictures())
        assert isinstance(output, LRMModelOutput)
        assert list(output) == ["planes"]
        assert output.planes.shape == (2, 3, 4, 8, 8)
        assert output.planes.dtype == torch.float32
        assert model.config.planes_resolution == 8

    def test_renders(self) -> None:
        model = make_model()
        cameras = orbit_cameras(3)
        output = model(pictures(), render_cameras=cameras, height=6, width=8, background=0.25)
        assert list(output) == ["planes", "images", "depth", "opacity"]
        assert output.images.shape == (2, 3, 3, 6, 8)
        assert output.depth.shape == output.opacity.shape == (2, 3, 1, 6, 8)
        expected = render(model.encode(pictures()), cameras, 6, 8, 0.25)
        assert torch.equal(output.images, expected.images)
        assert torch.equal(output.depth, expected.depth)

    def test_loss_is_the_mean_squared_error(self) -> None:
        model = make_model()
        target = torch.rand(2, 3, 3, 5, 4, generator=torch.Generator().manual_seed(3))
        output = model(pictures(), None, orbit_cameras(3), target)
        assert output.images.shape == target.shape, "the size comes from the targets"
        by_hand = sum(
            (a - b) ** 2 for a, b in zip(output.images.flatten().tolist(), target.flatten().tolist(), strict=True)
        )
        assert float(output.loss.detach()) == pytest.approx(by_hand / target.numel(), rel=1e-5)
        assert list(output)[0] == "loss"
        assert model(pictures(), None, orbit_cameras(3), target, return_dict=False)[0] == output.loss

    def test_crops_and_other_arguments_reach_the_renderer(self) -> None:
        model = make_model()
        cameras = orbit_cameras(2)
        anchors = torch.tensor([[1, 2], [3, 0]])
        background = torch.rand(2, 2, 3, generator=torch.Generator().manual_seed(0))
        options = {"anchors": anchors, "full_size": (9, 9), "num_samples": 12, "chunk_size": 300}
        output = model(pictures(), render_cameras=cameras, height=4, width=5, background=background, **options)
        expected = render(model.encode(pictures()), cameras, 4, 5, background, **options)
        assert torch.equal(output.images, expected.images)

    def test_encode(self) -> None:
        model = make_model()
        field = model.encode(pictures())
        assert isinstance(field, TriplaneField)
        assert field.config is model.config.field_config
        assert torch.equal(field.planes, model(pictures()).planes)
        assert all(torch.equal(w, layer.weight) for w, layer in zip(field.weights, model.field_mlp.layers, strict=True))

    def test_training_draws_noise_and_evaluation_does_not(self) -> None:
        model = make_model()
        arguments = {"render_cameras": orbit_cameras(2), "height": 5, "width": 5}
        assert torch.equal(model(pictures(), **arguments).images, model(pictures(), **arguments).images)
        noisy = model(pictures(), **arguments, generator=torch.Generator().manual_seed(1)).images
        assert torch.equal(noisy, model(pictures(), **arguments, generator=torch.Generator().manual_seed(1)).images)
        model.train()
        torch.manual_seed(1)
        assert torch.equal(model(pictures(), **arguments).images, noisy)
        assert not torch.equal(model(pictures(), **arguments).images, noisy)

    def test_states_and_attentions(self) -> None:
        model = make_model(attn_implementation="eager")
        output = model(pictures(), output_hidden_states=True, output_attentions=True)
        assert [tuple(states.shape) for states in output.hidden_states] == [(2, 48, 32)] * 3
        assert torch.equal(output.hidden_states[0], model.pos_embed.expand(2, -1, -1))
        assert [tuple(weights.shape) for weights in output.attentions] == [(2, 4, 48, 48)] * 2
        assert [tuple(weights.shape) for weights in output.cross_attentions] == [(2, 4, 48, 17)] * 2
        for weights in output.attentions + output.cross_attentions:
            torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 48))
        model.config.output_hidden_states = True
        assert len(model(pictures()).hidden_states) == 3

    def test_basic_blocks_attend_to_picture_tokens_beside_their_own(self) -> None:
        model = make_model(decoder_block="basic", attn_implementation="eager")
        output = model(pictures(), output_attentions=True, output_hidden_states=True)
        assert output.cross_attentions is None
        assert output.attentions[0].shape == (2, 4, 48 + 17, 48 + 17)
        assert output.hidden_states[0].shape == (2, 65, 32)

    @pytest.mark.parametrize("kind", KINDS)
    @torch.no_grad()
    def test_planes_depend_on_the_picture(self, kind: str) -> None:
        model = make_model(decoder_block=kind)
        assert float((model(pictures(seed=0)).planes - model(pictures(seed=1)).planes).abs().max()) > 1e-3

    @pytest.mark.parametrize("options", [{}, {"decoder_block": "basic"}, LIFT], ids=["plain", "basic", "lift"])
    @torch.no_grad()
    def test_a_batch_of_three_equals_three_singles(self, options: dict) -> None:
        model = make_model(**options)
        images, cameras = pictures(3), orbit_cameras(3, elevation=10.0)
        arguments = {"render_cameras": orbit_cameras(2), "height": 6, "width": 6}
        together = model(images, cameras, **arguments)
        for i in range(3):
            alone = model(images[i : i + 1], cameras[i], **arguments)
            for name in ("planes", "images", "opacity"):
                torch.testing.assert_close(together[name][i : i + 1], alone[name], atol=1e-5, rtol=0)

    def test_planes_and_upsampler_by_hand(self) -> None:
        """Tokens are plane-major, then row by row; each becomes four texels: kernel and stride 2."""
        model = make_model()
        states = model(pictures(), output_hidden_states=True)
        tokens = model.decoder.norm(states.hidden_states[-1])
        for plane, row, column in ((0, 0, 0), (1, 2, 3), (2, 3, 1)):
            token = tokens[1, (plane * 4 + row) * 4 + column]
            texels = torch.einsum("i,iohw->ohw", token, model.upsampler.weight) + model.upsampler.bias[:, None, None]
            found = states.planes[1, plane, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            torch.testing.assert_close(found, texels, atol=1e-5, rtol=1e-5)


class TestCameraForms:
    @pytest.mark.parametrize("options", [{}, LIFT], ids=["plain", "lift"])
    def test_default_is_the_canonical_camera(self, options: dict) -> None:
        model = make_model(source_camera_distance=2.5, source_camera_focal=0.9, source_camera_elevation=15.0, **options)
        camera = Cameras.canonical(2.5, 0.9, 15.0)
        expected = model(pictures()).planes
        for form in (camera, camera.expand(2), camera.to_source_vector().expand(2, 16), camera.to_source_vector()):
            assert torch.equal(model(pictures(), form).planes, expected)
        assert not torch.equal(model(pictures(), Cameras.canonical(2.0)).planes, expected)

    def test_every_picture_has_its_own(self) -> None:
        model = make_model()
        same = pictures(1).expand(2, 3, 16, 16)
        first, second = model(same, orbit_cameras(2)).planes
        assert float((first - second).abs().max()) > 1e-3

    def test_camera_embedder(self) -> None:
        """Linear 16 to D, SiLU, Linear D to D, of the 12 extrinsic and 4 intrinsic numbers."""
        embedder = make_model().camera_embedder
        vector = Cameras.canonical().to_source_vector()[None]
        hidden = vector @ embedder.fc1.weight.T + embedder.fc1.bias
        expected = hidden / (1 + torch.exp(-hidden)) @ embedder.fc2.weight.T + embedder.fc2.bias
        torch.testing.assert_close(embedder(vector), expected, atol=1e-6, rtol=1e-5)

    def test_unmodulated_models_have_no_embedder(self) -> None:
        for kind in ("basic", "condition"):
            model = make_model(decoder_block=kind)
            assert model.camera_embedder is None
            planes = model(pictures()).planes
            assert torch.equal(planes, model(pictures(), orbit_cameras(2)).planes), "no lift: nothing reads the camera"

    def test_render_cameras(self) -> None:
        model = make_model()
        cameras = orbit_cameras(3)
        expected = model(pictures(), render_cameras=cameras, height=5, width=5).images
        for form in (cameras.expand(2, 3), cameras.to_render_vector(), cameras.to_render_vector().expand(2, 3, 25)):
            assert torch.equal(model(pictures(), render_cameras=form, height=5, width=5).images, expected)


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "arguments", "message"),
        [
            (TypeError, {"pixel_values": [[0.0]]}, "`pixel_values` must be a floating point tensor, got list"),
            (TypeError, {"pixel_values": torch.zeros(2, 3, 16, 16, dtype=torch.uint8)}, r"got torch\.uint8"),
            (
                ValueError,
                {"pixel_values": torch.zeros(3, 16, 16)},
                r"`pixel_values` must have shape .* got \(3, 16, 16\)",
            ),
            (
                ValueError,
                {"pixel_values": torch.zeros(2, 4, 16, 16)},
                r"`pixel_values` must have shape .* got \(2, 4, 16",
            ),
            (ValueError, {"pixel_values": torch.zeros(0, 3, 16, 16)}, "`pixel_values` must have shape"),
            (
                ValueError,
                {"pixel_values": torch.zeros(2, 3, 16, 18)},
                r"multiples of the encoder's patch size \(4, 4\), got",
            ),
            (TypeError, {"source_cameras": "front"}, "`source_cameras` must be Cameras or a tensor, got str"),
            (ValueError, {"source_cameras": torch.zeros(2, 25)}, r"`source_cameras` .* shape \(2, 16\), got \(2, 25\)"),
            (
                ValueError,
                {"source_cameras": orbit_cameras(3)},
                r"`source_cameras` must have shape \(2,\) or \(\), got \(3,\)",
            ),
            (
                ValueError,
                {"source_cameras": torch.full((2, 16), math.nan)},
                "`source_cameras`: `cam2world` holds values",
            ),
            (ValueError, {"source_cameras": torch.zeros(2, 16)}, "`source_cameras`: `cam2world` must hold a rotation"),
            (TypeError, {"render_cameras": 8}, "`render_cameras` must be Cameras or a tensor, got int"),
            (ValueError, {"render_cameras": torch.zeros(2, 16)}, r"`render_cameras` .* 25\), got \(2, 16\)"),
            (ValueError, {"render_cameras": orbit_cameras(2)}, "`height` and `width` are needed to render"),
            (
                ValueError,
                {"target_images": torch.zeros(2, 2, 3, 4, 4)},
                "`target_images` were given without `render_cameras`",
            ),
            (
                ValueError,
                {"render_cameras": orbit_cameras(2), "target_images": torch.zeros(2, 3, 3, 4, 4)},
                r"`target_images` must have shape \(2, 2, 3, 4, 4\), got \(2, 3, 3, 4, 4\)",
            ),
            (
                TypeError,
                {"render_cameras": orbit_cameras(2), "target_images": torch.zeros(2, 2, 3, 4, 4, dtype=torch.uint8)},
                r"`target_images` must be a floating point tensor .* got torch\.uint8 \(2, 2, 3, 4, 4\)",
            ),
            (
                TypeError,
                {"render_cameras": orbit_cameras(2), "target_images": [1.0]},
                "`target_images` must be a floating point tensor .* got list",
            ),
            (TypeError, {"targets": None}, "`forward` got unknown arguments: targets"),
            (ValueError, {"output_attentions": True}, "`output_attentions=True` needs attn_implementation='eager'"),
        ],
    )
    def test_messages_name_the_argument(self, error: type[Exception], arguments: dict, message: str) -> None:
        model = make_model(attn_implementation="sdpa")
        with pytest.raises(error, match=message):
            model(**({"pixel_values": pictures()} | arguments))

    def test_encoder_that_takes_no_pictures(self) -> None:
        with pytest.raises(
            ValueError, match="`encoder_config` must be that of an image encoder, but 'bert' takes 'input_ids'"
        ):
            LRMModel(small_config(encoder_config={"model_type": "bert", "hidden_size": 24, "num_attention_heads": 2}))


class TestEncoders:
    @pytest.mark.parametrize("size", [(16, 16), (24, 24), (16, 24), (24, 12)])
    @pytest.mark.parametrize("encoder", ["vit", "dinov2", "dinov2_with_registers"])
    @torch.no_grad()
    def test_every_size(self, encoder: str, size: tuple[int, int]) -> None:
        model = make_model(encoder, **LIFT)
        images = pictures(2, *size)
        tokens = encode_tokens(model.encoder, images)
        assert tokens.shape == (2, 1 + size[0] // 4 * (size[1] // 4), 24)
        planes = model(images).planes
        assert planes.shape == (2, 3, 4, 16, 16)
        assert bool(torch.isfinite(planes).all())

    @torch.no_grad()
    def test_registers_are_dropped(self) -> None:
        model = make_model(
            "dinov2_with_registers",
            encoder_config={**ENCODER, "model_type": "dinov2_with_registers", "num_register_tokens": 3},
        )
        everything = model.encoder(pictures()).last_hidden_state
        assert everything.shape == (2, 1 + 3 + 16, 24)
        tokens = encode_tokens(model.encoder, pictures())
        assert torch.equal(tokens, everything[:, [0, *range(4, 20)]])

    @pytest.mark.parametrize("encoder", ["clip_vision_model", "deit", "siglip_vision_model"])
    @torch.no_grad()
    def test_other_encoders_that_give_tokens(self, encoder: str) -> None:
        """With a distillation token, without a class token, with another layout inside."""
        model = make_model(encoder, **LIFT)
        for size in ((16, 16), (24, 16)):
            assert bool(torch.isfinite(model(pictures(1, *size)).planes).all())

    def test_logs_the_encoder(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, logger="lrm_hf"):
            make_model("dinov2")
        messages = [(record.levelno, record.getMessage()) for record in caplog.records]
        assert messages == [(logging.INFO, "image encoder dinov2: 2 layers, width 24")]


class TestGradients:
    @pytest.mark.parametrize("encoder", ["vit", "dinov2", "dinov2_with_registers"])
    @pytest.mark.parametrize("options", [{"decoder_block": kind} for kind in KINDS] + [LIFT], ids=[*KINDS, "lift"])
    def test_every_parameter_gets_one(self, encoder: str, options: dict) -> None:
        model = make_model(encoder, **options).train()
        target = torch.rand(2, 2, 3, 6, 6)
        loss = model(pictures(), orbit_cameras(2), orbit_cameras(2), target, generator=torch.Generator()).loss
        loss.backward()
        without = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
        mask_token = [] if encoder == "vit" else ["encoder.embeddings.mask_token"]
        # a key's bias moves all scores of a row alike, which softmax does not see
        assert [name for name in without if not name.endswith(("key.bias", "k_proj.bias"))] == mask_token
        # distributed training refuses parameters that want a gradient and get none
        assert [name for name, p in model.named_parameters() if not p.requires_grad] == mask_token

    def test_one_step_lowers_the_loss(self) -> None:
        torch.manual_seed(0)
        model = LRMModel(small_config())
        target = pictures(4, 6, 6).reshape(2, 2, 3, 6, 6)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
        losses = []
        for _ in range(2):
            loss = model(pictures(), None, orbit_cameras(2), target).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[1] < losses[0]

    def test_gradient_checkpointing(self) -> None:
        gradients = []
        for checkpointing in (False, True):
            model = make_model(**LIFT).train()
            if checkpointing:
                model.gradient_checkpointing_enable()
            calls: list[None] = []
            for layer in model.decoder.layers:
                layer.self_norm.register_forward_pre_hook(lambda *args, calls=calls: calls.append(None))
            model(pictures()).planes.square().sum().backward()
            assert len(calls) == (4 if checkpointing else 2), "checkpointed layers run a second time"
            gradients.append({name: p.grad for name, p in model.named_parameters()})
        plain, checkpointed = gradients
        for name, gradient in plain.items():
            torch.testing.assert_close(checkpointed[name], gradient, atol=1e-6, rtol=1e-5, msg=name)


class TestInitialWeights:
    def test_statistics(self) -> None:
        torch.manual_seed(0)
        model = LRMModel(
            small_config(hidden_size=256, triplane_low_res=8, camera_embed_dim=128, initializer_range=0.05, **LIFT)
        )

        def deviation(tensor: Tensor) -> float:
            assert abs(float(tensor.detach().mean())) < 0.2 * float(tensor.detach().std()) + 1e-12
            return float(tensor.detach().std())

        # relative error of a standard deviation from n samples: 1 / sqrt(2 n), 0.2 % for the first
        assert deviation(model.pos_embed) == pytest.approx(1 / math.sqrt(256), rel=0.02)
        layer = model.decoder.layers[1]
        for linear in (
            layer.cross_attn.q_proj,
            layer.cross_attn.k_proj,
            layer.self_attn.out_proj,
            layer.mlp.fc1,
            layer.mlp.fc2,
        ):
            assert deviation(linear.weight) == pytest.approx(0.05, rel=0.05)
        assert deviation(model.upsampler.weight) == pytest.approx(0.05, rel=0.05)
        assert deviation(model.camera_embedder.fc2.weight) == pytest.approx(0.05, rel=0.05)
        for norm in (layer.cross_norm, layer.self_norm, layer.mlp_norm):
            assert not bool(norm.modulation.weight.any()), "a fresh block is unmodulated"
            assert not bool(norm.modulation.bias.any())
            assert bool((norm.norm.weight == 1).all())
        assert not bool(layer.mlp.fc1.bias.any())
        assert bool((model.decoder.norm.weight == 1).all())
        assert deviation(model.token_lift.mix.weight) == pytest.approx((3 * 8) ** -0.5, rel=0.05)
        for parameter in model.parameters():
            assert bool(torch.isfinite(parameter).all())
        # the encoder's own rules hold for the encoder
        assert deviation(model.encoder.embeddings.position_embeddings) == pytest.approx(0.02, rel=0.15)

    def test_a_fresh_field_is_neither_empty_nor_solid(self) -> None:
        torch.manual_seed(0)
        model = LRMModel(small_config()).eval()
        output = model(pictures(), render_cameras=orbit_cameras(2), height=8, width=8)
        assert 0.05 < float(output.opacity[..., 3:5, 3:5].mean()) < 0.95

    def test_seed_decides(self) -> None:
        models = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            models.append(LRMModel(small_config()))
        assert_same_weights(models[0], models[1])
        assert not torch.equal(models[0].pos_embed, models[2].pos_embed)


class TestFiles:
    @pytest.mark.parametrize(
        "options",
        [{}, {"decoder_block": "basic"}, {"decoder_block": "condition"}, LIFT],
        ids=["plain", "basic", "condition", "lift"],
    )
    @pytest.mark.parametrize("encoder", ["vit", "dinov2", "dinov2_with_registers"])
    def test_round_trip_is_bit_identical(self, encoder: str, options: dict, tmp_path: Path) -> None:
        model = make_model(encoder, **options)
        model.save_pretrained(tmp_path)
        for loaded in (LRMModel.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
            assert type(loaded) is LRMModel
            assert not loaded.training
            assert_same_weights(model, loaded)
            assert torch.equal(model(pictures()).planes, loaded(pictures()).planes)
        assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == model.config.to_diff_dict()

    def test_sharded(self, tmp_path: Path) -> None:
        model = make_model()
        model.save_pretrained(tmp_path, max_shard_size="30KB")
        shards = sorted(tmp_path.glob("model-*.safetensors"))
        assert len(shards) > 2
        assert (tmp_path / "model.safetensors.index.json").is_file()
        assert_same_weights(model, LRMModel.from_pretrained(tmp_path))

    def test_variant(self, tmp_path: Path) -> None:
        model = make_model()
        copy.deepcopy(model).half().save_pretrained(tmp_path, variant="fp16")
        assert [path.name for path in tmp_path.glob("*.safetensors")] == ["model.fp16.safetensors"]
        with pytest.raises(OSError, match="model.safetensors"):
            LRMModel.from_pretrained(tmp_path)
        loaded = LRMModel.from_pretrained(tmp_path, variant="fp16", dtype=torch.float32)
        for name, value in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value.half().float()), name

    def test_names_on_disk(self, tmp_path: Path) -> None:
        """What is inside of our own modules is ours to keep stable: checkpoints outlive versions."""
        make_model(**LIFT).save_pretrained(tmp_path)
        with safe_open(tmp_path / "model.safetensors", "pt") as file:
            names = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        ours = {name: shape for name, shape in names.items() if not name.startswith("encoder.")}
        block = {
            "cross_attn.k_proj.weight": (32, 24),
            "cross_attn.out_proj.weight": (32, 32),
            "cross_attn.q_proj.weight": (32, 32),
            "cross_attn.v_proj.weight": (32, 24),
            "self_attn.k_proj.weight": (32, 32),
            "self_attn.out_proj.weight": (32, 32),
            "self_attn.q_proj.weight": (32, 32),
            "self_attn.v_proj.weight": (32, 32),
            "mlp.fc1.bias": (128,),
            "mlp.fc1.weight": (128, 32),
            "mlp.fc2.bias": (32,),
            "mlp.fc2.weight": (32, 128),
        }
        for norm in ("cross_norm", "self_norm", "mlp_norm"):
            block |= {
                f"{norm}.modulation.bias": (64,),
                f"{norm}.modulation.weight": (64, 12),
                f"{norm}.norm.bias": (32,),
                f"{norm}.norm.weight": (32,),
            }
        expected = {f"decoder.layers.{i}.{name}": shape for i in range(2) for name, shape in block.items()} | {
            "camera_embedder.fc1.bias": (12,),
            "camera_embedder.fc1.weight": (12, 16),
            "camera_embedder.fc2.bias": (12,),
            "camera_embedder.fc2.weight": (12, 12),
            "decoder.norm.bias": (32,),
            "decoder.norm.weight": (32,),
            "field_mlp.layers.0.bias": (8,),
            "field_mlp.layers.0.weight": (8, 12),
            "field_mlp.layers.1.bias": (8,),
            "field_mlp.layers.1.weight": (8, 8),
            "field_mlp.layers.2.bias": (4,),
            "field_mlp.layers.2.weight": (4, 8),
            "pixel_lift.fc1.bias": (1, 8),
            "pixel_lift.fc1.weight": (1, 8, 16),
            "pixel_lift.fc2.bias": (1, 4),
            "pixel_lift.fc2.weight": (1, 4, 8),
            "pixel_lift.stem.0.bias": (4,),
            "pixel_lift.stem.0.weight": (4, 3, 4, 4),
            "pixel_lift.stem.2.bias": (4,),
            "pixel_lift.stem.2.weight": (4, 4, 3, 3),
            "pos_embed": (1, 48, 32),
            "token_lift.mix.bias": (3, 32),
            "token_lift.mix.weight": (3, 32, 24),
            "token_lift.squeeze.bias": (8,),
            "token_lift.squeeze.weight": (8, 24),
            "upsampler.bias": (4,),
            "upsampler.weight": (32, 4, 2, 2),
        }
        assert ours == expected
        assert len(names) > len(ours)

    def test_config_on_disk(self, tmp_path: Path) -> None:
        make_model("dinov2_with_registers").save_pretrained(tmp_path)
        stored = json.loads((tmp_path / "config.json").read_text())
        assert stored["architectures"] == ["LRMModel"]
        assert stored["encoder_config"]["model_type"] == "dinov2_with_registers"

    @pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}])
    def test_device_map(self, device_map: Any, tmp_path: Path) -> None:
        model = make_model(**LIFT)
        model.save_pretrained(tmp_path)
        loaded = LRMModel.from_pretrained(tmp_path, device_map=device_map)
        assert_same_weights(model, loaded.cpu())
        torch.testing.assert_close(loaded(pictures()).planes, model(pictures()).planes, atol=1e-6, rtol=0)

    def test_attention_implementation_at_load(self, tmp_path: Path) -> None:
        make_model().save_pretrained(tmp_path)
        eager = LRMModel.from_pretrained(tmp_path, attn_implementation="eager")
        sdpa = LRMModel.from_pretrained(tmp_path, attn_implementation="sdpa")
        assert eager.config._attn_implementation == eager.encoder.config._attn_implementation == "eager"
        assert sdpa.config._attn_implementation == sdpa.encoder.config._attn_implementation == "sdpa"
        torch.testing.assert_close(eager(pictures()).planes, sdpa(pictures()).planes, atol=1e-5, rtol=0)
        assert eager(pictures(), output_attentions=True).attentions is not None
        sdpa.set_attn_implementation("eager")
        assert sdpa(pictures(), output_attentions=True).attentions is not None


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("options", [{}, LIFT], ids=["plain", "lift"])
    @torch.no_grad()
    def test_loaded_in_half_keeps_the_field_in_float32(self, dtype: torch.dtype, options: dict, tmp_path: Path) -> None:
        model = make_model(**options)
        model.save_pretrained(tmp_path)
        loaded = LRMModel.from_pretrained(tmp_path, dtype=dtype)
        kinds = {name: p.dtype for name, p in loaded.named_parameters()}
        assert {kind for name, kind in kinds.items() if name.startswith("field_mlp.")} == {torch.float32}
        assert {kind for name, kind in kinds.items() if not name.startswith("field_mlp.")} == {dtype}
        self.check_field(model, loaded)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("options", [{}, LIFT, {"decoder_block": "basic"}], ids=["plain", "lift", "basic"])
    @torch.no_grad()
    def test_cast_to_half(self, dtype: torch.dtype, options: dict) -> None:
        model = make_model(**options)
        self.check_field(model, copy.deepcopy(model).to(dtype))

    @pytest.mark.parametrize("options", [{}, LIFT], ids=["plain", "lift"])
    def test_autocast(self, options: dict) -> None:
        model = make_model(**options)
        target = torch.rand(2, 2, 3, 5, 5)
        with torch.autocast("cpu", torch.bfloat16):
            output = model(pictures(), None, orbit_cameras(2), target)
            self.check_field(model, model)
        assert output.loss.dtype == torch.float32
        output.loss.backward()
        assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters())

    @staticmethod
    def check_field(model: LRMModel, half: LRMModel) -> None:
        with torch.autocast("cpu", enabled=False):
            exact = model(pictures()).planes
        field = half.encode(pictures())
        assert field.planes.dtype == torch.float32
        assert {tensor.dtype for tensor in field.weights + field.biases} == {torch.float32}
        # bfloat16 has 8 bits, and some ten layers follow each other
        assert float((field.planes - exact).abs().max()) < 0.1 * float(exact.abs().max())
        views = render(field, orbit_cameras(2), 5, 5)
        assert views.images.dtype == torch.float32
        assert bool(torch.isfinite(views.images).all())


class TestCompile:
    def test_planes_have_no_graph_breaks(self) -> None:
        """`fullgraph=True` refuses a break. Backend "eager" leaves out what comes after tracing."""
        torch._dynamo.reset()
        model = make_model(num_hidden_layers=1, encoder_config={**ENCODER, "num_hidden_layers": 1}, **LIFT)
        compiled = torch.compile(model.forward_planes, fullgraph=True, backend="eager")
        with torch.no_grad():
            torch.testing.assert_close(compiled(pictures())[0], model.forward_planes(pictures())[0], atol=1e-6, rtol=0)

    @pytest.mark.slow
    @pytest.mark.parametrize("encoder", ["vit", "dinov2", "dinov2_with_registers"])
    @pytest.mark.parametrize("options", [{}, LIFT, {"decoder_block": "basic"}], ids=["plain", "lift", "basic"])
    def test_compiled_planes_and_gradients(self, encoder: str, options: dict) -> None:
        torch._dynamo.reset()
        model = make_model(encoder, **options)
        compiled = torch.compile(model.forward_planes, fullgraph=True, backend="aot_eager")
        cameras = orbit_cameras(2, elevation=10.0)
        gradients = []
        for function in (model.forward_planes, compiled):
            for source in (None, cameras, cameras.to_source_vector()):
                planes = function(pictures(), source)[0]
                model.zero_grad()
                planes.square().sum().backward()
                gradients.append((planes.detach(), model.upsampler.weight.grad.clone(), model.pos_embed.grad.clone()))
        for plain, fast in zip(gradients[:3], gradients[3:], strict=True):
            for expected, found in zip(plain, fast, strict=True):
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
