# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The package's face: its public names, what importing it costs and registers, its metadata."""

from __future__ import annotations

import configparser
import importlib.metadata
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lrm_hf


ROOT = Path(__file__).parent.parent
PUBLIC_NAMES = {
    "Cameras",
    "LRMConfig",
    "LRMImageProcessor",
    "LRMModel",
    "LRMModelOutput",
    "LRMPipeline",
    "LRMPipelineOutput",
    "LRMPreTrainedModel",
    "RenderOutput",
    "TriplaneField",
    "TriplaneFieldConfig",
    "TripoSRConfig",
    "TripoSRModel",
    "__version__",
    "bundled_model",
    "camera_rays",
    "extract_mesh",
    "look_at_cameras",
    "lora_config",
    "orbit_cameras",
    "render",
}


def run_python(code: str) -> str:
    """Standard output of `code` in a fresh interpreter that imports this very copy of the package."""
    package_root = str(Path(lrm_hf.__file__).parent.parent)
    process = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": package_root}, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_public_names_are_the_documented_ones() -> None:
    assert set(lrm_hf.__all__) == PUBLIC_NAMES
    assert len(lrm_hf.__all__) == len(PUBLIC_NAMES)
    assert set(dir(lrm_hf)) >= PUBLIC_NAMES


@pytest.mark.parametrize("name", sorted(PUBLIC_NAMES - {"__version__"}))
def test_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(lrm_hf, name)
    assert value is getattr(sys.modules[value.__module__], name), "defined under the same name where it lives"
    assert value.__module__.startswith("lrm_hf")
    # A docstring of its own: dataclasses make one up from the signature, subclasses inherit one.
    docstring = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
    assert docstring, f"{name} has no docstring"
    assert not docstring.startswith(f"{name}("), f"the docstring of {name} is the generated one"


def test_star_import_and_unknown_name() -> None:
    namespace: dict[str, object] = {}
    exec("from lrm_hf import *", namespace)
    assert set(namespace) >= PUBLIC_NAMES
    with pytest.raises(AttributeError, match="module 'lrm_hf' has no attribute 'LRMModell'"):
        _ = lrm_hf.LRMModell


def test_import_leaves_heavy_libraries_out() -> None:
    code = (
        "import sys, lrm_hf;"
        "print([name for name in ('diffusers', 'gradio', 'trimesh', 'skimage', 'imageio', 'peft', 'rembg', 'ray')"
        " if name in sys.modules]);"
        "lrm_hf.LRMPipeline; print('diffusers' in sys.modules)"
    )
    assert run_python(code).splitlines() == ["[]", "True"]


def test_auto_classes_know_us_from_import_alone() -> None:
    code = (
        "import lrm_hf;"
        "from transformers import AutoConfig, AutoModel;"
        "from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING;"
        "[print(type(AutoConfig.for_model(config.model_type)).__name__,"
        " AutoModel._model_mapping[config].__name__,"
        " IMAGE_PROCESSOR_MAPPING[config]['pil'].__name__)"
        " for config in (lrm_hf.LRMConfig, lrm_hf.TripoSRConfig)]"
    )
    assert run_python(code).splitlines() == [
        "LRMConfig LRMModel LRMImageProcessor",
        "TripoSRConfig TripoSRModel LRMImageProcessor",
    ]


def test_auto_classes_load_what_we_save(tmp_path: Path) -> None:
    from transformers import AutoConfig
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    lrm_hf.LRMConfig().save_pretrained(tmp_path)
    processor = lrm_hf.LRMImageProcessor()
    processor.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is lrm_hf.LRMConfig
    loaded = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(loaded) is lrm_hf.LRMImageProcessor
    assert loaded.to_dict() == processor.to_dict()


def test_base_classes_that_diffusers_looks_up() -> None:
    from transformers import ImageProcessingMixin, PreTrainedModel

    assert lrm_hf.PreTrainedModel is PreTrainedModel
    assert lrm_hf.ImageProcessingMixin is ImageProcessingMixin
    assert issubclass(lrm_hf.LRMModel, PreTrainedModel)
    assert issubclass(lrm_hf.LRMImageProcessor, ImageProcessingMixin)


def test_metadata() -> None:
    """Fails after a change of version or extras without a new install: `pip install -e .`."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    metadata = importlib.metadata.metadata("lrm_hf")
    assert metadata["Version"] == lrm_hf.__version__
    assert set(metadata.get_all("Provides-Extra")) == set(setup["options.extras_require"])
    extras = {"train", "evaluation", "lpips", "background", "app", "serve", "completion", "texture", "usd", "batch"}
    extras.add("dev")
    assert set(setup["options.extras_require"]) == extras
    assert f"## [{lrm_hf.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_command_is_installed() -> None:
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="lrm-hf")
    assert entry.value == "lrm_hf.cli:main"
    assert callable(entry.load())


def test_typed() -> None:
    assert (Path(lrm_hf.__file__).parent / "py.typed").is_file()


def test_bundled_model_is_there_and_within_its_size() -> None:
    directory = Path(lrm_hf.bundled_model())
    assert directory == Path(lrm_hf.__file__).parent / "bundled"
    weights = list(directory.rglob("*.safetensors"))
    assert 0 < sum(path.stat().st_size for path in weights) <= 25_000_000
    assert not [path.name for path in directory.rglob("*") if path.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl"}]


def test_bundled_model_missing_is_an_error_that_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lrm_hf, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(OSError, match="bundled model is missing") as error:
        lrm_hf.bundled_model()
    assert str(tmp_path / "bundled") in str(error.value)


def test_import_time_benchmark_measures_and_judges(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from benchmarks import import_time

    assert import_time.import_seconds("time.sleep(0.05)") >= 0.04
    with pytest.raises(RuntimeError, match="no_such_module"):
        import_time.import_seconds("import no_such_module")

    seconds = iter([9.0, 9.0, 1.0, 1.3, 1.1, 1.25])  # the first pair only warms the disk cache
    monkeypatch.setattr(import_time, "import_seconds", lambda statement: next(seconds))
    assert import_time.main(["--repetitions", "2", "--limit", "0.2"]) == 1
    output = capsys.readouterr()
    assert " 0.250 s difference of the minima, ratio 1.250" in output.out
    assert "above the limit of 0.2 s" in output.err
    seconds = iter([9.0, 9.0, 1.0, 1.25])
    assert import_time.main(["--repetitions", "1", "--limit", "0.3"]) == 0
