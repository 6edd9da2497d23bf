# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Each kind of damage is found and named, where it is, and nothing else is."""

import json
import re
import tarfile

import numpy as np
import pytest
import torch
from view_files import ball_views, edit_picture, edit_pose, nerf_object, openlrm_dataset

from lrm_hf.cameras import orbit_cameras
from lrm_hf.training.dataset_checks import ERROR, WARNING, check_object, check_sizes_of, find_objects
from lrm_hf.training.dataset_sheet import BAD, DOUBTFUL, FIRST, GOOD, choose_objects, draw_sheet
from lrm_hf.training.openlrm_layout import write_object
from lrm_hf.training.view_shards import write_shard


def check(source):
    """All findings as (severity, object, view, check), and the checked objects."""
    _, objects, findings = find_objects(source)
    checked = [check_object(*one) for one in objects]
    findings = findings + [finding for one in checked for finding in one.findings] + check_sizes_of(checked)
    return [(f.severity, f.object, f.view, f.check) for f in findings], checked


def inside(pose):
    pose = pose.copy()
    pose[:, 3] *= 0.2
    return pose


def elsewhere(pose):
    """Turned by 90 degrees about the vertical, in place."""
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    return np.concatenate([turn @ pose[:, :3], pose[:, 3:]], axis=1)


@pytest.mark.parametrize("kind", ["openlrm", "nerf", "shards", "npz"])
def test_good_data_has_no_findings(tmp_path, kind):
    if kind == "openlrm":
        openlrm_dataset(tmp_path, ("a", "b"), depth=True)
    elif kind == "nerf":
        nerf_object(tmp_path / "a")
    elif kind == "shards":
        write_shard(tmp_path / "0.tar", [("a", ball_views()), ("b", ball_views())], depth=True)
    else:
        ball_views().save(tmp_path / "a.npz")
    findings, checked = check(tmp_path)
    assert findings == []
    assert [len(one.views) for one in checked] == [4] * (2 if kind in ("openlrm", "shards") else 1)


@pytest.mark.parametrize(
    ("damage", "view", "rule", "words"),
    [
        (
            lambda d: edit_pose(d, 1, lambda p: p * [1.5, 1, 1, 1]),
            "001",
            "pose",
            "not a rotation: the axes have lengths 1.5",
        ),
        (lambda d: edit_pose(d, 1, lambda p: p * [-1, 1, 1, 1]), "001", "pose", "mirror image"),
        (lambda d: edit_pose(d, 1, lambda p: p + np.inf), "001", "pose", "not finite"),
        (lambda d: (d / "pose/001.npy").unlink(), "001", "pose", "is missing"),
        (lambda d: (d / "rgba/001.png").unlink(), "001", "picture", "is missing"),
        (lambda d: (d / "rgba/001.png").write_bytes(b"x"), "001", "picture", "can't be read as a picture"),
        (lambda d: edit_picture(d, 1, lambda p: p[..., :3]), "001", "picture", "no alpha channel"),
        (lambda d: edit_picture(d, 1, lambda p: p * [1, 1, 1, 0]), "001", "alpha", "its alpha is empty"),
        (lambda d: edit_picture(d, 1, lambda p: p | [0, 0, 0, 255]), "001", "alpha", "no background was cut away"),
        (
            lambda d: edit_picture(d, 1, lambda p: np.pad(p, ((0, 16), (0, 0), (0, 0)))),
            "001",
            "size",
            "32 x 48 pixels, the object's first one 32 x 32",
        ),
        (lambda d: edit_pose(d, 1, inside), "001", "inside", r"inside the object's box .* 0\.4 from the origin"),
        (lambda d: edit_pose(d, 1, elsewhere), "001", "looks away", "does not look at the object"),
        (
            lambda d: np.save(d / "intrinsics.npy", np.array([[24.0, 0, 16], [0, 24, 16], [0, 0, 1]])),
            None,
            "intrinsics",
            "is in pixels",
        ),
        (lambda d: (d / "intrinsics.npy").unlink(), None, "intrinsics", "is missing"),
        (lambda d: np.save(d / "depth/001.npy", np.full((32, 32), np.nan)), "001", "depth", "not finite"),
        (lambda d: np.save(d / "depth/001.npy", np.zeros((16, 16))), "001", "depth", r"shape \(16, 16\)"),
    ],
)
def test_one_fault_is_one_finding(tmp_path, damage, view, rule, words):
    openlrm_dataset(tmp_path, ("bad", "good"), depth=True)
    damage(tmp_path / "bad")
    findings, checked = check(tmp_path)
    # a picture of another size does not fit its depth either
    assert [f for f in findings if f[3] != "depth" or rule == "depth"] == [(ERROR, "bad", view, rule)]
    [finding] = [f for f in checked[0].findings if f.check == rule]
    assert re.search(words, finding.message)
    assert str(finding).startswith(f"bad, view {view}: " if view else "bad: ")


def test_other_conventions_are_recognised(tmp_path):
    openlrm_dataset(tmp_path, ("opencv", "world_to_camera"))
    for view in range(4):
        edit_pose(tmp_path / "opencv", view, lambda pose: pose * [1, -1, -1, 1])
        edit_pose(tmp_path / "world_to_camera", view, lambda pose: np.linalg.inv(np.vstack([pose, [0, 0, 0, 1]]))[:3])
    _, [opencv, inverse] = check(tmp_path)
    assert [f.message for f in opencv.findings if f.check == "axes"] == [
        "with y and z of each camera turned all look at it: are the poses in OpenCV's axes?"
    ]
    assert [f.message for f in inverse.findings if f.check == "axes"] == [
        "inverted, all look at it: are the poses world-to-camera?"
    ]


@pytest.mark.parametrize("how", ["order", "mirror"])
def test_cameras_of_other_pictures_are_found_by_their_silhouettes(tmp_path, how):
    """The ball is off the centre, so that each view shows it elsewhere."""
    views = ball_views(orbit_cameras(8, elevation=20.0))
    if how == "order":
        wrong = views.select([3, 0, 5, 1, 7, 2, 6, 4])
        views.cameras = wrong.cameras
    else:
        mirror = torch.diag(torch.tensor([-1.0, 1, 1, 1]))
        views.cameras = type(views.cameras)(mirror @ views.cameras.cam2world @ mirror, views.cameras.intrinsics)
    write_object(tmp_path / "wrong", views)
    write_object(tmp_path / "right", ball_views(orbit_cameras(8, elevation=20.0)))
    findings, _ = check(tmp_path)
    assert findings == [(ERROR, "wrong", None, "silhouettes")]


def test_warnings(tmp_path):
    openlrm_dataset(tmp_path, ("a",))
    write_object(tmp_path / "b", ball_views(size=16))
    near = ball_views(orbit_cameras(azimuths=[0.0, 0.0], elevation=0.0, focal=2.5))
    write_object(tmp_path / "c", near)
    write_object(tmp_path / "d", ball_views())
    np.save(tmp_path / "d/intrinsics.npy", np.array([[24.0, 24], [16, 8], [32, 16]]))  # of pictures half as high
    findings, checked = check(tmp_path)
    assert "are 24 and 48 pixels of its picture of 32 x 32" in checked[3].findings[0].message
    assert [finding for finding in findings if finding[1] != "d" or finding[0] == WARNING] == [
        (WARNING, "c", None, "cut off"),
        (WARNING, "c", "001", "repeated"),
        (WARNING, "d", None, "aspect"),
        (WARNING, "", None, "sizes"),
    ]


def test_faults_of_the_whole(tmp_path):
    openlrm_dataset(tmp_path / "a", ("ball",))
    (tmp_path / "a/empty").mkdir()
    assert check(tmp_path / "a")[0] == [(ERROR, "empty", None, "missing")]
    write_object(tmp_path / "one", ball_views().select([0]))
    assert check(tmp_path / "one")[0] == [(ERROR, "one", None, "views")]
    (tmp_path / "none/rgba").mkdir(parents=True)
    findings, checked = check(tmp_path / "none")
    assert findings == [(ERROR, "none", None, "views")]
    assert draw_sheet(checked).width > 800
    file = nerf_object(tmp_path / "b/ball")
    file.write_text("{")
    assert check(tmp_path / "b")[0] == [(ERROR, "ball", None, "unreadable")]
    file.write_text(json.dumps({"frames": "none"}))
    assert check(tmp_path / "b")[0] == [(ERROR, "ball", None, "unreadable")]
    (tmp_path / "c").mkdir()
    with tarfile.open(tmp_path / "c/0.tar", "w") as archive:
        archive.add(__file__, "notes.txt")
    write_shard(tmp_path / "c/1.tar", [("ball", ball_views())])
    assert check(tmp_path / "c")[0] == [(ERROR, "", None, "shard")]
    with pytest.raises(ValueError, match="nothing to check"):
        find_objects("procedural")


def test_sheet_shows_pictures_and_cameras(tmp_path):
    openlrm_dataset(tmp_path, ("bad", "good"))
    edit_pose(tmp_path / "bad", 1, inside)
    (tmp_path / "bad/rgba/002.png").unlink()
    _, checked = check(tmp_path)
    sheet = np.asarray(draw_sheet(checked))
    # the camera of azimuth 0 is at the lower middle of the plot from above, in blue; the others in green
    for colour in (BAD, FIRST, GOOD):
        assert (sheet == colour).all(-1).sum() > 50, colour
    assert not (sheet == DOUBTFUL).all(-1).any()
    ball = (np.abs(sheet.astype(int) - [51, 102, 204]).max(-1) < 3).sum()
    # three and four pictures of 112 pixels, in which the ball has about 0.75 * 0.4 / 2 of the side as its radius
    expected = 7 * np.pi * (0.15 * 112) ** 2
    assert 0.7 * expected < ball < 1.5 * expected
    with pytest.raises(ValueError, match="`objects` is empty"):
        draw_sheet([])


def test_objects_with_errors_come_first(tmp_path):
    openlrm_dataset(tmp_path, tuple("abcdef"))
    edit_pose(tmp_path / "e", 1, inside)
    write_object(tmp_path / "g", ball_views(orbit_cameras(azimuths=[0.0, 0.0, 90.0], elevation=0.0)))  # a warning
    _, checked = check(tmp_path)
    assert [one.name for one in choose_objects(checked, 1)] == ["e"]
    assert [one.name for one in choose_objects(checked, 4)] == ["e", "g", "a", "c"]
    assert len(choose_objects(checked, 50)) == 7
