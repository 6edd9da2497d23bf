# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Original checkpoints: told apart, read, renamed and refused. That the models then compute what the original systems
did is in test_openlrm_goldens.py."""

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
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2WithRegistersConfig, PreTrainedConfig, ViTConfig

# `from transformers import AutoImageProcessor` is a dummy in transformers 5.17 where torchvision is absent.
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from lrm_hf import LRMConfig, LRMImageProcessor, LRMModel
from lrm_hf.modeling.original_checkpoints import (
    convert_original,
    convert_state_dict,
    is_original,
    load_original_components,
    openlrm_config,
    original_image_processor,
)
from lrm_hf.modeling.original_tables import OPTIONAL, UNUSED


GOLDENS = Path(__file__).parent.parent / "goldens"
V11, V10 = GOLDENS / "openlrm_v11", GOLDENS / "openlrm_v10"
SIZE = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3}
DINOV2 = Dinov2WithRegistersConfig(**SIZE, image_size=518, patch_size=14)
DINO = ViTConfig(**SIZE, intermediate_size=192)
ENCODERS = {V11: DINOV2, V10: DINO}
ARGUMENTS = {
    "camera_embed_dim": 32,
    "rendering_samples_per_ray": 16,
    "transformer_dim": 64,
    "transformer_layers": 2,
    "transformer_heads": 4,
    "triplane_low_res": 8,
    "triplane_high_res": 16,
    "triplane_dim": 8,
    "encoder_feat_dim": 48,
}
with gzip.open(GOLDENS / "openlrm_keys.json.gz", "rt") as file:
    FULL_SIZE: dict[str, dict[str, Any]] = json.load(file)


def write_v11(directory: Path, arguments: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(arguments))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, directory / "model.safetensors")
    return directory


def write_v10(directory: Path, arguments: dict[str, Any], tensors: dict[str, Tensor], **infer: int) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    torch.save({"weights": tensors, "kwargs": {"model": arguments, "infer": infer}}, directory / "model.pth")
    return directory


def v11_parts() -> tuple[dict[str, Any], dict[str, Tensor]]:
    return json.loads((V11 / "config.json").read_text()), load_file(V11 / "model.safetensors")


def v10_parts() -> tuple[dict[str, Any], dict[str, Tensor]]:
    content = torch.load(V10 / "model.pth", weights_only=True)
    return content["kwargs"]["model"], content["weights"]


def assert_same_parameters(model: nn.Module, other: nn.Module) -> None:
    parameters, others = dict(model.named_parameters()), dict(other.named_parameters())
    assert parameters.keys() == others.keys()
    for name, parameter in parameters.items():
        assert torch.equal(parameter, others[name]), name


class TestRecognition:
    def test_layouts(self, tmp_path: Path) -> None:
        assert is_original(V11) == "openlrm_v11"
        assert is_original(str(V10)) == "openlrm_v10"
        assert is_original(tmp_path) is None
        assert is_original(tmp_path / "nothing") is None

    def test_v10_with_a_config_beside_it(self, tmp_path: Path) -> None:
        shutil.copytree(V10, tmp_path, dirs_exist_ok=True)
        (tmp_path / "config.json").write_text(json.dumps(v10_parts()[0]))
        assert is_original(tmp_path) == "openlrm_v10"

    def test_our_own_layouts_are_not_originals(self, tmp_path: Path) -> None:
        LRMModel.from_original(V10, encoder_config=DINO).save_pretrained(tmp_path / "model")
        assert is_original(tmp_path / "model") is None
        (tmp_path / "model_index.json").write_text("{}")
        shutil.copy(V10 / "model.pth", tmp_path)
        assert is_original(tmp_path) is None

    def test_subfolder(self) -> None:
        assert is_original(GOLDENS, subfolder="openlrm_v11") == "openlrm_v11"
        model = LRMModel.from_pretrained(GOLDENS, subfolder="openlrm_v11", encoder_config=DINOV2)
        assert model.config.hidden_size == 64

    def test_other_yaml_is_not_triposr(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text("model: something\n")
        assert is_original(tmp_path) is None

    def test_unknown_argument(self) -> None:
        with pytest.raises(TypeError, match="unknown argument revison"):
            is_original(V11, revison="main")

    def test_config_never_loads_with_default_sizes(self) -> None:
        config = json.loads((V11 / "config.json").read_text())
        for load in (
            lambda: LRMConfig.from_pretrained(V11),
            lambda: LRMConfig.from_dict(config),
            lambda: LRMConfig(**config),
        ):
            with pytest.raises(ValueError, match=r"`transformer_dim` belongs to .* OpenLRM .*LRMModel\.from_original"):
                load()


class TestHub:
    """A cache as the Hub's client lays it out, and no network: repositories by name, without asking anyone."""

    @staticmethod
    def cache(directory: Path, name: str, source: Path) -> Path:
        repository = directory / f"models--{name.replace('/', '--')}"
        snapshot = repository / "snapshots" / ("0" * 40)
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0" * 40)
        shutil.copytree(source, snapshot)
        return directory

    @pytest.mark.parametrize("source", [V11, V10], ids=lambda path: path.name)
    def test_repository(self, source: Path, tmp_path: Path) -> None:
        cache = self.cache(tmp_path, "someone/openlrm", source)
        assert is_original("someone/openlrm", cache_dir=cache) == source.name
        model = LRMModel.from_pretrained("someone/openlrm", cache_dir=cache, encoder_config=ENCODERS[source])
        assert model.config.name_or_path == "someone/openlrm"
        assert_same_parameters(model, LRMModel.from_original(source, encoder_config=ENCODERS[source]))

    def test_out_of_reach(self, tmp_path: Path) -> None:
        assert is_original("someone/absent", cache_dir=tmp_path) is None
        with pytest.raises(OSError, match="'someone/absent' holds no original checkpoint.*The Hub could not be asked"):
            LRMModel.from_original("someone/absent", cache_dir=tmp_path)
        with pytest.raises(OSError, match="offline mode"):  # what transformers says
            LRMModel.from_pretrained("someone/absent", cache_dir=tmp_path)

    def test_neither_directory_nor_repository(self, tmp_path: Path) -> None:
        for source in (tmp_path / "no" / "such" / "place", "./nowhere/at all"):
            with pytest.raises(OSError, match="is neither a directory nor the name of a Hub repository"):
                LRMModel.from_original(source)

    def test_file_instead_of_directory(self) -> None:
        with pytest.raises(OSError, match="is a file; expected the directory"):
            LRMModel.from_original(V10 / "model.pth")


class TestFullSize:
    """Names and shapes of the six published sizes, on the meta device."""

    @pytest.mark.parametrize("name", sorted(FULL_SIZE))
    def test_every_key_maps_and_every_parameter_is_filled(self, name: str) -> None:
        origin = name.rsplit("_", 1)[0]
        entry = FULL_SIZE[name]
        config = openlrm_config(entry["config"])
        originals = {key: torch.empty(shape, device="meta") for key, shape in entry["shapes"].items()}
        converted = convert_state_dict(origin, originals, config)
        model, info = LRMModel.from_pretrained(
            None, config=config, state_dict=dict(converted), device_map="meta", output_loading_info=True
        )
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")), (
            info
        )
        assert len(converted) == len(model.state_dict())
        # no number is lost, none is there twice: only the DINOv2 encoder's mask token is ours alone
        mask_token = config.encoder_config.hidden_size if origin == "openlrm_v11" else 0
        assert sum(tensor.numel() for tensor in converted.values()) == entry["params"] + mask_token
        assert sum(parameter.numel() for parameter in model.parameters()) == entry["params"] + mask_token

    def test_both_attentions_and_both_encoders_are_among_them(self) -> None:
        forms = {
            ("blocks.0.attn" in " ".join(entry["shapes"]), "cross_attn.in_proj_weight" in " ".join(entry["shapes"]))
            for entry in FULL_SIZE.values()
        }
        assert forms == {(True, True), (True, False), (False, True), (False, False)}

    def test_published_sizes(self) -> None:
        """OpenLRM's model card (1.1): 224, 336 and 448 px, 96, 96 and 128 samples, 32, 48 and 80 channels."""
        sizes = {}
        for name, entry in FULL_SIZE.items():
            config = openlrm_config(entry["config"])
            assert config.position_interpolation == ("legacy" if "v10" in name else "native")
            assert config.encoder_config.layer_norm_eps == (1e-12 if "v10" in name else 1e-6)
            field = config.field_config
            sizes[name] = (config.image_size, field.num_samples, field.channels, config.encoder_hidden_size)
        assert sizes["openlrm_v11_small"] == (224, 96, 32, 384)
        assert sizes["openlrm_v11_base"] == (336, 96, 48, 768)
        assert sizes["openlrm_v11_large"] == (448, 128, 80, 768)

    def test_missing_key_at_full_size(self) -> None:
        entry = FULL_SIZE["openlrm_v11_base"]
        originals = {key: torch.empty(shape, device="meta") for key, shape in entry["shapes"].items()}
        del originals["encoder.model.blocks.7.ls2.gamma"]
        with pytest.raises(ValueError, match=r"1 tensor missing: encoder\.model\.blocks\.7\.ls2\.gamma\.$"):
            convert_state_dict("openlrm_v11", originals, openlrm_config(entry["config"]))


class TestLoading:
    @pytest.mark.parametrize("source", [V11, V10], ids=lambda path: path.name)
    def test_from_pretrained_does_what_from_original_does(self, source: Path) -> None:
        model, info = LRMModel.from_pretrained(source, encoder_config=ENCODERS[source], output_loading_info=True)
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        assert not model.training
        assert_same_parameters(model, LRMModel.from_original(source, encoder_config=ENCODERS[source]))

    def test_options_are_passed_on(self) -> None:
        model = LRMModel.from_original(
            V11, encoder_config=DINOV2, dtype=torch.bfloat16, attn_implementation="eager", device_map="cpu"
        )
        assert model.encoder.dtype == model.pos_embed.dtype == torch.bfloat16
        assert {parameter.dtype for parameter in model.field_mlp.parameters()} == {torch.float32}
        assert model.config._attn_implementation == model.config.encoder_config._attn_implementation == "eager"

    def test_mask_token(self, tmp_path: Path) -> None:
        arguments, tensors = v11_parts()
        assert bool((LRMModel.from_original(V11, encoder_config=DINOV2).encoder.embeddings.mask_token == 0).all())
        tensors["encoder.model.mask_token"] = torch.full((1, 48), 0.25)
        model = LRMModel.from_original(write_v11(tmp_path, arguments, tensors), encoder_config=DINOV2)
        assert bool((model.encoder.embeddings.mask_token == 0.25).all())
        assert set(OPTIONAL) == {"{e}mask_token"}

    def test_unused_pooler_is_left_out(self, tmp_path: Path) -> None:
        arguments, tensors = v10_parts()
        for name in UNUSED:
            ones = torch.ones(48, 48) if name.endswith("weight") else torch.ones(48)
            tensors[name.format(e="encoder.model.")] = ones
        model = LRMModel.from_original(write_v10(tmp_path, arguments, tensors), encoder_config=DINO)
        assert_same_parameters(model, LRMModel.from_original(V10, encoder_config=DINO))

    @pytest.mark.parametrize(
        ("layout", "encoder_type"), [("openlrm_v11", "dinov2"), ("openlrm_v11", "dino"), ("openlrm_v10", "dino")]
    )
    @pytest.mark.parametrize("width", [64, 48], ids=["separate", "packed"])
    def test_every_form(self, layout: str, encoder_type: str, width: int, tmp_path: Path) -> None:
        """Both attentions as torch itself names and computes them, in both layouts, over both encoders."""
        arguments = ARGUMENTS | {"transformer_dim": width, "encoder_type": encoder_type}
        tensors = v11_parts()[1] if encoder_type == "dinov2" else v10_parts()[1]
        tensors = {name: tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
        generator = torch.Generator().manual_seed(0)
        rest = v11_parts()[1] if width == 64 else v10_parts()[1]
        names = {"pos_embed": "transformer.pos_embed", "upsampler.": "transformer.deconv."}
        if layout == "openlrm_v11":
            names = {theirs: ours for ours, theirs in names.items()}
        for name, tensor in rest.items():
            if name.startswith("encoder.") or "_attn." in name:
                continue
            for old, new in names.items():
                name = new + name.removeprefix(old) if name.startswith(old) else name
            tensors[name] = tensor
        attentions = {}
        for i in range(2):
            for kind, source in (("cross_attn", 48), ("self_attn", width)):
                attention = nn.MultiheadAttention(width, 4, bias=False, batch_first=True, kdim=source, vdim=source)
                attentions[i, kind] = attention.requires_grad_(False)
                for name, tensor in attention.state_dict().items():
                    tensor.normal_(generator=generator, std=width**-0.5)
                    tensors[f"transformer.layers.{i}.{kind}.{name}"] = tensor
        packed = "transformer.layers.0.cross_attn.in_proj_weight" in tensors
        assert packed == (width == 48)

        write = write_v11 if layout == "openlrm_v11" else write_v10
        encoder_config = DINOV2 if encoder_type == "dinov2" else DINO
        model = LRMModel.from_original(write(tmp_path, arguments, tensors), encoder_config=encoder_config)
        model.requires_grad_(False)
        assert model.config.position_interpolation == ("legacy" if encoder_type == "dino" else "native")
        states, tokens = torch.randn(2, 5, width, generator=generator), torch.randn(2, 7, 48, generator=generator)
        for (i, kind), attention in attentions.items():
            ours, source = getattr(model.decoder.layers[i], kind), tokens if kind == "cross_attn" else states
            expected, _ = attention(states, source, source, need_weights=False)
            torch.testing.assert_close(ours(states, source)[0], expected, atol=2e-6, rtol=1e-5)
        planes = model(torch.rand(1, 3, 112, 112, generator=generator)).planes
        assert planes.shape == (1, 3, 8, 16, 16)
        assert bool(torch.isfinite(planes).all())

    @pytest.mark.parametrize("source", [V11, V10], ids=lambda path: path.name)
    def test_saved_in_our_layout_and_back(self, source: Path, tmp_path: Path) -> None:
        model = LRMModel.from_original(source, encoder_config=ENCODERS[source])
        model.save_pretrained(tmp_path)
        names = set(load_file(tmp_path / "model.safetensors"))
        assert not [name for name in names if name.startswith(("transformer.", "synthesizer.", "encoder.model."))]
        loaded = LRMModel.from_pretrained(tmp_path)
        assert_same_parameters(loaded, model)
        assert loaded.config.position_interpolation == model.config.position_interpolation
        pixel_values = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            assert torch.equal(loaded(pixel_values).planes, model(pixel_values).planes)


class TestComponents:
    def test_image_processor_of_v11(self) -> None:
        model, processor = load_original_components(V11, DINOV2)
        assert isinstance(model, LRMModel)
        assert processor.size == {"height": 224, "width": 224}
        assert model.config.image_size == 224
        assert processor.resize_mode == "bicubic_align_corners"
        assert not (processor.do_normalize or processor.do_recenter or processor.do_pad)
        assert processor.background == 1.0

    def test_image_processor_of_v10_has_the_size_in_the_file(self) -> None:
        _, processor = load_original_components(V10, encoder_config=DINO)
        assert processor.size == {"height": 80, "width": 80}
        assert processor.do_normalize
        assert (processor.image_mean, processor.image_std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])

    def test_dino_in_v11_is_normalised_too(self) -> None:
        config = openlrm_config(ARGUMENTS | {"encoder_type": "dino"}, encoder_config=DINO)
        assert original_image_processor("openlrm_v11", config).do_normalize

    def test_picture_to_planes(self) -> None:
        """A picture of the model's size with white corners: what the processor makes of it is the picture itself."""
        model, processor = load_original_components(V10, encoder_config=DINO)
        picture = torch.rand(3, 80, 80, generator=torch.Generator().manual_seed(2))
        pixel_values = processor(picture, return_tensors="pt")["pixel_values"]
        mean, std = (torch.tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std))
        torch.testing.assert_close(pixel_values[0], (picture - mean) / std, atol=1e-6, rtol=0)
        assert model(pixel_values).planes.shape == (1, 3, 8, 16, 16)

    def test_unknown_origin(self) -> None:
        config = openlrm_config(ARGUMENTS, encoder_config=DINO)
        for call in (original_image_processor, lambda origin, config: convert_state_dict(origin, {}, config)):
            with pytest.raises(
                ValueError, match="`origin` must be one of 'openlrm_v11', 'openlrm_v10', 'triposr', got 'sparse'"
            ):
                call("sparse", config)

    def test_convert_writes_our_layout(self, tmp_path: Path) -> None:
        destination = convert_original(V10, tmp_path / "deep" / "er", encoder_config=DINO)
        assert sorted(path.name for path in destination.iterdir()) == [
            "config.json",
            "model.safetensors",
            "modeling_lrm.py",
            "preprocessor_config.json",
        ]
        assert_same_parameters(LRMModel.from_pretrained(destination), LRMModel.from_original(V10, encoder_config=DINO))
        processor = AutoImageProcessor.from_pretrained(destination)
        assert type(processor) is LRMImageProcessor
        assert processor.size == {"height": 80, "width": 80}
        assert processor.do_normalize

    def test_convert_refuses_to_write_onto_the_source(self, tmp_path: Path) -> None:
        shutil.copytree(V11, tmp_path, dirs_exist_ok=True)
        with pytest.raises(ValueError, match="`destination` is the source"):
            convert_original(tmp_path, tmp_path / ".", encoder_config=DINOV2)
        assert is_original(tmp_path) == "openlrm_v11"

    def test_convert_of_a_broken_checkpoint_writes_nothing(self, tmp_path: Path) -> None:
        arguments, tensors = v11_parts()
        del tensors["pos_embed"]
        source = write_v11(tmp_path / "source", arguments, tensors)
        with pytest.raises(ValueError, match="1 tensor missing: pos_embed"):
            convert_original(source, tmp_path / "destination", encoder_config=DINOV2)
        assert not (tmp_path / "destination").exists()
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match="exists and is not a directory"):
            convert_original(V11, tmp_path / "file", encoder_config=DINOV2)


class TestConfig:
    def test_defaults_of_the_original_constructor(self) -> None:
        required = {name: value for name, value in ARGUMENTS.items() if not name.startswith("encoder")}
        config = openlrm_config(required)
        assert (config.encoder_config.model_type, config.encoder_hidden_size) == ("vit", 768)
        assert config.encoder_config.patch_size == 16

    @pytest.mark.parametrize(
        ("changes", "encoder_config", "message"),
        [
            ({"transformer_heads": None}, DINO, "1 argument missing: transformer_heads"),
            ({"depth": 3}, DINO, "1 argument unexpected: depth"),
            ({"triplane_high_res": 24}, DINO, "`triplane_high_res` must be twice `triplane_low_res`, got 24 and 8"),
            ({"encoder_model_name": "dinov2_vitb14"}, None, "'dinov2_vitb14' is not supported.*pass `encoder_config`"),
            ({"encoder_model_name": "dinov2_vits14_reg"}, None, "is 48, but 'dinov2_vits14_reg' is 384 wide"),
            ({"encoder_feat_dim": 96}, DINO, "is 96, but `encoder_config` is 48 wide"),
            ({}, Dinov2Config(**SIZE), "must be of type 'dinov2_with_registers' or 'vit', got 'dinov2'"),
            ({"transformer_heads": 5}, DINO, "make no model.*`hidden_size` must be a multiple"),
            ({"transformer_layers": "two"}, DINO, "make no model.*num_hidden_layers"),
        ],
    )
    def test_refused(self, changes: dict[str, Any], encoder_config: PreTrainedConfig | None, message: str) -> None:
        arguments = {name: value for name, value in (ARGUMENTS | changes).items() if value is not None}
        with pytest.raises(ValueError, match=rf"(?s){message}"):
            openlrm_config(arguments, encoder_config)

    def test_encoder_config_of_another_kind(self) -> None:
        with pytest.raises(TypeError, match="`encoder_config` must be a config of transformers, got dict"):
            LRMModel.from_original(V11, encoder_config={"hidden_size": 48})

    def test_config_beside_an_original(self) -> None:
        with pytest.raises(ValueError, match="`config` can't be given for an original checkpoint"):
            LRMModel.from_pretrained(V11, config=LRMConfig())


class TestBrokenFiles:
    def test_truncated_safetensors(self, tmp_path: Path) -> None:
        shutil.copytree(V11, tmp_path, dirs_exist_ok=True)
        for length in (600_000, 1_000, 4, 0):
            os.truncate(tmp_path / "model.safetensors", length)
            with pytest.raises(OSError, match=r"model\.safetensors' can't be read as safetensors, it may be truncated"):
                LRMModel.from_original(tmp_path, encoder_config=DINOV2)

    def test_truncated_pth(self, tmp_path: Path) -> None:
        shutil.copytree(V10, tmp_path, dirs_exist_ok=True)
        for length in (600_000, 1_000, 0):
            os.truncate(tmp_path / "model.pth", length)
            with pytest.raises(OSError, match=r"model\.pth' .*(truncated|damaged)"):
                LRMModel.from_original(tmp_path, encoder_config=DINO)

    @pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy pickle"])
    def test_pickle_that_wants_to_run_code(self, legacy: bool, tmp_path: Path) -> None:
        marker = tmp_path / "executed"

        class Attack:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (marker,)

        arguments, tensors = v10_parts()
        content = {"weights": tensors, "kwargs": {"model": arguments}, "surprise": Attack()}
        torch.save(content, tmp_path / "model.pth", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(OSError, match="it was not read, since such a pickle can run code"):
            LRMModel.from_pretrained(tmp_path, encoder_config=DINO)
        assert not marker.exists()
        pickle.loads(pickle.dumps(Attack()))
        assert marker.exists(), "the attack works where it is let through"

    def test_pth_of_something_else(self, tmp_path: Path) -> None:
        arguments, tensors = v10_parts()
        torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "model.pth")
        with pytest.raises(ValueError, match="not a checkpoint of OpenLRM 1.0: .* got a dict with epoch, state_dict"):
            LRMModel.from_original(tmp_path)
        torch.save([1, 2], tmp_path / "model.pth")
        with pytest.raises(ValueError, match="not a checkpoint of OpenLRM 1.0: .* got list"):
            LRMModel.from_original(tmp_path)
        write_v10(tmp_path, arguments, tensors | {"step": 7})
        with pytest.raises(ValueError, match=r"1 weights that are no tensors: step \(int\)"):
            LRMModel.from_original(tmp_path, encoder_config=DINO)

    def test_missing_files(self, tmp_path: Path) -> None:
        with pytest.raises(
            OSError, match=r"holds no original checkpoint: expected config\.json with `transformer_dim`"
        ):
            LRMModel.from_original(tmp_path)
        shutil.copy(V11 / "config.json", tmp_path)
        for load in (LRMModel.from_original, LRMModel.from_pretrained):
            with pytest.raises(OSError, match=r"but neither model\.safetensors nor model\.pth"):
                load(tmp_path)
        (tmp_path / "config.json").write_text("{")
        with pytest.raises(OSError, match=r"config\.json' is not a JSON file"):
            LRMModel.from_original(tmp_path)

    def test_missing_and_extra_tensors_are_counted_and_listed(self, tmp_path: Path) -> None:
        arguments, tensors = v11_parts()
        removed = [name for name in tensors if name.startswith("transformer.layers.1.")]
        for name in removed:
            del tensors[name]
        tensors["transformer.layers.1.gate"] = torch.zeros(1)
        source = write_v11(tmp_path, arguments, tensors)
        with pytest.raises(ValueError, match="does not fit its config") as error:
            LRMModel.from_original(source, encoder_config=DINOV2)
        message = str(error.value)
        assert str(source) in message
        assert f"{len(removed)} tensors missing: transformer.layers.1.cross_attn.k_proj_weight, " in message
        assert f" and {len(removed) - 8} more" in message
        assert "1 tensor unexpected: transformer.layers.1.gate" in message

    def test_fewer_and_more_blocks_than_the_config_says(self, tmp_path: Path) -> None:
        arguments, tensors = v11_parts()
        per_block = sum(name.startswith("transformer.layers.1.") for name in tensors)
        source = write_v11(tmp_path, arguments | {"transformer_layers": 1}, tensors)
        with pytest.raises(ValueError, match=rf"{per_block} tensors unexpected: transformer\.layers\.1\.cross_attn"):
            LRMModel.from_original(source, encoder_config=DINOV2)
        source = write_v11(tmp_path, arguments | {"transformer_layers": 4}, tensors)
        with pytest.raises(ValueError, match=rf"{2 * per_block} tensors missing: transformer\.layers\.2\.cross_attn"):
            LRMModel.from_original(source, encoder_config=DINOV2)

    def test_another_encoder(self, tmp_path: Path) -> None:
        arguments, tensors = v11_parts()
        ours = sum(name.startswith("encoder.") for name in tensors)
        theirs = sum(name.startswith("encoder.") for name in v10_parts()[1])
        with pytest.raises(ValueError, match=rf"{theirs} tensors missing: .*; {ours} tensors unexpected: "):
            LRMModel.from_original(write_v11(tmp_path, arguments, tensors), encoder_config=DINO)

    def test_tensors_of_another_shape(self, tmp_path: Path) -> None:
        arguments, tensors = v11_parts()
        source = write_v11(tmp_path, arguments | {"triplane_dim": 12}, tensors)
        with pytest.raises(ValueError, match="does not fit its config") as error:
            LRMModel.from_original(source, encoder_config=DINOV2)
        assert str(error.value).endswith(
            "3 of another shape: field_mlp.layers.0.weight (64, 24) instead of (64, 36), "
            "upsampler.bias (8,) instead of (12,), upsampler.weight (64, 8, 2, 2) instead of (64, 12, 2, 2)."
        )

    def test_tensor_that_does_not_split(self, tmp_path: Path) -> None:
        arguments, tensors = v11_parts()
        tensors["transformer.layers.0.self_attn.in_proj_weight"] = torch.zeros(64, 64)
        with pytest.raises(ValueError, match=r"in_proj_weight' of shape \(64, 64\) can't be split into 3 equal parts"):
            LRMModel.from_original(write_v11(tmp_path, arguments, tensors), encoder_config=DINOV2)
