# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Adapters on their own: which layers they are for, their files, and whether they fit a model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from adapter_files import pixel_values, random_adapter
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import tiny_config, tiny_model, tiny_triposr
from torch import nn

from lrm_hf.modeling.adapter_layers import adapter_of, add_adapter, lora_layers, remove_all_adapters, without_adapters
from lrm_hf.modeling.adapters import Adapter, fit_adapter, lora_config, read_adapter, write_adapter


DECODER_ATTENTION = {
    f"decoder.layers.{layer}.{kind}_attn.{part}_proj"
    for layer in range(2)
    for kind in ("self", "cross")
    for part in ("q", "k", "v", "out")
}
DECODER_MLP = {f"decoder.layers.{layer}.mlp.fc{part}" for layer in range(2) for part in (1, 2)}
ENCODERS = {
    "vit": {},
    "dinov2": {"patch_size": 8, "image_size": 32},
    "dinov2_with_registers": {"patch_size": 8, "image_size": 32, "num_register_tokens": 2},
    "siglip_vision_model": {"intermediate_size": 64, "patch_size": 8, "image_size": 32},
    "data2vec-vision": {"intermediate_size": 64, "patch_size": 8, "image_size": 32},
}


def read(directory: Path) -> Adapter:
    return read_adapter(directory / "adapter_config.json", directory / "adapter_model.safetensors", str(directory))


def targeted(config: LoraConfig, **overrides: Any) -> set[str]:
    return set(lora_layers(get_peft_model(tiny_model(tiny_config(**overrides)), config).get_base_model()))


def test_decoder_is_the_default_target() -> None:
    assert targeted(lora_config()) == DECODER_ATTENTION
    assert targeted(lora_config(mlp=True)) == DECODER_ATTENTION | DECODER_MLP


@pytest.mark.parametrize("kind", list(ENCODERS))
def test_encoder_targets_are_its_attention_and_mlp_under_any_spelling(kind: str) -> None:
    encoder = {
        "model_type": kind,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        **ENCODERS[kind],
    }
    encoder = {**encoder, **({"image_size": 32, "patch_size": 8, "intermediate_size": 64} if kind == "vit" else {})}
    attention = targeted(lora_config("encoder"), encoder_config=encoder)
    mlp = targeted(lora_config("encoder", mlp=True), encoder_config=encoder) - attention
    assert all(name.startswith("encoder.") for name in attention | mlp)
    assert len([name for name in attention if "attention" in name or "attn" in name]) == len(attention)
    # four projections and two layers of MLP in each of two blocks; nothing of SigLIP's pooling head
    assert len(attention) == 8
    assert len(mlp) == 4
    both = targeted(lora_config("all", mlp=True), encoder_config=encoder)
    assert both == attention | mlp | DECODER_ATTENTION | DECODER_MLP


def test_settings_are_those_of_peft() -> None:
    config = lora_config(rank=4, use_rslora=True, use_dora=True, dropout=0.1, init_lora_weights="gaussian")
    assert (config.r, config.lora_alpha, config.lora_dropout) == (4, 4, 0.1)
    assert config.use_rslora and config.use_dora and config.init_lora_weights == "gaussian"
    assert lora_config(rank=4, alpha=16).lora_alpha == 16


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"target": "field"}, ValueError, "`target` must be one of 'decoder', 'encoder', 'all', got 'field'"),
        ({"rank": 0}, ValueError, "`rank` must be at least 1, got 0"),
        ({"rank": 2.0}, TypeError, "`rank` must be an integer, got float"),
        ({"alpha": 0}, ValueError, "`alpha` must be positive and finite, got 0"),
        ({"dropout": 1.0}, ValueError, r"`dropout` must lie in \[0, 1\), got 1.0"),
        ({"target_modules": ["q_proj"]}, TypeError, "`target_modules` is what `target` stands for"),
    ],
)
def test_bad_settings(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        lora_config(**arguments)


@pytest.mark.parametrize(
    "options", [{}, {"target": "all", "mlp": True, "rank": 3, "alpha": 5}, {"use_dora": True}, {"use_rslora": True}]
)
def test_files_are_peft_s_own(options: dict[str, Any], tmp_path: Path) -> None:
    planes = random_adapter(tmp_path / "peft", seed=1, **options)
    model = tiny_model(tiny_config())
    add_adapter(model, read(tmp_path / "peft"), "mine")
    write_adapter(adapter_of(model, "mine"), tmp_path / "ours")
    theirs, ours = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("peft", "ours"))
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[key], ours[key]) for key in theirs)
    configs = [json.loads((tmp_path / name / "adapter_config.json").read_text()) for name in ("peft", "ours")]
    assert {key for key in configs[0] if configs[0][key] != configs[1][key]} <= {"base_model_name_or_path"}
    loaded = PeftModel.from_pretrained(tiny_model(tiny_config()), tmp_path / "ours").eval()
    with torch.no_grad():
        assert torch.equal(loaded(pixel_values()).planes, planes)


def test_a_config_of_peft_s_own_with_ranks_and_alphas_by_layer(tmp_path: Path) -> None:
    config = LoraConfig(
        r=2,
        lora_alpha=4,
        target_modules=["self_attn.q_proj", "fc1"],
        exclude_modules=r"encoder\..*",
        rank_pattern={"layers.1.self_attn.q_proj": 3},
        alpha_pattern={"mlp.fc1": 1},
    )
    planes = random_adapter(tmp_path, seed=2, config=config)
    model = tiny_model(tiny_config())
    add_adapter(model, read(tmp_path), "mine")
    with torch.no_grad():
        assert torch.equal(model(pixel_values()).planes, planes)
    layers = lora_layers(model)
    assert layers["decoder.layers.1.self_attn.q_proj"].scaling["mine"] == 4 / 3
    assert layers["decoder.layers.0.mlp.fc1"].scaling["mine"] == 1 / 2


def test_triposr_takes_adapters_too(tmp_path: Path) -> None:
    planes = random_adapter(tmp_path, seed=6, model=tiny_triposr(), target="all", mlp=True, use_dora=True)
    model = tiny_triposr()
    add_adapter(model, read(tmp_path), "mine")
    with torch.no_grad():
        assert torch.equal(model(pixel_values()).planes, planes)
    assert set(lora_layers(model)) >= DECODER_ATTENTION | DECODER_MLP
    with pytest.raises(ValueError, match="was made for another model"):
        fit_adapter(tiny_model(tiny_config()), read(tmp_path))


def old_spelling(name: str) -> str:
    """DINOv2's modules as transformers 5.17 calls them."""
    for part in ("q_proj", "k_proj", "v_proj"):
        long = {"q": "query", "k": "key", "v": "value"}[part[0]]
        name = name.replace(f".attention.{part}", f".attention.attention.{long}")
    return name.replace(".attention.o_proj", ".attention.output.dense")


@pytest.mark.parametrize("targets", ["regular expression", "list"])
def test_adapters_of_an_older_transformers_fit(targets: str, tmp_path: Path) -> None:
    encoder = {"model_type": "dinov2", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    overrides = {"encoder_config": {**encoder, "patch_size": 8, "image_size": 32}}
    if not any(name.endswith("q_proj") for name, _ in tiny_model(tiny_config(**overrides)).encoder.named_modules()):
        pytest.skip("the installed transformers has the old names itself")
    model = tiny_model(tiny_config(**overrides))
    config = lora_config("all", rank=2, alpha=3, alpha_pattern={r".*attention.*\.q_proj": 7})
    planes = random_adapter(tmp_path, seed=4, model=tiny_model(tiny_config(**overrides)), config=config)
    adapter = read(tmp_path)
    stored = adapter.config
    stored.alpha_pattern = {r".*attention.*\.query": 7}
    if targets == "list":
        stored.target_modules = {"query", "key", "value", "attention.output.dense", "out_proj"}
        stored.target_modules |= {f"{kind}_attn.{part}_proj" for kind in ("self", "cross") for part in "qkv"}
    old = replace(adapter, layers={old_spelling(name): parts for name, parts in adapter.layers.items()})
    assert old.layers.keys() != adapter.layers.keys()
    add_adapter(model, old, "old")
    with torch.no_grad():
        assert torch.equal(model(pixel_values()).planes, planes)


def unfit(tmp_path: Path, made_for: dict[str, Any], loaded_into: dict[str, Any], **options: Any) -> str:
    random_adapter(tmp_path, seed=0, model=tiny_model(tiny_config(**made_for)), **options)
    model = tiny_model(tiny_config(**loaded_into))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="was made for another model") as error:
        add_adapter(model, read(tmp_path), "odd")
    assert model.state_dict().keys() == before.keys(), "nothing was put in"
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    return str(error.value)


def test_another_width_is_named(tmp_path: Path) -> None:
    message = unfit(tmp_path, {"hidden_size": 64}, {})
    assert "decoder.layers.0.cross_attn.k_proj.lora_B has shape (64, 8) where (32, 8) is needed" in message
    assert "more" in message


def test_layers_too_many_and_too_few_are_named(tmp_path: Path) -> None:
    message = unfit(tmp_path / "3", {"num_hidden_layers": 3}, {})
    assert "16 keys unexpected: decoder.layers.2.cross_attn.k_proj.lora_A" in message
    message = unfit(tmp_path / "1", {"num_hidden_layers": 1}, {})
    assert "8 keys missing: decoder.layers.1.cross_attn.k_proj.lora_A" in message


def test_other_blocks_are_named(tmp_path: Path) -> None:
    message = unfit(tmp_path, {}, {"decoder_block": "basic"})
    assert "unexpected: decoder.layers.0.cross_attn.k_proj.lora_A" in message


def test_half_an_adapter(tmp_path: Path) -> None:
    random_adapter(tmp_path, seed=0)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    del tensors["base_model.model.decoder.layers.1.self_attn.q_proj.lora_B.weight"]
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"1 key missing: decoder\.layers\.1\.self_attn\.q_proj\.lora_B"):
        fit_adapter(tiny_model(tiny_config()), read(tmp_path))


def test_the_field_takes_none(tmp_path: Path) -> None:
    model = get_peft_model(tiny_model(tiny_config()), LoraConfig(target_modules="all-linear"))
    with pytest.raises(TypeError, match="the field's MLP takes plain linear layers only, got peft"):
        model(torch.zeros(1, 3, 32, 32)).planes, model.planes_to_field(torch.zeros(1, 3, 8, 8, 8))
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"field_mlp\.layers\.0 is part of the field, which takes no adapter"):
        fit_adapter(tiny_model(tiny_config()), read(tmp_path))


def test_more_than_low_rank_updates_is_refused(tmp_path: Path) -> None:
    config = LoraConfig(target_modules=["q_proj"], modules_to_save=["upsampler"], bias="lora_only")
    get_peft_model(tiny_model(tiny_config()), config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds more than low-rank updates, modules_to_save, bias in its"):
        read(tmp_path)


def test_another_kind_of_adapter_is_refused(tmp_path: Path) -> None:
    from peft import IA3Config

    config = IA3Config(target_modules=["k_proj"], feedforward_modules=[])
    get_peft_model(tiny_model(tiny_config()), config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="only LoRA, rsLoRA and DoRA load here"):
        read(tmp_path)


def test_damaged_files(tmp_path: Path) -> None:
    random_adapter(tmp_path, seed=0)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(OSError, match=r"adapter_model\.safetensors of .* can't be read"):
        read(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(OSError, match=r"adapter_config\.json of .* can't be read"):
        read(tmp_path)


def test_keys_that_are_no_update(tmp_path: Path) -> None:
    random_adapter(tmp_path, seed=0)
    save_file({"encoder.weight": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"keys that belong to no low-rank update: encoder\.weight"):
        read(tmp_path)


def test_taking_out_restores_modules_bytes_and_what_can_be_trained(tmp_path: Path) -> None:
    random_adapter(tmp_path, seed=0, target="all", use_dora=True)
    model = tiny_model(tiny_config())
    modules = dict(model.named_modules())
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    add_adapter(model, read(tmp_path), "odd")
    assert not any(parameter.requires_grad for parameter in model.parameters())
    remove_all_adapters(model)
    assert dict(model.named_modules()) == modules
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == trainable
    assert not hasattr(model, "peft_config")


@pytest.mark.parametrize("name", ["a.b", "", "keys", "two words"])
def test_names_that_can_be_none(name: str, tmp_path: Path) -> None:
    random_adapter(tmp_path, seed=0)
    with pytest.raises(ValueError, match="`adapter_name` must consist of letters"):
        add_adapter(tiny_model(tiny_config()), read(tmp_path), name)


def test_an_error_while_the_adapters_are_out_puts_them_back(tmp_path: Path) -> None:
    random_adapter(tmp_path, seed=0)
    model = tiny_model(tiny_config())
    add_adapter(model, read(tmp_path), "odd")
    layers = lora_layers(model)
    weight = layers["decoder.layers.0.self_attn.q_proj"].get_base_layer().weight.clone()
    with pytest.raises(RuntimeError, match="disk full"), without_adapters(model, fuse=True):
        inside = model.get_submodule("decoder.layers.0.self_attn.q_proj")
        assert type(inside) is nn.Linear and not torch.equal(inside.weight, weight)
        assert not hasattr(model, "peft_config")
        raise RuntimeError("disk full")
    assert lora_layers(model) == layers
    assert torch.equal(layers["decoder.layers.0.self_attn.q_proj"].get_base_layer().weight, weight)
    assert list(model.peft_config) == ["odd"]
