# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""lrm-hf: files, what is printed where, exit codes, and that one bad picture stays one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import trimesh
from diffusers.utils import logging as diffusers_logging
from tiny_models import TINY_ENCODER, pictures, tiny_pipeline, write_openlrm
from transformers.utils import logging as transformers_logging

import lrm_hf
from lrm_hf import LRMPipeline, cli
from lrm_hf.commands.inputs import output_names
from lrm_hf.modeling import original_checkpoints


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("cli") / "model"
    pipe = tiny_pipeline()
    pipe.model.config.field_config.density_threshold = 0.5
    pipe.save_pretrained(directory)
    return str(directory)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with three pictures in it."""
    for name, image in zip(("disc", "box", "ball"), pictures(3), strict=True):
        image.save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _libraries_talk_as_before() -> object:
    before = [(module, module.get_verbosity()) for module in (diffusers_logging, transformers_logging)]
    yield
    for module, verbosity in before:
        module.set_verbosity(verbosity)
        module.enable_progress_bar()


def generate(model: str, *arguments: str) -> int:
    """Small and fast, on the CPU."""
    sizes = ["--resolution", "16", "--views", "2", "--view-size", "16"]
    return cli.main(["generate", *arguments, "--model", model, "--device", "cpu", *sizes])


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


class TestGenerate:
    def test_mesh_and_contact_sheet(self, model: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate(model, "disc.png", "-o", "out/deep") == 0
        printed = capsys.readouterr()
        assert printed.out.split() == [str(Path("out/deep", name)) for name in ("disc_views.png", "disc.glb")]
        assert printed.err == ""
        assert files(work / "out") == ["deep/disc.glb", "deep/disc_views.png"]
        mesh = trimesh.load(work / "out/deep/disc.glb", force="mesh")
        assert mesh.is_watertight
        sheet = np.asarray(PIL.Image.open(work / "out/deep/disc_views.png"))
        assert sheet.shape == (2 * 20 + 4, 2 * 20 + 4, 3), "the picture and two views of 16 pixels, two by two"

    def test_same_as_the_pipeline(self, model: str, work: Path) -> None:
        assert generate(model, "disc.png", "-o", "out", "--format", "ply", "--elevation", "-10") == 0
        pipe = LRMPipeline.from_pretrained(model)
        pipe.set_progress_bar_config(disable=True)
        out = pipe("disc.png", mesh_resolution=16, num_views=2, elevation=-10, height=16, width=16)
        written = trimesh.load(work / "out/disc.ply")
        np.testing.assert_allclose(written.vertices, out.meshes[0].vertices, atol=1e-6)
        np.testing.assert_array_equal(written.visual.vertex_colors, out.meshes[0].visual.vertex_colors)
        sheet = np.asarray(PIL.Image.open(work / "out/disc_views.png"))
        seen = out.images[0].resize((16, 16))
        for tile, row, column in ((seen, 0, 0), (out.frames[0][0], 0, 1), (out.frames[0][1], 1, 0)):
            top, left = 4 + 20 * row, 4 + 20 * column
            np.testing.assert_array_equal(sheet[top : top + 16, left : left + 16], np.asarray(tile))

    @pytest.mark.parametrize("kind", ["obj", "stl"])
    def test_formats(self, model: str, work: Path, kind: str) -> None:
        assert generate(model, "disc.png", "-o", "out", "--format", kind) == 0
        assert files(work / "out") == [f"disc.{kind}", "disc_views.png"]
        assert len(trimesh.load(work / f"out/disc.{kind}", force="mesh").faces) > 20

    def test_video(self, model: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
        imageio = pytest.importorskip("imageio.v2")
        assert generate(model, "disc.png", "-o", "out", "--video", "--frames", "6") == 0
        assert capsys.readouterr().out.split()[-1] == str(Path("out/disc.mp4"))
        with imageio.get_reader(work / "out/disc.mp4") as reader:
            assert reader.get_meta_data()["fps"] == 3
            assert [frame.shape for frame in reader] == [(16, 16, 3)] * 6

    def test_options_reach_the_model(self, model: str, work: Path) -> None:
        """Each option changes its output, and nothing but."""

        def contents(*options: str) -> tuple[bytes, bytes, bytes]:
            assert generate(model, "disc.png", "-o", "out", "--format", "ply", *options) == 0
            sheet = np.asarray(PIL.Image.open(work / "out/disc_views.png"))
            return (work / "out/disc.ply").read_bytes(), sheet[4:20, 4:20].tobytes(), sheet[4:20, 24:40].tobytes()

        plain = contents()
        assert contents() == plain
        changes = {
            ("--threshold", "0.6"): (True, False, False),
            ("--threshold", "2.0", "--largest-component"): (True, False, False),
            ("--elevation", "60"): (False, False, True),
            ("--foreground-ratio", "0.4"): (True, True, True),
        }
        for options, expected in changes.items():
            changed = contents(*options)
            assert tuple(a != b for a, b in zip(plain, changed, strict=True)) == expected, options
        assert contents("--threshold", "2.0") != contents("--threshold", "2.0", "--largest-component")

    def test_foreground_ratio_frames_again(self, model: str, work: Path, tmp_path: Path) -> None:
        """Also where the model's processor takes pictures as they are."""
        pipe = LRMPipeline.from_pretrained(model)
        pipe.image_processor.do_recenter = False
        pipe.save_pretrained(tmp_path / "unframed")
        sheets = []
        for options in ([], ["--foreground-ratio", "0.4"]):
            assert generate(str(tmp_path / "unframed"), "disc.png", "-o", "out", *options) == 0
            seen = np.asarray(PIL.Image.open(work / "out/disc_views.png"))[4:20, 4:20]
            sheets.append((seen < 200).any(axis=2).mean())
        assert sheets[1] < 0.5 * sheets[0]

    def test_results_are_replaced(self, model: str, work: Path) -> None:
        (work / "out").mkdir()
        (work / "out/disc.glb").write_text("old")
        assert generate(model, "disc.png", "-o", "out") == 0
        assert (work / "out/disc.glb").read_bytes()[:4] == b"glTF"

    def test_thread_count_is_left_alone(self, model: str, work: Path) -> None:
        threads = torch.get_num_threads()
        assert generate(model, "disc.png", "-o", "out") == 0
        assert torch.get_num_threads() == threads


class TestFailures:
    def test_one_bad_picture_does_not_stop_the_others(
        self, model: str, work: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (work / "broken.png").write_bytes(b"no picture")
        assert generate(model, "disc.png", "broken.png", "absent.png", "box.png", "-o", "out") == 1
        printed = capsys.readouterr()
        assert files(work / "out") == ["box.glb", "box_views.png", "disc.glb", "disc_views.png"]
        lines = printed.err.splitlines()
        assert lines[0] == "lrm-hf: 2 of 4 pictures failed:"
        assert lines[1].startswith("  broken.png: images: 'broken.png' is not a picture")
        assert lines[2] == "  absent.png: images: no file at 'absent.png'"
        assert len(lines) == 3

    def test_no_picture_usable(self, model: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate(model, "absent.png", "-o", "out") == 1
        assert "1 of 1 pictures failed" in capsys.readouterr().err
        assert files(work / "out") == []

    def test_no_surface_still_leaves_the_views(
        self, model: str, work: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert generate(model, "disc.png", "box.png", "-o", "out", "--threshold", "1000") == 1
        printed = capsys.readouterr()
        assert files(work / "out") == ["box_views.png", "disc_views.png"]
        assert "the surface is empty: density ranges from" in printed.err
        assert "`threshold` is 1000" in printed.err

    def test_debug_raises(self, model: str, work: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no file at 'absent.png'"):
            generate(model, "absent.png", "-o", "out", "--debug")
        with pytest.raises(FileNotFoundError, match="There is no directory './nothing'"):
            generate("./nothing", "disc.png", "-o", "out", "--debug")

    def test_what_no_one_expected_fails_one_picture(
        self, model: str, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        render = LRMPipeline.render
        calls = []

        def fails_once(*args: object, **kwargs: object) -> object:
            calls.append(1)
            if len(calls) == 1:
                raise RuntimeError("out of\n memory")
            return render(*args, **kwargs)

        monkeypatch.setattr(LRMPipeline, "render", fails_once)
        assert generate(model, "disc.png", "box.png", "-o", "out") == 1
        assert "  disc.png: out of memory\n" in capsys.readouterr().err
        assert files(work / "out") == ["box.glb", "box_views.png"]
        calls.clear()
        with pytest.raises(RuntimeError, match="memory"):
            generate(model, "disc.png", "-o", "out", "--debug")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["disc.png"], "the following arguments are required: -o/--output"),
            (["-o", "out"], "the following arguments are required: PICTURE"),
            (["disc.png", "-o", "out", "--format", "fbx"], "--format: invalid choice: 'fbx'"),
            (["disc.png", "-o", "out", "--resolution", "8"], "'8' is not a whole number from 16 to 1024"),
            (["disc.png", "-o", "out", "--views", "2.5"], "'2.5' is not a whole number from 1 to 360"),
            (["disc.png", "-o", "out", "--threshold", "0"], "'0' is not a number above 0"),
            (["disc.png", "-o", "out", "--threshold", "inf"], "'inf' is not a number above 0"),
            (["disc.png", "-o", "out", "--foreground-ratio", "1.5"], "'1.5' is not a number above 0, up to 1"),
            (["disc.png", "-o", "out", "--elevation", "steep"], "'steep' is not a number from -90 to 90"),
            (["disc.png", "-o", "disc.png"], "--output 'disc.png' is not a directory"),
            (["disc.png", "-o", "out", "--device", "abacus"], "--device abacus: "),
            (["disc.png", "-o", "out", "--model", "./nothing"], "There is no directory './nothing'"),
            (["disc.png", "-o", "out", "--model", "."], "'.' holds nothing that can be loaded"),
            (["disc.png", "-o", "out", "--model", "me/absent"], "the Hub can't be reached"),
        ],
    )
    def test_nothing_is_done(
        self, work: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
    ) -> None:
        assert cli.main(["generate", *arguments]) == 2
        printed = capsys.readouterr()
        assert message in printed.err
        assert printed.out == ""
        assert "Traceback" not in printed.err
        assert not (work / "out").exists()

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
    def test_no_cuda(self, model: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["generate", "disc.png", "-o", "out", "--model", model, "--device", "cuda"]) == 2
        assert capsys.readouterr().err.startswith("lrm-hf: error: --device cuda: ")


class TestNames:
    SUFFIXES = (".glb", "_views.png")

    def names(self, *pictures: str, directory: str = "out") -> list[str]:
        return output_names(pictures, Path(directory), self.SUFFIXES)

    def test_own_names(self) -> None:
        assert self.names("a/owl.png", "chair.v2.jpg", "/x/y/.hidden.png") == ["owl", "chair.v2", "hidden"]

    def test_same_names_get_numbers(self) -> None:
        assert self.names("a/owl.png", "b/owl.png", "owl.jpg") == ["owl", "owl_2", "owl_3"]
        assert self.names("a/owl.png", "owl_2.png", "b/owl.png") == ["owl", "owl_2", "owl_3"]
        assert self.names("owl.png", "Owl.png") == ["owl", "Owl_2"], "some file systems do not tell them apart"

    def test_addresses(self) -> None:
        address = "https://example.org/pictures/my%20owl%2F1.png?size=big"
        assert self.names(address, "https://example.org/") == ["1", "picture"]
        assert self.names("HTTP://example.org/my%20owl.png#top") == ["my_owl"]

    def test_inputs_are_not_replaced(self, tmp_path: Path) -> None:
        pictures = [str(tmp_path / name) for name in ("owl.png", "owl_views.png")]
        assert output_names(pictures, tmp_path, self.SUFFIXES) == ["owl_2", "owl_views"]
        assert output_names(pictures, tmp_path / "out", self.SUFFIXES) == ["owl", "owl_views"]

    def test_two_pictures_of_one_name(self, model: str, work: Path) -> None:
        (work / "more").mkdir()
        pictures(2)[1].save(work / "more/disc.png")
        assert generate(model, "disc.png", "more/disc.png", "-o", "out") == 0
        assert files(work / "out") == ["disc.glb", "disc_2.glb", "disc_2_views.png", "disc_views.png"]
        assert (work / "out/disc.glb").read_bytes() != (work / "out/disc_2.glb").read_bytes()


class TestConvert:
    @pytest.fixture
    def original(self, work: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        (work / "original").mkdir()
        write_openlrm(work / "original")
        monkeypatch.setitem(original_checkpoints.ENCODERS, "tiny", TINY_ENCODER)
        return "original"

    def test_original_to_ours(self, original: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["convert", original, "sub/ours"]) == 0
        assert capsys.readouterr().out.split() == ["sub/ours"]
        assert [path.name for path in (work / "sub").iterdir()] == ["ours"], "no leftovers"
        assert (work / "sub/ours").stat().st_mode & 0o777 == (work / "sub").stat().st_mode & 0o777
        before, after = (
            LRMPipeline.from_pretrained(place)(pictures(1), output_type="field") for place in (original, "sub/ours")
        )
        torch.testing.assert_close(before.field.planes, after.field.planes, atol=1e-5, rtol=0)
        assert np.asarray(before.images[0]).tobytes() == np.asarray(after.images[0]).tobytes()

    def test_empty_directory_is_filled_another_refused(
        self, original: str, work: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (work / "ours").mkdir()
        assert cli.main(["convert", original, "ours"]) == 0
        before = files(work / "ours")
        assert "model/model.safetensors" in before
        assert cli.main(["convert", original, "ours"]) == 2
        assert "'ours' exists and is not an empty directory" in capsys.readouterr().err
        assert cli.main(["convert", original, "disc.png"]) == 2
        assert files(work / "ours") == before

    def test_what_is_no_original(
        self, model: str, original: str, work: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["convert", model, "ours"]) == 2
        assert "holds no original checkpoint" in capsys.readouterr().err
        assert cli.main(["convert", "./nothing", "ours"]) == 2
        weights = work / "original/model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        assert cli.main(["convert", original, "ours"]) == 2
        assert "lrm-hf: error: " in capsys.readouterr().err
        assert not (work / "ours").exists()


class TestProgram:
    def test_version_and_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["--version"]) == 0
        assert capsys.readouterr().out == f"lrm-hf {lrm_hf.__version__}\n"
        assert cli.main(["generate", "--help"]) == 0
        shown = capsys.readouterr().out
        for option in ("--model", "--format", "--resolution", "--video", "--views", "--view-size", "--device"):
            assert option in shown

    def test_no_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main([]) == 2
        assert "COMMAND" in capsys.readouterr().err

    def test_help_does_without_the_heavy_libraries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("diffusers", "trimesh", "imageio", "lrm_hf.pipelines", "lrm_hf.meshing", "lrm_hf.visualization"):
            monkeypatch.setitem(sys.modules, name, None)  # importing it raises
        assert cli.main(["--help"]) == 0
        assert cli.main(["generate", "--resolution", "x"]) == 2
        with pytest.raises(ImportError):
            generate("me/model", "disc.png", "-o", "out", "--debug")

    def test_bundled_model_is_the_default(self, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["--resolution", "32", "--views", "1", "--view-size", "24"]
        assert cli.main(["generate", "disc.png", "-o", "out", *arguments]) == 0, capsys.readouterr().err
        mesh = trimesh.load(work / "out/disc.glb", force="mesh")
        assert len(mesh.faces) > 20
        sheet = np.asarray(PIL.Image.open(work / "out/disc_views.png"))
        assert sheet.shape == (32, 60, 3)


def test_errors_are_red_on_a_terminal_only(monkeypatch, capsys):
    command = ["convert", "nowhere", str(Path(__file__).parent)]  # the destination is not empty
    assert cli.main(command) == 2
    plain = capsys.readouterr().err
    assert plain.startswith("lrm-hf: error:") and "\033" not in plain
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert cli.main(command) == 2
    assert capsys.readouterr().err == f"\033[31m{plain.rstrip()}\033[0m\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.main(command) == 2
    assert capsys.readouterr().err == plain
