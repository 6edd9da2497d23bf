# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The pipeline's verbs for adapters, on adapters that peft alone made."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo.testing
from adapter_files import random_adapter
from safetensors.torch import load_file, save_file
from tiny_models import pictures, tiny_pipeline

from lrm_hf import LRMPipeline


# one sum of float32 products more or less, over planes of size 10
SAME = {"atol": 1e-5, "rtol": 0}
KINDS = {
    "lora": {"rank": 4, "alpha": 6},
    "rslora": {"rank": 4, "alpha": 6, "use_rslora": True},
    "dora": {"rank": 4, "alpha": 6, "use_dora": True},
    "everything": {"target": "all", "mlp": True, "rank": 2},
}


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Directories, and the planes that peft's own model makes."""
    directory = tmp_path_factory.mktemp("adapters")
    planes = {name: random_adapter(directory / name, seed, **KINDS[name]) for seed, name in enumerate(KINDS)}
    return {name: (directory / name, planes[name]) for name in KINDS}


@pytest.fixture(scope="module")
def base() -> torch.Tensor:
    return planes(tiny_pipeline())


def planes(pipe: LRMPipeline) -> torch.Tensor:
    return pipe(pictures(2), output_type="field").field.planes


@pytest.mark.parametrize("kind", list(KINDS))
def test_loaded_fused_unfused_unloaded(kind: str, adapters: dict[str, Any], base: torch.Tensor) -> None:
    directory, expected = adapters[kind]
    pipe = tiny_pipeline()
    weights = {key: value.clone() for key, value in pipe.model.state_dict().items()}
    pipe.load_lora_weights(directory)
    assert pipe.get_list_adapters() == {"model": ["default"]}
    assert torch.equal(planes(pipe), expected)
    assert (expected - base).abs().max() > 0.1
    pipe.fuse_lora()
    assert pipe.fused_loras == {"default"} and pipe.num_fused_loras == 1
    torch.testing.assert_close(planes(pipe), expected, **SAME)
    pipe.unfuse_lora()
    assert pipe.num_fused_loras == 0
    assert torch.equal(planes(pipe), expected), "to the bit, which subtracting would not give"
    pipe.unload_lora_weights()
    assert pipe.get_list_adapters() == {} and pipe.get_active_adapters() == []
    assert pipe.model.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[key]) for key, value in pipe.model.state_dict().items())
    assert torch.equal(planes(pipe), base)


def test_several_adapters_add_up_by_their_weights(adapters: dict[str, Any], base: torch.Tensor) -> None:
    pipe = tiny_pipeline()
    pipe.load_lora_weights(adapters["lora"][0], adapter_name="a")
    pipe.load_lora_weights(adapters["rslora"][0], adapter_name="b")
    assert pipe.get_active_adapters() == ["b"], "the one that was loaded last, alone"
    assert torch.equal(planes(pipe), adapters["rslora"][1])
    pipe.set_adapters(["a", "b"], [0.5, -2.0])

    # the same by hand: W + 0.5 * 6 / 4 * B A - 2 * 6 / sqrt(4) * B' A'
    other = tiny_pipeline()
    for (directory, _), factor in ((adapters["lora"], 0.5 * 6 / 4), (adapters["rslora"], -2 * 6 / math.sqrt(4))):
        tensors = load_file(directory / "adapter_model.safetensors")
        for key in [key for key in tensors if "lora_A" in key]:
            name = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            weight = other.model.get_submodule(name).weight
            weight.data += factor * tensors[key.replace("lora_A", "lora_B")] @ tensors[key]
    torch.testing.assert_close(planes(pipe), planes(other), atol=5e-5, rtol=0)  # updates several times the weights

    pipe.set_adapters("a")
    assert torch.equal(planes(pipe), adapters["lora"][1]), "weights are 1 again"
    pipe.set_adapters(["a", "b"], 0.0)
    assert torch.equal(planes(pipe), base)
    pipe.delete_adapters("b")
    assert pipe.get_list_adapters() == {"model": ["a"]} and pipe.get_active_adapters() == ["a"]
    pipe.set_adapters("a")
    assert torch.equal(planes(pipe), adapters["lora"][1])
    pipe.delete_adapters(["a"])
    assert torch.equal(planes(pipe), base) and pipe.get_list_adapters() == {}


def test_deleting_the_active_one_activates_no_other(adapters: dict[str, Any], base: torch.Tensor) -> None:
    pipe = tiny_pipeline()
    for name in ("lora", "everything"):
        pipe.load_lora_weights(adapters[name][0], adapter_name=name)
    pipe.delete_adapters("everything")
    assert pipe.get_active_adapters() == []
    assert torch.equal(planes(pipe), base)


def test_off_and_on(adapters: dict[str, Any], base: torch.Tensor) -> None:
    pipe = tiny_pipeline()
    pipe.load_lora_weights(adapters["dora"][0])
    pipe.disable_lora()
    assert pipe.get_active_adapters() == []
    assert torch.equal(planes(pipe), base)
    with pytest.raises(ValueError, match="no active adapter to fuse"):
        pipe.fuse_lora()
    pipe.enable_lora()
    assert torch.equal(planes(pipe), adapters["dora"][1])
    assert not any(parameter.requires_grad for parameter in pipe.model.parameters())


def test_fusing_with_a_scale_multiplies_the_weight(adapters: dict[str, Any]) -> None:
    pipe = tiny_pipeline()
    pipe.load_lora_weights(adapters["lora"][0], adapter_name="a")
    pipe.set_adapters("a", 0.25)
    quarter = planes(pipe)
    pipe.set_adapters("a", 0.5)
    half = planes(pipe)
    pipe.fuse_lora(lora_scale=0.5)
    torch.testing.assert_close(planes(pipe), quarter, **SAME)
    pipe.unfuse_lora()
    assert torch.equal(planes(pipe), half), "the scale is gone again"


def test_while_fused_nothing_else_is_started(adapters: dict[str, Any]) -> None:
    """peft leaves other adapters out of a layer where one is merged, without a word."""
    pipe = tiny_pipeline()
    pipe.load_lora_weights(adapters["lora"][0], adapter_name="a")
    pipe.fuse_lora()
    for call in (
        lambda: pipe.load_lora_weights(adapters["dora"][0], adapter_name="b"),
        lambda: pipe.load_lora_weights(adapters["lora"][0], adapter_name="a", hotswap=True),
        lambda: pipe.set_adapters("a", 0.5),
        lambda: pipe.fuse_lora(),
    ):
        with pytest.raises(ValueError, match="while 'a' is fused"):
            call()
    with pytest.raises(ValueError, match="can't delete 'a': it is fused"):
        pipe.delete_adapters("a")
    # what diffusers' users do: keep the fused weights, drop the adapter, go on
    pipe.unload_lora_weights()
    torch.testing.assert_close(planes(pipe), adapters["lora"][1], **SAME)


def test_safe_fusing_leaves_all_as_it_was(adapters: dict[str, Any], tmp_path: Path, base: torch.Tensor) -> None:
    tensors = load_file(adapters["lora"][0] / "adapter_model.safetensors")
    tensors["base_model.model.decoder.layers.1.self_attn.v_proj.lora_B.weight"].fill_(math.inf)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text((adapters["lora"][0] / "adapter_config.json").read_text())
    pipe = tiny_pipeline()
    pipe.load_lora_weights(tmp_path)
    with pytest.raises(ValueError, match="NaN"):
        pipe.fuse_lora(safe_fusing=True)
    assert pipe.num_fused_loras == 0
    pipe.unload_lora_weights()
    assert torch.equal(planes(pipe), base)


@pytest.mark.parametrize(("dora", "wrapped"), [(False, False), (True, True)])
def test_hotswapping_compiles_nothing_anew(dora: bool, wrapped: bool, tmp_path: Path) -> None:
    expected = {}
    for rank in (2, 4, 8):
        settings = {"rank": rank, "alpha": 2 * rank + 1, "use_rslora": rank == 2, "use_dora": dora}
        expected[rank] = random_adapter(tmp_path / str(rank), seed=rank, **settings)
    pipe = tiny_pipeline()
    pipe.enable_lora_hotswap(target_rank=8)
    pipe.load_lora_weights(tmp_path / "2", adapter_name="style")
    pipe.load_lora_weights(tmp_path / "8", adapter_name="style2")
    pipe.set_adapters("style")
    torch.compiler.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("eager")
    if wrapped:
        pipe.model = torch.compile(pipe.model, backend=counter)
    else:
        pipe.model.compile(backend=counter)
    torch.testing.assert_close(planes(pipe), expected[2], **SAME)
    compiled = counter.frame_count
    for rank in (4, 8, 2):
        pipe.load_lora_weights(tmp_path / str(rank), adapter_name="style", hotswap=True)
        torch.testing.assert_close(planes(pipe), expected[rank], **SAME)
    pipe.set_adapters("style", 0.0)
    without = planes(pipe)
    if not dora:  # whose magnitudes stay
        torch.testing.assert_close(without, planes(tiny_pipeline()), **SAME)
    assert counter.frame_count == compiled > 0
    # padded with zeros in memory, not in the file
    pipe.save_lora_weights(tmp_path / "saved", "style")
    first, second = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("2", "saved"))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    pipe.set_adapters("style2")
    torch.testing.assert_close(planes(pipe), expected[8], **SAME)  # peft's own swap would have cleared it


def test_what_can_t_be_swapped(adapters: dict[str, Any], tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    with pytest.raises(ValueError, match="which adapter to swap"):
        pipe.load_lora_weights(adapters["lora"][0], hotswap=True)
    pipe.load_lora_weights(adapters["lora"][0], adapter_name="a")
    with pytest.raises(ValueError, match="there is no adapter 'b'; loaded are: a"):
        pipe.load_lora_weights(adapters["lora"][0], adapter_name="b", hotswap=True)
    with pytest.raises(ValueError, match=r"they adapt different layers, such as decoder\.layers\.0\.mlp\.fc1"):
        pipe.load_lora_weights(adapters["everything"][0], hotswap=True)
    with pytest.raises(ValueError, match="one of them is DoRA, the other not"):
        pipe.load_lora_weights(adapters["dora"][0], hotswap=True)
    random_adapter(tmp_path, seed=9, rank=8)
    with pytest.raises(ValueError, match=r"has rank 8, but there is room for 4 only: call `enable_lora_hotswap"):
        pipe.load_lora_weights(tmp_path, hotswap=True)
    with pytest.raises(ValueError, match="comes before the first adapter; loaded are: a"):
        pipe.enable_lora_hotswap(target_rank=8)
    assert torch.equal(planes(pipe), adapters["lora"][1]), "failed swaps have changed nothing"
    fresh = tiny_pipeline()
    fresh.enable_lora_hotswap(target_rank=4)
    with pytest.raises(ValueError, match="has rank 8, above the `target_rank` 4"):
        fresh.load_lora_weights(tmp_path)


def test_saved_without_and_with_adapters(
    adapters: dict[str, Any], base: torch.Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = tiny_pipeline()
    pipe.load_lora_weights(adapters["dora"][0], adapter_name="odd")
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING):
        pipe.save_pretrained(tmp_path / "base")
        assert "the base model is saved, without the adapters odd" in caplog.text
        caplog.clear()
        pipe.save_pretrained(tmp_path / "fused", fuse_lora=True)
        assert "adapters fused into the weights that are saved: odd" in caplog.text
    assert torch.equal(planes(pipe), adapters["dora"][1]), "saving has changed nothing"
    assert not list(tmp_path.rglob("adapter*"))
    for name, expected in (("base", base), ("fused", adapters["dora"][1])):
        loaded = LRMPipeline.from_pretrained(tmp_path / name)
        loaded.set_progress_bar_config(disable=True)
        torch.testing.assert_close(planes(loaded), expected, **SAME)
        assert loaded.model.state_dict().keys() == tiny_pipeline().model.state_dict().keys()
    # fused by hand, it is saved as it stands
    pipe.fuse_lora()
    pipe.save_pretrained(tmp_path / "by hand")
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("fused", "by hand")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_an_adapter_saved_and_loaded(adapters: dict[str, Any], tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    pipe.load_lora_weights(adapters["lora"][0], adapter_name="a")
    pipe.load_lora_weights(adapters["everything"][0], adapter_name="b")
    with pytest.raises(ValueError, match="which adapter to save. Give `adapter_name`; loaded are: a, b"):
        pipe.save_lora_weights(tmp_path / "none")
    pipe.save_lora_weights(tmp_path / "b", "b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert json.loads((tmp_path / "b" / "adapter_config.json").read_text())["base_model_name_or_path"] is None
    other = tiny_pipeline()
    other.load_lora_weights(tmp_path / "b")
    assert torch.equal(planes(other), adapters["everything"][1])


def test_in_bfloat16(adapters: dict[str, Any]) -> None:
    pipe = tiny_pipeline().to(torch.bfloat16)
    pipe.load_lora_weights(adapters["everything"][0])
    error = (planes(pipe) - adapters["everything"][1]).abs().mean() / adapters["everything"][1].abs().mean()
    assert error < 0.05  # eight bits of mantissa, some ten layers deep
    before = {key: value.clone() for key, value in pipe.model.state_dict().items()}
    pipe.fuse_lora()
    pipe.unfuse_lora()
    assert all(torch.equal(value, before[key]) for key, value in pipe.model.state_dict().items())


def test_names_of_their_own_and_taken(adapters: dict[str, Any]) -> None:
    pipe = tiny_pipeline()
    for _ in range(2):
        pipe.load_lora_weights(adapters["lora"][0])
    assert pipe.get_list_adapters() == {"model": ["default", "default_1"]}
    with pytest.raises(ValueError, match="an adapter 'default' is loaded already"):
        pipe.load_lora_weights(adapters["lora"][0], adapter_name="default")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda pipe: pipe.set_adapters("b"), ValueError, "there is no adapter 'b'; loaded are: a"),
        (lambda pipe: pipe.set_adapters([]), ValueError, "no adapter is named; loaded are: a"),
        (lambda pipe: pipe.set_adapters("a", [1.0, 2.0]), ValueError, "must have one number per adapter, got 2 for 1"),
        (lambda pipe: pipe.set_adapters("a", {"model": 1.0}), TypeError, "`adapter_weights` must be finite numbers"),
        (lambda pipe: pipe.set_adapters("a", math.nan), TypeError, "`adapter_weights` must be finite numbers, got nan"),
        (lambda pipe: pipe.delete_adapters("b"), ValueError, "there is no adapter 'b'; loaded are: a"),
        (lambda pipe: pipe.fuse_lora(components=["unet"]), ValueError, r"`components` must be \['model'\]"),
        (lambda pipe: pipe.save_lora_weights("x", "b"), ValueError, "there is no adapter 'b'"),
        (
            lambda pipe: pipe.save_lora_weights("x", token="t"),
            TypeError,
            "unknown argument 'token' without",
        ),
        (
            lambda pipe: pipe.load_lora_weights("./nowhere"),
            OSError,
            r"There is no directory '\./nowhere' to load",
        ),
        (lambda pipe: pipe.enable_lora_hotswap(0), ValueError, "`target_rank` must be a positive integer, got 0"),
    ],
)
def test_bad_calls(call: Any, error: type[Exception], message: str, adapters: dict[str, Any]) -> None:
    pipe = tiny_pipeline()
    pipe.load_lora_weights(adapters["lora"][0], adapter_name="a")
    with pytest.raises(error, match=message):
        call(pipe)


def test_directories_that_hold_something_else(adapters: dict[str, Any], tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    pipe.save_pretrained(tmp_path / "pipeline")
    with pytest.raises(OSError, match="holds a whole model, no adapter"):
        pipe.load_lora_weights(tmp_path / "pipeline")
    with pytest.raises(OSError, match=r"holds no adapter: it has no adapter_config\.json"):
        pipe.load_lora_weights(tmp_path)
    with pytest.raises(OSError, match="holds an adapter, no model"):
        LRMPipeline.from_pretrained(adapters["lora"][0])
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(OSError, match=r"but no adapter_model\.safetensors"):
        pipe.load_lora_weights(tmp_path)
