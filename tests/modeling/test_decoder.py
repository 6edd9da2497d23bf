# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Decoder: the three kinds of block, what they refuse, the modulated norm by hand, attention against torch's own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from lrm_hf.modeling.configuration_lrm import LRMConfig
from lrm_hf.modeling.decoder import LRMAttention, LRMBlock, LRMDecoder, ModulatedLayerNorm


HIDDEN, CONDITION, MODULATION, HEADS = 32, 24, 12, 4
SIZES = {"basic": (None, None), "condition": (CONDITION, None), "condition_modulation": (CONDITION, MODULATION)}


def decoder_config(kind: str = "condition_modulation", **options: Any) -> LRMConfig:
    values = {
        "encoder_config": {"model_type": "vit", "hidden_size": CONDITION, "num_attention_heads": 2},
        "decoder_block": kind,
        "hidden_size": HIDDEN,
        "num_attention_heads": HEADS,
        "num_hidden_layers": 2,
        "attn_implementation": "eager",
    }
    return LRMConfig(**(values | options))


def initialize(module: nn.Module, seed: int = 0, scale: float = 0.3) -> Any:
    """Every parameter non-trivial, so that a swapped or unused one shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return module.eval()


def make_decoder(kind: str, **options: Any) -> LRMDecoder:
    return initialize(LRMDecoder(decoder_config(kind, **options), *SIZES[kind]))


def make_inputs(kind: str, batch: int = 2) -> tuple[Tensor, Tensor | None, Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    condition, modulation = SIZES[kind]
    return (
        torch.randn(batch, 10, HIDDEN, generator=generator),
        torch.randn(batch, 7, condition, generator=generator) if condition else None,
        torch.randn(batch, modulation, generator=generator) if modulation else None,
    )


def normalize(states: Tensor, eps: float = 1e-6) -> Tensor:
    mean = states.mean(-1, keepdim=True)
    return (states - mean) / torch.sqrt(((states - mean) ** 2).mean(-1, keepdim=True) + eps)


class TestModulatedLayerNorm:
    def test_shift_comes_first_then_scale(self) -> None:
        """Width 2, modulation 1: SiLU(2) = 1.7616; weights 1, 2 make the shift, 3, 4 the scale."""
        norm = ModulatedLayerNorm(2, 0.0, 1)
        with torch.no_grad():
            norm.modulation.weight.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
            norm.modulation.bias.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
        found = norm(torch.tensor([[[5.0, 1.0]]]), torch.tensor([[2.0]]))  # normalised: 1, -1
        silu = 2 / (1 + 2.718281828**-2)
        shift, scale = (silu + 0.1, 2 * silu + 0.2), (3 * silu + 0.3, 4 * silu + 0.4)
        assert found.flatten().tolist() == pytest.approx(
            [1 + scale[0] + shift[0], -(1 + scale[1]) + shift[1]], rel=1e-5
        )

    def test_formula(self) -> None:
        norm = initialize(ModulatedLayerNorm(HIDDEN, 1e-6, MODULATION))
        states, _, modulation = make_inputs("condition_modulation")
        plain = normalize(states) * norm.norm.weight + norm.norm.bias
        embedded = modulation / (1 + torch.exp(-modulation)) @ norm.modulation.weight.T + norm.modulation.bias
        shift, scale = embedded[:, None, :HIDDEN], embedded[:, None, HIDDEN:]
        torch.testing.assert_close(norm(states, modulation), plain * (1 + scale) + shift, atol=1e-5, rtol=1e-5)

    def test_without_modulation(self) -> None:
        norm = initialize(ModulatedLayerNorm(HIDDEN, 1e-6, None))
        states = make_inputs("basic")[0]
        expected = normalize(states) * norm.norm.weight + norm.norm.bias
        torch.testing.assert_close(norm(states, None), expected, atol=1e-5, rtol=1e-5)


def torch_attention(attention: LRMAttention, condition_size: int | None) -> nn.MultiheadAttention:
    bias = attention.q_proj.bias is not None
    twin = nn.MultiheadAttention(HIDDEN, HEADS, bias=bias, kdim=condition_size, vdim=condition_size, batch_first=True)
    layers = (attention.q_proj, attention.k_proj, attention.v_proj)
    with torch.no_grad():
        if condition_size in (None, HIDDEN):
            twin.in_proj_weight.copy_(torch.cat([layer.weight for layer in layers]))
        else:
            for weight, layer in zip((twin.q_proj_weight, twin.k_proj_weight, twin.v_proj_weight), layers, strict=True):
                weight.copy_(layer.weight)
        twin.out_proj.weight.copy_(attention.out_proj.weight)
        if bias:
            twin.in_proj_bias.copy_(torch.cat([layer.bias for layer in layers]))
            twin.out_proj.bias.copy_(attention.out_proj.bias)
    return twin.eval()


class TestAttention:
    @pytest.mark.parametrize("bias", [False, True])
    @pytest.mark.parametrize("implementation", ["eager", "sdpa"])
    @pytest.mark.parametrize("condition_size", [None, HIDDEN, CONDITION])
    def test_equals_multihead_attention(self, condition_size: int | None, implementation: str, bias: bool) -> None:
        config = decoder_config(attention_bias=bias, attn_implementation=implementation)
        attention = initialize(LRMAttention(config, condition_size), scale=0.15)
        assert (attention.q_proj.bias is not None) == (attention.out_proj.bias is not None) == bias
        generator = torch.Generator().manual_seed(2)
        states = torch.randn(3, 10, HIDDEN, generator=generator)
        source = None if condition_size is None else torch.randn(3, 7, condition_size, generator=generator)
        found, weights = attention(states, source)
        twin = torch_attention(attention, condition_size)
        keys = states if source is None else source
        expected, expected_weights = twin(states, keys, keys, average_attn_weights=False)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
        if implementation == "eager":
            torch.testing.assert_close(weights, expected_weights, atol=1e-6, rtol=0)
        else:
            assert weights is None

    @torch.no_grad()
    def test_not_causal(self) -> None:
        """The first token sees the last."""
        for implementation in ("eager", "sdpa"):
            attention = initialize(LRMAttention(decoder_config(attn_implementation=implementation)))
            states = make_inputs("basic")[0]
            other = states.clone()
            other[:, -1] += 1.0
            assert float((attention(states)[0][:, 0] - attention(other)[0][:, 0]).abs().max()) > 1e-3

    def test_dropout_only_in_training(self) -> None:
        attention = initialize(LRMAttention(decoder_config(attention_dropout=0.5)))
        states = make_inputs("basic")[0]
        assert torch.equal(attention(states)[0], attention(states)[0])
        attention.train()
        torch.manual_seed(0)
        assert not torch.equal(attention(states)[0], attention(states)[0])


def block_by_hand(layer: LRMBlock, states: Tensor, condition: Tensor | None, modulation: Tensor | None) -> Tensor:
    """Pre-norm residual block, from its parts: cross-attention, self-attention, MLP with exact GELU."""
    if condition is not None:
        states = states + layer.cross_attn(layer.cross_norm(states, modulation), condition)[0]
    states = states + layer.self_attn(layer.self_norm(states, modulation))[0]
    hidden = layer.mlp_norm(states, modulation) @ layer.mlp.fc1.weight.T + layer.mlp.fc1.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    return states + hidden @ layer.mlp.fc2.weight.T + layer.mlp.fc2.bias


@pytest.mark.parametrize("kind", SIZES)
class TestDecoder:
    def test_order_of_the_parts(self, kind: str) -> None:
        decoder, inputs = make_decoder(kind), make_inputs(kind)
        states = inputs[0]
        for layer in decoder.layers:
            states = block_by_hand(layer, states, *inputs[1:])
        expected = normalize(states) * decoder.norm.weight + decoder.norm.bias
        torch.testing.assert_close(decoder(*inputs)[0], expected, atol=1e-5, rtol=1e-5)

    def test_what_a_block_holds(self, kind: str) -> None:
        names = {name for name, _ in make_decoder(kind).layers[1].named_parameters()}
        assert any(name.startswith("cross_attn.") for name in names) == (kind != "basic")
        modulations = {name for name in names if ".modulation." in name}
        norms = ("cross_norm", "self_norm", "mlp_norm") if kind == "condition_modulation" else ()
        assert modulations == {f"{norm}.modulation.{part}" for norm in norms for part in ("weight", "bias")}
        assert not [name for name in names if name.endswith("_proj.bias")], "no biases in attention"

    @torch.no_grad()
    def test_every_input_counts(self, kind: str) -> None:
        decoder, inputs = make_decoder(kind), make_inputs(kind)
        expected = decoder(*inputs)[0]
        for i, value in enumerate(inputs):
            if value is not None:
                changed = [other + 0.1 * torch.randn_like(other) if i == j else other for j, other in enumerate(inputs)]
                assert float((decoder(*changed)[0] - expected).abs().max()) > 1e-3

    def test_eager_equals_sdpa(self, kind: str) -> None:
        eager, sdpa = make_decoder(kind), make_decoder(kind, attn_implementation="sdpa")
        inputs = make_inputs(kind)
        # eight residual sums of size 1 apart
        torch.testing.assert_close(eager(*inputs)[0], sdpa(*inputs)[0], atol=1e-6, rtol=1e-6)

    @pytest.mark.slow
    def test_flex_attention(self, kind: str) -> None:
        """Compiles a kernel, which takes minutes on some machines."""
        eager, flex = make_decoder(kind), make_decoder(kind, attn_implementation="flex_attention")
        with torch.no_grad():
            try:
                found = flex(*make_inputs(kind))[0]
            except (NotImplementedError, RuntimeError) as error:
                pytest.skip(f"this machine has no flex attention: {error}")
            torch.testing.assert_close(found, eager(*make_inputs(kind))[0], atol=2e-6, rtol=2e-6)

    def test_states_and_attentions(self, kind: str) -> None:
        decoder, inputs = make_decoder(kind), make_inputs(kind)
        output, states, self_attentions, cross_attentions = decoder(
            *inputs, output_hidden_states=True, output_attentions=True
        )
        assert len(states) == 3
        assert torch.equal(states[0], inputs[0])
        expected = normalize(states[-1]) * decoder.norm.weight + decoder.norm.bias
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
        assert len(self_attentions) == 2
        for weights in self_attentions:
            assert weights.shape == (2, HEADS, 10, 10)
            torch.testing.assert_close(weights.sum(-1), torch.ones(2, HEADS, 10))
        if kind == "basic":
            assert cross_attentions is None
        else:
            assert len(cross_attentions) == 2
            for weights in cross_attentions:
                assert weights.shape == (2, HEADS, 10, 7)
                torch.testing.assert_close(weights.sum(-1), torch.ones(2, HEADS, 10))
        assert decoder(*inputs)[1:] == (None, None, None)

    def test_batches_are_independent(self, kind: str) -> None:
        decoder, inputs = make_decoder(kind), make_inputs(kind, batch=3)
        together = decoder(*inputs)[0]
        for i in range(3):
            alone = decoder(*(None if value is None else value[i : i + 1] for value in inputs))[0]
            torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)

    def test_every_parameter_gets_a_gradient(self, kind: str) -> None:
        decoder = make_decoder(kind)
        decoder(*make_inputs(kind))[0].square().sum().backward()
        without = [name for name, p in decoder.named_parameters() if p.grad is None or not bool(p.grad.any())]
        assert without == []

    def test_gradient_checkpointing_gives_the_same_gradients(self, kind: str) -> None:
        gradients = []
        for checkpointing in (False, True):
            decoder = make_decoder(kind).train()
            calls = []
            for layer in decoder.layers:
                layer.gradient_checkpointing = checkpointing
                layer._gradient_checkpointing_func = lambda function, *args: torch.utils.checkpoint.checkpoint(
                    function, *args, use_reentrant=False
                )
                layer.self_norm.register_forward_pre_hook(lambda *args, calls=calls: calls.append(None))
            decoder(*make_inputs(kind))[0].square().sum().backward()
            assert len(calls) == (4 if checkpointing else 2), "checkpointed layers run a second time"
            gradients.append([parameter.grad for parameter in decoder.parameters()])
        for plain, checkpointed in zip(*gradients, strict=True):
            assert torch.equal(plain, checkpointed)

    def test_logs_the_kind_of_block(self, kind: str, caplog: pytest.LogCaptureFixture) -> None:
        logger = transformers_logging.get_logger("lrm_hf.modeling.decoder")
        with caplog.at_level(logging.INFO, logger=logger.name):
            make_decoder(kind)
        assert caplog.records == [], "nothing above debug"
        with caplog.at_level(logging.DEBUG, logger=logger.name):
            make_decoder(kind)
        (record,) = caplog.records
        assert record.levelno == logging.DEBUG
        assert f" {kind} blocks" in record.getMessage()


class TestRefusals:
    @pytest.mark.parametrize(
        ("kind", "sizes", "message"),
        [
            ("condition", (None, None), "`condition_size` is needed for decoder_block='condition'"),
            (
                "condition_modulation",
                (None, None),
                "`condition_size` is needed for decoder_block='condition_modulation'",
            ),
            ("condition_modulation", (None, 12), "`condition_size` is needed for decoder_block='condition_modulation'"),
            (
                "condition_modulation",
                (24, None),
                "`modulation_size` is needed for decoder_block='condition_modulation'",
            ),
            ("basic", (24, None), "`condition_size` was given, but decoder_block='basic' takes no condition"),
            ("basic", (None, 12), "`modulation_size` was given, but decoder_block='basic' takes no modulation"),
            ("condition", (24, 12), "`modulation_size` was given, but decoder_block='condition' takes no modulation"),
        ],
    )
    def test_at_construction(self, kind: str, sizes: tuple[int | None, int | None], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            LRMDecoder(decoder_config(kind), *sizes)

    def test_block_with_modulation_and_no_condition(self) -> None:
        with pytest.raises(ValueError, match="`modulation_size` was given without `condition_size`"):
            LRMBlock(decoder_config(), None, 12)

    @pytest.mark.parametrize(
        ("kind", "change", "message"),
        [
            ("basic", lambda s, c, m: (s, torch.zeros(2, 7, 24), m), "`condition` was given, with a decoder of basic"),
            ("basic", lambda s, c, m: (s, c, torch.zeros(2, 12)), "`modulation` was given, with a decoder of basic"),
            ("condition", lambda s, c, m: (s, None, m), "`condition` is missing, with a decoder of condition blocks"),
            (
                "condition",
                lambda s, c, m: (s, c, torch.zeros(2, 12)),
                "`modulation` was given, with a decoder of condit",
            ),
            (
                "condition",
                lambda s, c, m: (s, c[..., 1:], m),
                r"`condition` must have 3 dim.* width 24, got .*\(2, 7, 23\)",
            ),
            ("condition", lambda s, c, m: (s, c[0], m), r"`condition` must have 3 dimensions .* got shape \(7, 24\)"),
            ("condition", lambda s, c, m: (s, c[:1], m), "`condition` has batch size 1, `hidden_states` has 2"),
            ("condition", lambda s, c, m: (s[:1], c, m), "`condition` has batch size 2, `hidden_states` has 1"),
            ("condition_modulation", lambda s, c, m: (s, None, m), "`condition` is missing"),
            ("condition_modulation", lambda s, c, m: (s, c, None), "`modulation` is missing"),
            (
                "condition_modulation",
                lambda s, c, m: (s, c, m[:1]),
                "`modulation` has batch size 1, `hidden_states` has 2",
            ),
            (
                "condition_modulation",
                lambda s, c, m: (s, c, m[:, 1:]),
                r"`modulation` must have .* got shape \(2, 11\)",
            ),
            ("condition_modulation", lambda s, c, m: (s, c, m[:, None]), r"`modulation` must have 2 dimensions"),
        ],
    )
    def test_at_call(self, kind: str, change: Callable, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            make_decoder(kind)(*change(*make_inputs(kind)))
