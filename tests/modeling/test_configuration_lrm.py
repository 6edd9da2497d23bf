# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Configurations: defaults, nested configs, files, and for everything that makes no sense an error that names it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import AutoConfig, Dinov2Config, Dinov2WithRegistersConfig, ViTConfig

from lrm_hf.modeling.configuration_lrm import LRMConfig, TriplaneFieldConfig
from lrm_hf.modeling.configuration_triposr import TripoSRConfig


ENCODERS = {"vit": ViTConfig, "dinov2": Dinov2Config, "dinov2_with_registers": Dinov2WithRegistersConfig}
SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 4}


class TestDefaults:
    def test_are_those_of_openlrm_base(self) -> None:
        config = LRMConfig()
        assert type(config.encoder_config) is Dinov2WithRegistersConfig
        assert config.encoder_hidden_size == 768
        assert (config.encoder_config.patch_size, config.encoder_config.image_size) == (14, 518)
        assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (768, 12, 12)
        assert (config.camera_embed_dim, config.triplane_low_res, config.planes_resolution) == (1024, 32, 64)
        assert config.decoder_block == "condition_modulation"
        field = config.field_config
        assert type(field) is TriplaneFieldConfig
        assert (field.radius, field.plane_axes, field.density_bias) == (1.0, [[0, 1], [0, 2], [2, 1]], -1.0)
        assert (field.hidden_size, field.num_hidden_layers, field.hidden_act) == (64, 3, "relu")
        assert (field.sampling, field.num_samples, field.density_threshold) == ("importance", 96, 3.0)

    def test_two_configs_share_nothing(self) -> None:
        first, second = LRMConfig(), LRMConfig()
        first.field_config.plane_axes[0][0] = 2
        first.lift_planes.append(7)
        assert second.field_config.plane_axes[0] == [0, 1]
        assert second.lift_planes == [0, 1, 2]

    @pytest.mark.parametrize(("samples", "upscale", "resolution"), [(0, 1, 16), (0, 3, 16), (4, 1, 16), (4, 3, 48)])
    def test_planes_resolution(self, samples: int, upscale: int, resolution: int) -> None:
        """Without lifting nothing is enlarged but by the deconvolution."""
        config = LRMConfig(triplane_low_res=8, lift_samples=samples, lift_upscale=upscale)
        assert config.planes_resolution == resolution

    @pytest.mark.parametrize("config_class", [LRMConfig, TripoSRConfig, TriplaneFieldConfig])
    def test_every_field_is_documented(self, config_class: type) -> None:
        ours = [base for base in config_class.__mro__ if base.__module__.startswith("lrm_hf")]
        own = {name for base in ours for name in base.__annotations__ if not name.startswith("default_")}
        own -= {"model_type", "sub_configs"}
        assert len(own) >= 15
        undocumented = [name for name in own if not re.search(rf"^\s+{name} \(`", config_class.__doc__, re.MULTILINE)]
        assert undocumented == []
        for name, default in re.findall(
            r"^\s+(\w+) \(`[^`]+`, \*optional\*, defaults to `([^`]+)`\)", config_class.__doc__, re.M
        ):
            assert json.loads(default.replace("False", "false")) == getattr(config_class(), name), name


class TestNestedConfigs:
    @pytest.mark.parametrize("model_type", ENCODERS)
    @pytest.mark.parametrize("form", ["dict", "object"])
    def test_encoder_forms(self, model_type: str, form: str) -> None:
        encoder = ENCODERS[model_type](**SMALL)
        config = LRMConfig(encoder_config=encoder if form == "object" else {"model_type": model_type, **SMALL})
        assert type(config.encoder_config) is ENCODERS[model_type]
        assert config.encoder_config.to_diff_dict() == encoder.to_diff_dict()
        assert config.encoder_hidden_size == 24

    def test_the_given_dict_is_left_alone(self) -> None:
        given = {"model_type": "vit", **SMALL}
        LRMConfig(encoder_config=given)
        assert given == {"model_type": "vit", **SMALL}

    def test_field_forms(self) -> None:
        values = {"channels": 8, "radius": 0.87}
        for form in (values, TriplaneFieldConfig(**values), {"model_type": "lrm_triplane_field", **values}):
            config = LRMConfig(field_config=form)
            assert type(config.field_config) is TriplaneFieldConfig
            assert (config.field_config.channels, config.field_config.radius) == (8, 0.87)

    @pytest.mark.parametrize("model_type", ENCODERS)
    def test_round_trips(self, model_type: str, tmp_path: Path) -> None:
        config = LRMConfig(
            encoder_config={"model_type": model_type, **SMALL},
            field_config={
                "radius": 0.87,
                "plane_axes": [[0, 1], [0, 2], [1, 2]],
                "sampling": "uniform",
                "num_samples": 7,
            },
            hidden_size=48,
            num_attention_heads=6,
            decoder_block="condition",
            mlp_ratio=2,
            lift_samples=3,
            lift_planes=[1],
            position_interpolation="legacy" if model_type == "vit" else "native",
        )
        config.save_pretrained(tmp_path)
        copies = [
            LRMConfig.from_dict(config.to_dict()),
            LRMConfig(**config.to_diff_dict()),
            LRMConfig.from_pretrained(tmp_path),
            AutoConfig.from_pretrained(tmp_path),
            LRMConfig(**json.loads((tmp_path / "config.json").read_text())),
        ]
        for copy in copies:
            assert type(copy) is LRMConfig
            assert type(copy.encoder_config) is ENCODERS[model_type]
            assert type(copy.field_config) is TriplaneFieldConfig
            assert _comparable(copy) == _comparable(config)
        stored = json.loads((tmp_path / "config.json").read_text())
        assert stored["model_type"] == "lrm"
        assert stored["encoder_config"]["model_type"] == model_type
        assert stored["field_config"]["radius"] == 0.87

    def test_call_time_overrides(self, tmp_path: Path) -> None:
        LRMConfig(encoder_config={"model_type": "vit", **SMALL}).save_pretrained(tmp_path)
        config = AutoConfig.from_pretrained(tmp_path, hidden_size=60, source_camera_elevation=20)
        assert (config.hidden_size, config.source_camera_elevation) == (60, 20)

    def test_attention_implementation_reaches_the_encoder(self) -> None:
        config = LRMConfig(encoder_config={"model_type": "vit", **SMALL}, attn_implementation="eager")
        assert config._attn_implementation == config.encoder_config._attn_implementation == "eager"


def _comparable(config: LRMConfig) -> dict[str, Any]:
    values = config.to_dict()
    parts = [values, values["encoder_config"], values["field_config"]]
    for part in parts:
        for name in ("transformers_version", "_name_or_path", "architectures"):
            part.pop(name, None)
    return values


class TestLRMConfigErrors:
    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            (
                "decoder_block",
                "modulation",
                "must be one of 'basic', 'condition', 'condition_modulation', got 'modulation'",
            ),
            ("position_interpolation", "new", "must be one of 'native', 'legacy', got 'new'"),
            ("hidden_act", "gelub", "must be one of .*'gelu'.*, got 'gelub'"),
            ("image_size", 0, "must be positive and finite, got 0"),
            ("hidden_size", -12, "must be positive and finite, got -12"),
            ("hidden_size", 100, "must be a multiple of `num_attention_heads`, got 100 and 12"),
            ("num_hidden_layers", 0, "must be positive"),
            ("num_attention_heads", 0, "must be positive"),
            ("mlp_ratio", 0.0, "must be positive"),
            ("mlp_ratio", 1e-6, "must leave the MLP a width of at least 1, got 1e-06"),
            ("camera_embed_dim", -1, "must be positive"),
            ("triplane_low_res", 0, "must be positive"),
            ("source_camera_distance", math.nan, "must be positive and finite, got nan"),
            ("source_camera_focal", math.inf, "must be positive and finite, got inf"),
            ("source_camera_elevation", 90.0, "must lie between -90 and 90 degrees, got 90.0"),
            ("source_camera_elevation", math.nan, "must lie between -90 and 90 degrees, got nan"),
            ("attention_dropout", 1.0, r"must lie in \[0, 1\), got 1.0"),
            ("attention_dropout", -0.1, r"must lie in \[0, 1\), got -0.1"),
            ("layer_norm_eps", -1e-6, "must be finite and not negative"),
            ("initializer_range", math.nan, "must be finite and not negative"),
            ("lift_samples", -1, "must be finite and not negative, got -1"),
            ("lift_channels", 0, "must be positive"),
            ("lift_upscale", 0, "must be positive"),
            ("lift_planes", [], r"must name planes 0, 1 or 2, each once, got \[\]"),
            ("lift_planes", [1, 1], r"must name planes 0, 1 or 2, each once, got \[1, 1\]"),
            ("lift_planes", [3], r"must name planes 0, 1 or 2, each once, got \[3\]"),
            ("encoder_config", "vit", "must be the configuration of a transformers model or a dict, got str"),
            ("encoder_config", {}, "must name a `model_type` that transformers knows, got None"),
            ("encoder_config", {"model_type": "no_such"}, "must name a `model_type` .*, got 'no_such'"),
            ("encoder_config", {"model_type": "resnet"}, "of type ResNetConfig has no `hidden_size`"),
            ("field_config", 3, "must be a TriplaneFieldConfig or a dict, got int"),
        ],
    )
    def test_message_names_the_field(self, name: str, value: Any, message: str) -> None:
        with pytest.raises(ValueError, match=f"^`{name}` {message}"):
            LRMConfig(**{name: value})

    def test_legacy_positions_are_for_vit(self) -> None:
        with pytest.raises(
            ValueError, match="`position_interpolation='legacy'` exists for `vit` encoders only, got 'dinov2'"
        ):
            LRMConfig(encoder_config={"model_type": "dinov2"}, position_interpolation="legacy")

    def test_error_in_the_nested_field(self) -> None:
        with pytest.raises(ValueError, match="^`channels` must be positive and finite, got 0"):
            LRMConfig(field_config={"channels": 0})

    @pytest.mark.parametrize(
        ("name", "value"),
        [("hidden_size", 64.0), ("num_hidden_layers", "2"), ("num_attention_heads", True), ("lift_planes", [0.5])],
    )
    def test_types(self, name: str, value: Any) -> None:
        with pytest.raises(StrictDataclassFieldValidationError, match=name):
            LRMConfig(**{name: value})
        with pytest.raises(StrictDataclassFieldValidationError, match=name):
            setattr(LRMConfig(), name, value)

    def test_numbers_may_be_whole(self) -> None:
        config = LRMConfig(mlp_ratio=2, source_camera_distance=3, attention_dropout=0, layer_norm_eps=0)
        assert (config.mlp_ratio, config.source_camera_distance) == (2, 3)

    def test_a_field_spoilt_later_is_not_saved(self, tmp_path: Path) -> None:
        config = LRMConfig()
        config.decoder_block = "modulation"
        with pytest.raises(Exception, match="`decoder_block` must be one of"):
            config.save_pretrained(tmp_path)


class TestFieldConfigErrors:
    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("radius", 0, "must be positive and finite, got 0"),
            ("radius", math.inf, "must be positive and finite, got inf"),
            ("channels", -1, "must be positive"),
            ("hidden_size", 0, "must be positive"),
            ("num_hidden_layers", 0, "must be positive"),
            ("bounds_scale", 0.0, "must be positive"),
            ("density_threshold", math.nan, "must be positive"),
            ("hidden_act", "gelu", "must be one of 'relu', 'silu', got 'gelu'"),
            ("density_activation", "relu", "must be one of 'softplus', 'exp', got 'relu'"),
            ("density_bias", math.nan, "must be finite, got nan"),
            ("color_padding", -0.1, "must be finite and not negative, got -0.1"),
            ("min_ray_length", -1.0, "must be finite and not negative, got -1.0"),
            ("sampling", "random", "must be one of 'importance', 'uniform', got 'random'"),
            ("step_length", "long", "must be one of 'metric', 'normalized', got 'long'"),
            ("num_samples", 7, "must be at least 8 and even for sampling='importance', got 7"),
            ("num_samples", 9, "must be at least 8 and even for sampling='importance', got 9"),
            ("plane_axes", [[0, 1], [0, 2]], "must be three pairs of different axes out of 0, 1, 2, got"),
            ("plane_axes", [[0, 1], [0, 2], [1, 1]], "must be three pairs of different axes"),
            ("plane_axes", [[0, 1], [0, 2], [1, 3]], "must be three pairs of different axes"),
            ("plane_axes", [[0, 1], [0, 2, 1], [1, 2]], "must be three pairs of different axes"),
            ("plane_axes", [[0, 1], [1, 0], [0, 1]], "must be three pairs of different axes"),
        ],
    )
    def test_message_names_the_field(self, name: str, value: Any, message: str) -> None:
        with pytest.raises(ValueError, match=f"^`{name}` {message}"):
            TriplaneFieldConfig(**{name: value})

    def test_uniform_sampling_takes_any_number(self) -> None:
        assert TriplaneFieldConfig(sampling="uniform", num_samples=1).num_samples == 1
        with pytest.raises(ValueError, match="`num_samples` must be at least 1 for sampling='uniform', got 0"):
            TriplaneFieldConfig(sampling="uniform", num_samples=0)

    @pytest.mark.parametrize(
        ("name", "value"),
        [("channels", 8.0), ("channels", True), ("radius", "1"), ("plane_axes", [[0.0, 1], [0, 2], [1, 2]])],
    )
    def test_types(self, name: str, value: Any) -> None:
        with pytest.raises(StrictDataclassFieldValidationError, match=name):
            TriplaneFieldConfig(**{name: value})
