# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""lrm-hf evaluate on two small objects with a small model, from mesh files to every output."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import trimesh
from solids import ball, box
from tiny_models import tiny_pipeline

from lrm_hf import cli
from lrm_hf.evaluation import ground_truth, measure, protocols, report
from lrm_hf.evaluation.ground_truth import find_objects, load_ground_truth
from lrm_hf.evaluation.methods import Answer, ExtrudedSilhouette, Method, NoSurface
from lrm_hf.evaluation.protocols import PROTOCOLS, Protocol


SMALL = {
    "size": 24,
    "input_size": 24,
    "antialias": 2,
    "mesh_resolution": 16,
    "num_points": 500,
    "volume_resolution": 16,
    "least_volume": 1,
    "search_points": 200,
}
SCORES = {
    "novel_psnr",
    "own_psnr",
    "novel_ssim",
    "novel_iou",
    "chamfer",
    "accuracy",
    "completeness",
    "fscore_0.1",
    "fscore_0.2",
    "fscore_0.5",
    "normal_consistency",
    "volume_iou",
}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("objects")
    for name, triangles in (("ball", ball(3.0, 2)), ("plank", box((-1, -2, -0.2), (1, 2, 0.2)))):
        mesh = trimesh.Trimesh(triangles.reshape(-1, 3), np.arange(3 * len(triangles)).reshape(-1, 3), process=False)
        mesh.export(directory / f"{name}.ply")
    (directory / "ATTRIBUTION.tsv").write_text("not a mesh")
    return directory


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("evaluate") / "model"
    pipe = tiny_pipeline()
    pipe.model.config.field_config.density_threshold = 0.5
    pipe.save_pretrained(directory)
    return str(directory)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, Protocol]:
    """The protocols with fewer of everything."""
    reduced = {name: dataclasses.replace(protocol, **SMALL) for name, protocol in PROTOCOLS.items()}
    reduced["sf3d"] = dataclasses.replace(reduced["sf3d"], azimuths=(0.0, 90.0, 180.0), search_azimuths=6)
    monkeypatch.setattr(protocols, "PROTOCOLS", reduced)
    return reduced


class TestCommand:
    def test_end_to_end(
        self,
        objects: Path,
        model: str,
        small: dict[str, Protocol],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        pytest.importorskip("matplotlib")
        monkeypatch.chdir(tmp_path)
        outputs = {"--json": "r.json", "--markdown": "r.md", "--plot": "p.png", "--sheet": "s.png"}
        arguments = [word for pair in outputs.items() for word in pair]
        command = ["evaluate", str(objects), "--model", model, "--cache", "cache", "--device", "cpu", "--debug"]
        assert cli.main([*command, *arguments]) == 0
        printed = capsys.readouterr()
        assert printed.out.split() == list(outputs.values())
        assert "| copy of the input |" in printed.err

        result = json.loads(Path("r.json").read_text())
        check_layout(result, small["views"])
        names = [method["name"] for method in result["methods"]]
        assert names[-2:] == [model, measure.REFERENCE]
        assert [method["kind"] for method in result["methods"]] == ["baseline"] * 4 + ["model", "reference"]
        assert [entry["name"] for entry in result["objects"]] == ["ball", "plank"]
        assert len(result["rows"]) == 2 * 6
        rows = {(row["object"], row["method"]): row for row in result["rows"]}
        ours, copied = rows["ball", model], rows["ball", "copy of the input"]
        assert set(ours["scores"]) == SCORES
        assert None not in ours["scores"].values()
        assert copied["scores"]["own_psnr"] == pytest.approx(50.0)
        assert copied["scores"]["chamfer"] is None
        assert rows["ball", measure.REFERENCE]["scores"]["chamfer"] < 0.06, "500 points on a ball of radius 0.58"

        text = Path("r.md").read_text()
        assert text.count("| plank |") == 6
        assert small["views"].hash in text
        assert PIL.Image.open("s.png").size == (24 * 13, 18 + 2 * 24)
        assert PIL.Image.open("p.png").width > 500

        # the same again, from the cache: the same bytes
        assert len(list(Path("cache").glob("*.npz"))) == len(list(Path("cache").glob("*.scores.json"))) == 2
        monkeypatch.setattr(ground_truth, "make_ground_truth", None)
        monkeypatch.setattr(ExtrudedSilhouette, "answer", None)
        assert cli.main([*command, "--json", "again.json"]) == 0
        assert Path("again.json").read_bytes() == Path("r.json").read_bytes()

    def test_aligned_protocols(
        self, objects: Path, model: str, small: dict[str, Protocol], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name, pictures in (("triposr", False), ("sf3d", True)):
            path = tmp_path / f"{name}.json"
            command = ["evaluate", str(objects), "--model", model, "--device", "cpu", "--protocol", name, "--debug"]
            assert (
                cli.main([*command, "--json", str(path), "--sheet", str(tmp_path / "s.png"), "--sheet-count", "1"]) == 0
            )
            result = json.loads(path.read_text())
            check_layout(result, small[name])
            scores = result["summary"][model]["scores"]
            assert (scores.get("novel_psnr") is not None) is pictures
            assert 0 < scores["chamfer"] < 1
            assert ("copy of the input" in result["summary"]) is pictures
            # 10 % is what the box of 500 points leaves open
            assert result["summary"]["visual hull of one view"]["scores"]["chamfer"] < 0.5

    def test_baselines_alone(self, objects: Path, small: dict[str, Protocol], tmp_path: Path) -> None:
        path = tmp_path / "r.json"
        command = ["evaluate", str(objects), "--baselines-only", "--limit", "1", "--json", str(path), "--debug"]
        assert cli.main(command) == 0
        result = json.loads(path.read_text())
        assert [entry["name"] for entry in result["objects"]] == ["ball"]
        assert {method["kind"] for method in result["methods"]} == {"baseline", "reference"}
        # a ball looks the same from everywhere, but for the light: silhouettes differ by the mesh's facets
        assert result["summary"]["copy of the input"]["scores"]["novel_iou"] > 0.95

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--baselines-only", "--model", "x"], "exclude each other"),
            (["--baselines-only", "--sheet", "s.png"], "there is none with --baselines-only"),
            (["--json", "absent/r.json"], "the directory to write 'absent/r.json' to does not exist"),
            (["--sheet-objects", "ball", "teapot"], "holds no teapot"),
            (["--model", "./nothing"], "There is no directory './nothing'"),
            (["--model", "bundled", "--model", "bundled"], "several of the same name: 'bundled model'"),
        ],
    )
    def test_bad_arguments(
        self,
        objects: Path,
        arguments: list[str],
        message: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert cli.main(["evaluate", str(objects), "--device", "cpu", *arguments]) == 2
        assert message in capsys.readouterr().err

    def test_bad_folders(self, objects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["evaluate", str(tmp_path / "absent")]) == 2
        assert "is not a directory" in capsys.readouterr().err
        assert cli.main(["evaluate", str(tmp_path)]) == 2
        assert "holds no mesh files" in capsys.readouterr().err
        for suffix in (".ply", ".glb"):
            (tmp_path / f"chair{suffix}").touch()
        with pytest.raises(ValueError, match="several mesh files of the same name: chair"):
            find_objects(tmp_path)


def check_layout(result: dict[str, Any], protocol: Protocol) -> None:
    """The stable part of the schema."""
    assert result["schema"] == "lrm_hf.evaluation/1"
    assert list(result) == [
        "schema",
        "protocol",
        "seed",
        "versions",
        "metrics",
        "methods",
        "objects",
        "summary",
        "rows",
        "notes",
    ]
    assert set(result["protocol"]) == {"name", "hash", "settings", "words"}
    assert result["protocol"]["hash"] == protocol.hash
    assert result["protocol"]["settings"] == json.loads(json.dumps(dataclasses.asdict(protocol)))
    assert result["versions"].keys() >= {"python", "lrm_hf", "torch", "numpy", "scipy", "scikit-image", "trimesh"}
    for entry in result["metrics"].values():
        assert set(entry) == {"label", "unit", "better", "library"}
    for method in result["methods"]:
        assert set(method) == {"name", "kind", "about"}
    for entry in result["objects"]:
        assert set(entry) == {"name", "sha256", "faces", "watertight", "volume"}
    assert list(result["summary"]) == [method["name"] for method in result["methods"]]
    for summary in result["summary"].values():
        assert set(summary) == {"scores", "counts", "failures", "by_azimuth"}
        assert set(summary["scores"]) == set(result["metrics"])
    for row in result["rows"]:
        assert set(row) == {"object", "method", "scores", "views", "failure"}
        assert set(row["scores"]) == set(result["metrics"])
        assert not row["views"] or set(row["views"]) >= {"azimuth", "psnr", "ssim", "iou"}


class Fixed(Method):
    """Answers with the same triangles for every object, or fails."""

    kind = "model"
    about = "a test"

    def __init__(self, triangles: np.ndarray | None) -> None:
        self.name = "fixed"
        self.triangles = triangles

    def answer(self, truth: Any, protocol: Protocol) -> Answer:
        def triangles() -> np.ndarray:
            if self.triangles is None:
                raise NoSurface("there is nothing")
            return self.triangles

        answer = Answer()
        answer.triangles = triangles
        return answer


class TestMeasure:
    def test_a_smaller_ball(self, objects: Path) -> None:
        """`load_object` makes half the diagonal of the box 1: a ball of radius 1 / sqrt(3). Against one of half its
        radius: distance r / 2, volume (1/2)^3."""
        protocol = dataclasses.replace(PROTOCOLS["views"], size=16, input_size=16)
        radius = 3**-0.5
        result = measure.evaluate([objects / "ball.ply"], [Fixed(ball(radius / 2, 4))], protocol, progress=False)
        scores = result["summary"]["fixed"]["scores"]
        # the file's 320 facets lie up to 2 % within the radius
        assert scores["chamfer"] == pytest.approx(radius / 2, abs=0.01)
        assert scores["volume_iou"] == pytest.approx(1 / 8, abs=0.01)
        assert scores["fscore_0.2"] == 0.0
        assert scores["fscore_0.5"] == 1.0
        assert result["summary"]["fixed"]["by_azimuth"] == {}
        # normalised and aligned it is the same ball
        aligned = dataclasses.replace(PROTOCOLS["triposr"], input_size=16, search_azimuths=4)
        result = measure.evaluate([objects / "ball.ply"], [Fixed(ball(radius / 2, 2))], aligned, progress=False)
        # what 10,000 points on radius 1 leave between two samples, as the reference has it
        reference = result["summary"][measure.REFERENCE]["scores"]["chamfer"]
        assert result["summary"]["fixed"]["scores"]["chamfer"] == pytest.approx(reference, abs=5e-3)
        assert reference == pytest.approx(0.5 * (4 * np.pi / 10_000) ** 0.5, rel=0.05)

    def test_a_prediction_without_a_surface_counts(self, objects: Path) -> None:
        protocol = dataclasses.replace(PROTOCOLS["views"], **SMALL)
        result = measure.evaluate(find_objects(objects), [Fixed(None)], protocol, progress=False)
        summary = result["summary"]["fixed"]
        assert summary["failures"] == 2
        assert summary["scores"]["chamfer"] == summary["scores"]["accuracy"] == 1.0
        for name in ("fscore_0.1", "fscore_0.5", "normal_consistency", "volume_iou"):
            assert summary["scores"][name] == 0.0
        assert summary["counts"]["chamfer"] == 2
        assert {row["failure"] for row in result["rows"] if row["method"] == "fixed"} == {"there is nothing"}
        assert "Without a surface: fixed 2." in report.table(result)

    def test_volume_is_left_out_where_there_is_none(self, objects: Path) -> None:
        protocol = dataclasses.replace(PROTOCOLS["views"], **{**SMALL, "least_volume": 300})
        result = measure.evaluate(find_objects(objects), [Fixed(ball(0.5, 2))], protocol, progress=False)
        # of 16^3 cells the ball has 4/3 pi 8^3 / 3^1.5 = 413, the plank, two layers deep, at most 8 x 15 x 2
        assert result["summary"]["fixed"]["counts"]["volume_iou"] == 1
        assert any("1 of 2 objects enclose too little volume" in note and "plank" in note for note in result["notes"])

    def test_a_model_in_a_frame_of_its_own_is_named(self, objects: Path) -> None:
        fixed = Fixed(ball(0.5, 2))
        fixed.aligned_by_camera = False
        for name, says in (("views", True), ("triposr", False)):
            protocol = dataclasses.replace(PROTOCOLS[name], **SMALL)
            result = measure.evaluate([objects / "ball.ply"], [fixed], protocol, progress=False)
            assert any("'fixed' reads no camera" in note for note in result["notes"]) is says

    def test_damaged_cache(self, objects: Path, tmp_path: Path) -> None:
        protocol = dataclasses.replace(PROTOCOLS["views"], **SMALL)
        load_ground_truth(objects / "ball.ply", protocol, tmp_path)
        (kept,) = tmp_path.iterdir()
        whole = kept.read_bytes()
        kept.write_bytes(whole[:1000])
        with pytest.raises(OSError, match="no ground truth that can be read, delete it"):
            load_ground_truth(objects / "ball.ply", protocol, tmp_path)
        kept.write_bytes(whole)
        kept.with_suffix(".scores.json").write_text("{")
        with pytest.raises(OSError, match="no scores that can be read, delete it"):
            measure.evaluate([objects / "ball.ply"], [], protocol, tmp_path, progress=False)


def test_choice_of_objects() -> None:
    rows = [{"object": f"o{i}", "method": "m", "scores": {"novel_psnr": float(i)}} for i in range(9)]
    result = {"metrics": {"novel_psnr": {}}, "rows": rows}
    assert report.choose_objects(result, "m", 4) == ["o8", "o7", "o1", "o0"]
    assert report.choose_objects(result, "m", 3) == ["o8", "o7", "o0"]
    assert report.choose_objects(result, "m", 3, spread=True) == ["o8", "o4", "o0"]
    assert len(report.choose_objects(result, "m", 20)) == 9


def test_json_refuses_what_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.write_json(tmp_path / "r.json", {"score": float("nan")})
    assert list(tmp_path.iterdir()) == []
