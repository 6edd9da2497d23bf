# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""TripoSR's checkpoints: recognised, read, renamed and refused. That the model then computes what the original did is
in test_triposr_goldens.py; what all origins share is in test_original_checkpoints.py."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModel, Dinov2Config, PreTrainedConfig, ViTConfig

from lrm_hf import LRMModel, TripoSRConfig, TripoSRModel
from lrm_hf.modeling.original_checkpoints import (
    convert_original,
    convert_state_dict,
    is_original,
    load_original_components,
)
from lrm_hf.modeling.original_triposr import triposr_config


GOLDENS = Path(__file__).parent.parent / "goldens"
GOLDEN = GOLDENS / "triposr"
DINO = ViTConfig(hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=192)
with gzip.open(GOLDENS / "triposr_keys.json.gz", "rt") as file:
    FULL_SIZE: dict[str, Any] = json.load(file)["triposr"]
POOLER = {"image_tokenizer.model.pooler.dense.weight", "image_tokenizer.model.pooler.dense.bias"}


def parts() -> tuple[dict[str, Any], dict[str, Tensor]]:
    config = yaml.safe_load((GOLDEN / "config.yaml").read_text())
    return config, torch.load(GOLDEN / "model.ckpt", weights_only=True)


def write(directory: Path, config: dict[str, Any], tensors: dict[str, Any]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save(tensors, directory / "model.ckpt")
    return directory


def changed(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """With values put in at dotted names, or taken out where they are None."""
    for name, value in changes.items():
        *sections, last = name.split(".")
        target = config
        for section in sections:
            target = target[section]
        if value is None:
            del target[last]
        else:
            target[last] = value
    return config


def assert_same_parameters(model: nn.Module, other: nn.Module) -> None:
    parameters, others = dict(model.named_parameters()), dict(other.named_parameters())
    assert parameters.keys() == others.keys()
    for name, parameter in parameters.items():
        assert torch.equal(parameter, others[name]), name


class TestRecognition:
    def test_layout(self, tmp_path: Path) -> None:
        assert is_original(GOLDEN) == "triposr"
        assert is_original(GOLDENS, subfolder="triposr") == "triposr"
        (tmp_path / "config.yaml").write_text("model: something\n")
        assert is_original(tmp_path) is None

    def test_our_own_layouts_are_not_originals(self, tmp_path: Path) -> None:
        shutil.copytree(GOLDEN, tmp_path, dirs_exist_ok=True)
        TripoSRModel.from_original(GOLDEN, encoder_config=DINO).save_pretrained(tmp_path)
        assert is_original(tmp_path) is None

    def test_each_class_loads_its_own(self) -> None:
        with pytest.raises(ValueError, match="layout 'triposr', which TripoSRModel loads, not LRMModel"):
            LRMModel.from_pretrained(GOLDEN, encoder_config=DINO)
        with pytest.raises(ValueError, match="layout 'openlrm_v10', which LRMModel loads, not TripoSRModel"):
            TripoSRModel.from_original(GOLDENS / "openlrm_v10", encoder_config=DINO)

    def test_repository(self, tmp_path: Path) -> None:
        """A cache as the Hub's client lays it out, and no network."""
        repository = tmp_path / "models--someone--triposr"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0" * 40)
        shutil.copytree(GOLDEN, repository / "snapshots" / ("0" * 40))
        assert is_original("someone/triposr", cache_dir=tmp_path) == "triposr"
        model = TripoSRModel.from_pretrained("someone/triposr", cache_dir=tmp_path, encoder_config=DINO)
        assert model.config.name_or_path == "someone/triposr"
        assert_same_parameters(model, TripoSRModel.from_original(GOLDEN, encoder_config=DINO))


class TestFullSize:
    """Names and shapes of the published checkpoint, on the meta device."""

    def test_every_key_maps_and_every_parameter_is_filled(self) -> None:
        config = triposr_config(FULL_SIZE["config"])
        originals = {key: torch.empty(shape, device="meta") for key, shape in FULL_SIZE["shapes"].items()}
        assert len(originals) == 549
        converted = convert_state_dict("triposr", originals, config)
        model, info = TripoSRModel.from_pretrained(
            None, config=config, state_dict=dict(converted), device_map="meta", output_loading_info=True
        )
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
        # each to exactly one of ours, but for the pooler, which nothing uses
        assert set(originals) >= POOLER
        assert len(converted) == len(model.state_dict()) == len(originals) - len(POOLER)
        pooler = sum(originals[name].numel() for name in POOLER)
        assert sum(tensor.numel() for tensor in converted.values()) == FULL_SIZE["params"] - pooler
        assert sum(parameter.numel() for parameter in model.parameters()) == FULL_SIZE["params"] - pooler

    def test_is_the_default_config(self) -> None:
        assert triposr_config(FULL_SIZE["config"]).to_diff_dict() == TripoSRConfig().to_diff_dict()

    def test_missing_key(self) -> None:
        originals = {key: torch.empty(shape, device="meta") for key, shape in FULL_SIZE["shapes"].items()}
        del originals["decoder.layers.18.bias"]
        with pytest.raises(ValueError, match=r"1 tensor missing: decoder\.layers\.18\.bias\.$"):
            convert_state_dict("triposr", originals, triposr_config(FULL_SIZE["config"]))


class TestLoading:
    def test_from_pretrained_does_what_from_original_does(self) -> None:
        model, info = TripoSRModel.from_pretrained(GOLDEN, encoder_config=DINO, output_loading_info=True)
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        assert not model.training
        assert_same_parameters(model, TripoSRModel.from_original(GOLDEN, encoder_config=DINO))

    def test_options_are_passed_on(self) -> None:
        model = TripoSRModel.from_original(
            GOLDEN, encoder_config=DINO, dtype=torch.bfloat16, attn_implementation="eager", device_map="cpu"
        )
        assert model.encoder.dtype == model.embeddings.dtype == torch.bfloat16
        assert {parameter.dtype for parameter in model.field_mlp.parameters()} == {torch.float32}
        assert model.config._attn_implementation == model.config.encoder_config._attn_implementation == "eager"

    def test_a_file_without_the_pooler(self, tmp_path: Path) -> None:
        config, tensors = parts()
        assert set(tensors) >= POOLER
        source = write(tmp_path, config, {name: tensor for name, tensor in tensors.items() if name not in POOLER})
        model = TripoSRModel.from_original(source, encoder_config=DINO)
        assert_same_parameters(model, TripoSRModel.from_original(GOLDEN, encoder_config=DINO))

    def test_saved_in_our_layout_and_back(self, tmp_path: Path) -> None:
        model = TripoSRModel.from_original(GOLDEN, encoder_config=DINO)
        model.save_pretrained(tmp_path)
        theirs = ("backbone.", "tokenizer.", "post_processor.", "image_tokenizer.")
        assert not [name for name in load_file(tmp_path / "model.safetensors") if name.startswith(theirs)]
        pixel_values = torch.rand(1, 3, 80, 80, generator=torch.Generator().manual_seed(1))
        for loaded in (TripoSRModel.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
            assert type(loaded) is TripoSRModel
            assert_same_parameters(loaded, model)
            assert loaded.config.to_diff_dict() == model.config.to_diff_dict()
            assert loaded.config.field_config.num_samples == 32
            with torch.no_grad():
                assert torch.equal(loaded(pixel_values).planes, model(pixel_values).planes)

    def test_image_processor(self) -> None:
        model, processor = load_original_components(GOLDEN, DINO)
        assert type(model) is TripoSRModel
        assert processor.size == {"height": 80, "width": 80}
        assert (processor.background, processor.foreground_ratio, processor.recenter_mode) == (0.5, 0.85, "triposr")
        assert (processor.do_recenter, processor.do_normalize, processor.do_pad) == (True, True, False)
        assert processor.resize_mode == "bilinear_antialias"

    def test_convert_writes_our_layout(self, tmp_path: Path) -> None:
        destination = convert_original(GOLDEN, tmp_path / "ours", encoder_config=DINO)
        names = ["config.json", "model.safetensors", "modeling_lrm.py", "preprocessor_config.json"]
        assert sorted(path.name for path in destination.iterdir()) == names
        model = TripoSRModel.from_pretrained(destination)
        assert_same_parameters(model, TripoSRModel.from_original(GOLDEN, encoder_config=DINO))


class TestConfig:
    def test_values(self) -> None:
        config = triposr_config(parts()[0], DINO)
        assert (config.image_size, config.hidden_size, config.num_hidden_layers) == (80, 64, 2)
        assert (config.num_attention_heads, config.embedding_channels, config.triplane_low_res) == (4, 64, 8)
        field = config.field_config
        assert (field.channels, field.hidden_size, field.num_hidden_layers, field.num_samples) == (10, 32, 9, 32)
        assert config.position_interpolation == "legacy"

    def test_a_value_may_stand_for_another(self) -> None:
        config = changed(parts()[0], {"decoder.n_neurons": "${backbone.in_channels}"})
        assert config["backbone"]["in_channels"] == "${tokenizer.num_channels}"
        assert triposr_config(config, DINO).field_config.hidden_size == 64

    @pytest.mark.parametrize(
        ("changes", "encoder_config", "message"),
        [
            ({"renderer.radius": None}, DINO, r"1 argument missing: renderer\.radius\."),
            ({"tokenizer": None}, DINO, r"1 argument missing: tokenizer\."),
            ({"backbone.dropout": 0.1, "extra": 1}, DINO, r"2 arguments unexpected: backbone\.dropout, extra\."),
            ({"decoder": [1]}, DINO, "no mapping: decoder"),
            (
                {"renderer_cls": "tsr.models.Other"},
                DINO,
                "`renderer_cls` must be 'tsr.models.nerf_renderer.Tri.*Other'",
            ),
            ({"backbone.in_channels": 32}, DINO, r"`backbone\.in_channels` must be 64, got 32"),
            ({"decoder.in_channels": 20}, DINO, r"`decoder\.in_channels` must be 30, got 20"),
            (
                {"renderer.feature_reduction": "mean"},
                DINO,
                r"`renderer\.feature_reduction` must be 'concat', got 'mean'",
            ),
            ({}, None, r"must be 768, the encoder's width: pass the `encoder_config` .*, got 48"),
            (
                {"image_tokenizer.pretrained_model_name_or_path": "me/vit"},
                None,
                "'me/vit' is not supported, only .*pass `encoder_config`",
            ),
            ({}, Dinov2Config(hidden_size=48), "`encoder_config` must be of type 'vit', got 'dinov2'"),
            ({"decoder.activation": "tanh"}, DINO, "make no model: .*`hidden_act` must be one of"),
            ({"backbone.num_layers": "two"}, DINO, "make no model: .*num_hidden_layers"),
            ({"tokenizer.num_channels": "${backbone.in_channels}"}, DINO, "refer to each other in a circle"),
            ({"cond_image_size": "${nothing.here}"}, DINO, "refers to 'nothing.here', which it does not have"),
        ],
    )
    def test_refused(self, changes: dict[str, Any], encoder_config: PreTrainedConfig | None, message: str) -> None:
        with pytest.raises(ValueError, match=rf"(?s){message}"):
            triposr_config(changed(parts()[0], changes), encoder_config)


class TestBrokenFiles:
    def test_missing_files(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match=r"or config\.yaml and model\.ckpt \(TripoSR\)"):
            TripoSRModel.from_original(tmp_path)
        shutil.copy(GOLDEN / "config.yaml", tmp_path)
        for load in (TripoSRModel.from_original, TripoSRModel.from_pretrained):
            with pytest.raises(OSError, match=r"has the config\.yaml of TripoSR, but no model\.ckpt"):
                load(tmp_path)

    def test_config_that_is_no_yaml(self, tmp_path: Path) -> None:
        shutil.copytree(GOLDEN, tmp_path, dirs_exist_ok=True)
        for text in ("tsr.models: [", "a: !!python/object/apply:os.system ['true'] # tsr.models"):
            (tmp_path / "config.yaml").write_text(text)
            with pytest.raises(OSError, match=r"config\.yaml' is not a YAML file of plain values"):
                TripoSRModel.from_original(tmp_path)
        (tmp_path / "config.yaml").write_text("- tsr.models\n")
        with pytest.raises(OSError, match=r"config\.yaml' holds a list, expected a mapping"):
            TripoSRModel.from_original(tmp_path)

    def test_truncated(self, tmp_path: Path) -> None:
        shutil.copytree(GOLDEN, tmp_path, dirs_exist_ok=True)
        for length in (600_000, 1_000, 0):
            os.truncate(tmp_path / "model.ckpt", length)
            with pytest.raises(OSError, match=r"model\.ckpt' .*(truncated|damaged)"):
                TripoSRModel.from_original(tmp_path, encoder_config=DINO)

    @pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy pickle"])
    def test_pickle_that_wants_to_run_code(self, legacy: bool, tmp_path: Path) -> None:
        marker = tmp_path / "executed"

        class Attack:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (marker,)

        config, tensors = parts()
        source = write(tmp_path / "source", config, tensors)
        content = tensors | {"surprise": Attack()}
        torch.save(content, source / "model.ckpt", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(OSError, match="it was not read, since such a pickle can run code"):
            TripoSRModel.from_pretrained(source, encoder_config=DINO)
        assert not marker.exists()
        pickle.loads(pickle.dumps(Attack()))
        assert marker.exists(), "the attack works where it is let through"

    def test_checkpoint_of_something_else(self, tmp_path: Path) -> None:
        config, tensors = parts()
        for content, kind in (({"state_dict": tensors, "epoch": 3}, "a dict with epoch, state_dict"), ([1], "list")):
            source = write(tmp_path, config, content)
            with pytest.raises(ValueError, match=f"is not a checkpoint of TripoSR: .* got {kind}"):
                TripoSRModel.from_original(source, encoder_config=DINO)
        with pytest.raises(ValueError, match=r"1 weights that are no tensors: step \(int\)"):
            TripoSRModel.from_original(write(tmp_path, config, tensors | {"step": 7}), encoder_config=DINO)

    def test_missing_and_extra_tensors_are_counted_and_listed(self, tmp_path: Path) -> None:
        config, tensors = parts()
        removed = [name for name in tensors if name.startswith("backbone.transformer_blocks.1.")]
        kept = {name: tensor for name, tensor in tensors.items() if name not in removed}
        # an OpenLRM file's pooler is as strange here as any other tensor
        source = write(tmp_path, config, kept | {"encoder.model.pooler.dense.bias": torch.zeros(48)})
        with pytest.raises(ValueError, match="does not fit its config") as error:
            TripoSRModel.from_original(source, encoder_config=DINO)
        message = str(error.value)
        assert str(source) in message
        assert f"{len(removed)} tensors missing: backbone.transformer_blocks.1.attn1.to_k.weight, " in message
        assert f" and {len(removed) - 8} more" in message
        assert "1 tensor unexpected: encoder.model.pooler.dense.bias" in message

    def test_other_sizes_than_the_config_says(self, tmp_path: Path) -> None:
        config, tensors = parts()
        source = write(tmp_path, changed(config, {"backbone.num_layers": 3, "decoder.n_hidden_layers": 8}), tensors)
        with pytest.raises(ValueError, match=r"20 tensors missing: .*2 tensors unexpected: decoder\.layers\.18\."):
            TripoSRModel.from_original(source, encoder_config=DINO)
        source = write(tmp_path, changed(parts()[0], {"tokenizer.plane_size": 4, "decoder.n_neurons": 16}), tensors)
        with pytest.raises(
            ValueError, match=r"of another shape: embeddings \(3, 64, 8, 8\) instead of \(3, 64, 4, 4\)"
        ):
            TripoSRModel.from_original(source, encoder_config=DINO)
