import math

import pytest
import torch

from lrm_hf.cameras import camera_rays
from lrm_hf.evaluation.views import (
    NOVEL_AZIMUTHS,
    SIZE,
    baselines,
    evaluate,
    mask_iou,
    on_white,
    protocol_cameras,
    psnr,
    table,
)
from lrm_hf.training.views import ObjectViews


def box_views(half_width: float, color: float) -> ObjectViews:
    """A ball about the origin: the same from every side."""
    cameras = protocol_cameras()
    origins, directions = camera_rays(cameras, SIZE, SIZE)
    distance = torch.linalg.cross(origins, directions).norm(dim=-1)
    rgba = torch.full((9, 4, SIZE, SIZE), color)
    rgba[:, 3] = (distance < half_width).float()
    return ObjectViews((rgba * 255).round().to(torch.uint8), torch.zeros(9, SIZE, SIZE).half(), cameras)


def test_the_protocol_is_pinned():
    position = protocol_cameras().position
    assert position.norm(dim=-1) == pytest.approx([2.0] * 9, abs=1e-6)
    assert position[:, 2] == pytest.approx([2.0 * math.sin(math.radians(20))] * 9, abs=1e-6)
    azimuth = torch.rad2deg(torch.atan2(position[:, 0], -position[:, 1]))
    assert azimuth[0] == pytest.approx(0.0, abs=1e-4)
    assert (azimuth[1:] % 360).tolist() == pytest.approx([a % 360 for a in NOVEL_AZIMUTHS], abs=1e-4)
    assert protocol_cameras().intrinsics[0].tolist() == [[0.75, 0, 0.5], [0, 0.75, 0.5], [0, 0, 1]]


def test_metrics_by_hand():
    target = torch.zeros(2, 3, 4, 4)
    image = target.clone()
    image[0] += 0.1
    assert psnr(image, target).tolist() == pytest.approx([20.0, 50.0], abs=1e-3)
    a = torch.zeros(1, 4, 4)
    b = torch.zeros(1, 4, 4)
    a[:, :2], b[:, 1:3] = 1, 1
    assert float(mask_iou(a, b)) == pytest.approx(1 / 3)
    assert float(mask_iou(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4))) == 1.0


def test_baselines_by_hand():
    views = box_views(0.5, 0.4)
    picture, alpha = (part[0] for part in on_white(views))
    answers = baselines(picture, alpha)
    image, mask = answers["input silhouette, mean colour"]
    assert torch.equal(mask, alpha)
    assert float((image - picture).abs().max()) < 1e-5  # one colour: the mean is the picture
    two = picture.clone()
    two[:, :, : SIZE // 2] = torch.where(alpha[:, :, : SIZE // 2] > 0, 0.0, 1.0)
    image, _ = baselines(two, alpha)["input silhouette, mean colour"]
    assert float(image[0, SIZE // 2, SIZE // 2]) == pytest.approx(0.2, abs=0.01)


def test_a_ball_is_reconstructed_by_copying():
    result = evaluate({"ball": box_views(0.5, 0.4), "small": box_views(0.3, 0.8)}, None, progress=False)
    copied = result["summary"]["copy of the input"]
    assert copied["novel_psnr"] == pytest.approx(50.0, abs=12.0)  # pixels on the rim round either way
    assert copied["novel_iou"] > 0.97
    assert set(result["objects"]) == {"ball", "small"}
    assert len(result["objects"]["ball"]["copy of the input"]["psnr"]) == 9
    text = table(result)
    assert text.count("\n") == 3 and "±30°" in text and "180°" in text
