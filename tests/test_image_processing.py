# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`LRMImageProcessor`: parity with the original recipes, framing, settings, outputs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lrm_hf.image_processing import LRMImageProcessor


GOLDENS = Path(__file__).parent / "goldens" / "preprocessing.safetensors"
WHOLE = {"do_recenter": False, "do_pad": False, "background_removal": "none"}


def block(height, width, top, left, bottom, right, colour=(0, 0, 0), dtype=np.uint8):
    """RGBA picture with one opaque rectangle; the transparent rest hides bright red."""
    rgba = np.zeros((height, width, 4), dtype=dtype)
    rgba[..., 0] = 255
    rgba[top:bottom, left:right] = (*colour, 255)
    return rgba


def edges(profile):
    """Where a dark bar on white begins and ends: the two places where the profile crosses 0.5, in pixel edges."""
    dark = np.nonzero(profile < 0.5)[0]
    first, last = dark[0], dark[-1]
    begin = first + 0.5 - (0.5 - profile[first]) / (profile[first - 1] - profile[first])
    end = last + 0.5 + (0.5 - profile[last]) / (profile[last + 1] - profile[last])
    return begin, end


# --- parity with the original systems: the same torch operation on the same numbers, so bit for bit -----------------


@pytest.mark.parametrize("ratio", [0.85, 0.7])
def test_triposr_recipe(ratio):
    golden = load_file(GOLDENS)
    processor = LRMImageProcessor(size=80, recenter_mode="triposr", foreground_ratio=ratio, background=0.5)
    pixels = processor(golden["triposr.rgba"], return_tensors="pt").pixel_values
    assert pixels.shape == (1, 3, 80, 80)
    assert torch.equal(pixels[:, :, ::4], golden[f"triposr.rgba.ratio_{ratio}"])


@pytest.mark.parametrize(
    ("name", "size", "resize_mode"),
    [
        ("triposr.rgb", 80, "bilinear_antialias"),
        ("openlrm.rgb", 70, "bicubic_align_corners"),
        ("openlrm.rgba", 70, "bicubic_align_corners"),
    ],
)
def test_whole_picture_recipes(name, size, resize_mode):
    golden = load_file(GOLDENS)
    processor = LRMImageProcessor(size=size, resize_mode=resize_mode, **WHOLE)
    pixels = processor(golden[name], return_tensors="pt").pixel_values
    assert torch.equal(pixels[:, :, ::4], golden[f"{name}.whole"])


def test_normalisation_of_openlrm_1_0():
    golden = load_file(GOLDENS)
    picture = golden["openlrm.framed"]
    processor = LRMImageProcessor(
        size=picture.shape[-1], resize_mode="bicubic_align_corners", do_normalize=True, **WHOLE
    )
    # Resizing to the same size multiplies by exact ones and zeros.
    pixels = processor(picture, return_tensors="pt").pixel_values
    assert (pixels - golden["openlrm.framed.normalized"]).abs().max() <= 1e-6


# --- framing -------------------------------------------------------------------------------------------------------


def test_crop_at_scale_one_is_exact():
    # Box 40 x 20 at ratio 0.8: a view of 50 pixels, so that 50 output pixels copy the input.
    # Rows (10 + 50) / 2 - 25 = 5 and columns (20 + 40) / 2 - 25 = 5 come first: the box lands on [5, 45) x [15, 35).
    colour = (51, 102, 204)
    pixels = LRMImageProcessor(size=50, foreground_ratio=0.8)(block(60, 100, 10, 20, 50, 40, colour)).pixel_values[0]
    expected = np.ones((3, 50, 50), dtype=np.float32)
    expected[:, 5:45, 15:35] = np.array(colour, dtype=np.float32)[:, None, None] / 255
    np.testing.assert_array_equal(pixels, expected)


def test_upscaling_by_two_has_hand_worked_edges():
    # 100 output pixels for the same view: output pixel 9 looks at 5 + 9.5 / 2 = 9.75, a quarter of the way from the
    # centre of input row 9 (empty) to that of row 10 (black).
    pixels = LRMImageProcessor(size=100, foreground_ratio=0.8)(block(60, 100, 10, 20, 50, 40)).pixel_values[0]
    np.testing.assert_allclose(pixels[0, 8:12, 50], [1.0, 0.75, 0.25, 0.0], atol=1e-6)
    np.testing.assert_allclose(pixels[0, 88:92, 50], [0.0, 0.25, 0.75, 1.0], atol=1e-6)


@pytest.mark.parametrize("resize_mode", ["bilinear_antialias", "bicubic_align_corners"])
@pytest.mark.parametrize("ratio", [1.0, 0.85, 0.613, 0.3])
@pytest.mark.parametrize("size", [64, 97])
@pytest.mark.parametrize("box", [(30, 7, 131, 60), (0, 0, 80, 33), (50, 90, 93, 140)])
def test_box_ends_where_the_ratio_says(resize_mode, ratio, size, box):
    top, left, bottom, right = box
    processor = LRMImageProcessor(size=size, foreground_ratio=ratio, resize_mode=resize_mode)
    pixels = processor(block(131, 140, *box)).pixel_values[0][0]
    extent = max(bottom - top, right - left) / ratio
    # Aligned corners map the centres of the view's outer pixels, not its edges, onto one another.
    scale = size / extent if resize_mode == "bilinear_antialias" else (size - 1) / (extent - 1)
    padded = np.pad(pixels, 2, constant_values=1.0)
    for profile, length in (
        (padded[:, 2 + size // 2], bottom - top),
        (padded[2 + size // 2], right - left),
    ):
        begin, end = (edge - 2 for edge in edges(profile))
        # A step smoothed by a triangle is quadratic: reading its crossing linearly is off by up to 0.07 of the coarser
        # grid's pixels. Without antialiasing, and where the view itself cuts the step off, by half a pixel.
        is_smooth = resize_mode == "bilinear_antialias" and ratio < 1.0
        tolerance = (0.1 if is_smooth else 0.5) * max(1.0, scale)
        assert abs((begin + end) / 2 - size / 2) <= min(tolerance, 0.5)
        assert abs((end - begin) - length * scale) <= 2 * tolerance


def test_framing_does_not_depend_on_resolution():
    small = block(64, 64, 13, 21, 42, 52, (30, 90, 150))
    large = small.repeat(5, axis=0).repeat(5, axis=1)
    processor = LRMImageProcessor(size=32)
    first, second = processor([small, large]).pixel_values
    # The triangle filter is as wide as an output pixel in the one, and sees blocks instead of points in the other.
    assert np.abs(first - second).max() < 0.08
    assert np.abs(first - second).mean() < 0.004


@pytest.mark.parametrize("resize_mode", ["bilinear_antialias", "bicubic_align_corners"])
@pytest.mark.parametrize("size", [33, 120])
def test_exact_crop_agrees_with_torch(resize_mode, size):
    generator = np.random.default_rng(0)
    rgba = np.zeros((90, 110, 4), dtype=np.float32)
    rgba[20:60, 40:70] = generator.random((40, 30, 4)) * 0.9 + 0.1
    rgba[20, 40, 3] = rgba[59, 69, 3] = 1.0
    background = [0.2, 0.9, 0.5]
    processor = LRMImageProcessor(size=size, foreground_ratio=0.5, background=background, resize_mode=resize_mode)
    # The view is [0, 80) x [15, 95): whole pixels, so that torch can do it too.
    view = torch.from_numpy(rgba[0:80, 15:95].transpose(2, 0, 1))
    view = view[:3] * view[3:] + (1 - view[3:]) * torch.tensor(background)[:, None, None]
    options = {"mode": "bilinear", "antialias": True}
    if resize_mode == "bicubic_align_corners":
        options = {"mode": "bicubic", "align_corners": True}
    expected = torch.nn.functional.interpolate(view[None], (size, size), **options).clamp(0, 1)
    # float32 positions in torch, float64 here: 80 pixels x 6e-8 x contrast 1.
    assert (processor(rgba, return_tensors="pt").pixel_values - expected).abs().max() < 1e-5


def test_hidden_colours_of_transparent_pixels_do_not_bleed():
    pixels = LRMImageProcessor(size=48)(block(100, 100, 20, 30, 71, 62, (128, 128, 128))).pixel_values[0]
    np.testing.assert_array_equal(pixels[0], pixels[1])


def test_half_transparent_pixels_mix_with_the_background():
    rgba = block(64, 64, 16, 16, 48, 48, (255, 0, 0))
    rgba[16:48, 16:48, 3] = 51  # 0.2
    pixels = LRMImageProcessor(size=64, background=[0.0, 0.5, 1.0])(rgba).pixel_values[0]
    np.testing.assert_allclose(pixels[:, 32, 32], [0.2, 0.4, 0.8], atol=1e-6)
    np.testing.assert_allclose(pixels[:, 0, 0], [0.0, 0.5, 1.0], atol=1e-7)


def test_without_recentring_a_picture_is_padded_or_stretched():
    picture = np.zeros((20, 40, 3), dtype=np.uint8)
    settings = {"do_recenter": False, "background_removal": "none", "size": 40, "background": [1.0, 0.0, 0.0]}
    padded = LRMImageProcessor(**settings)(picture).pixel_values[0]
    expected = np.zeros((3, 40, 40), dtype=np.float32)
    expected[0, :10] = expected[0, 30:] = 1.0
    np.testing.assert_array_equal(padded, expected)
    stretched = LRMImageProcessor(**settings, do_pad=False)(picture).pixel_values[0]
    assert stretched.max() == 0.0


# --- what decides -------------------------------------------------------------------------------------------------


def test_opaque_alpha_counts_as_none():
    rgb = np.full((64, 64, 3), 255, dtype=np.uint8)
    rgb[20:50, 10:30] = (0, 80, 160)
    processor = LRMImageProcessor(size=40)
    plain = processor(rgb).pixel_values[0]
    for value in (255, 251, 100):
        rgba = np.concatenate([rgb, np.full((64, 64, 1), value, dtype=np.uint8)], axis=2)
        np.testing.assert_array_equal(processor(rgba).pixel_values[0], plain)
    np.testing.assert_allclose(plain[:, 20, 20], [0, 80 / 255, 160 / 255], atol=1e-6)


def test_alpha_with_content_is_used_even_on_a_plain_border():
    rgba = np.full((64, 64, 4), 255, dtype=np.uint8)
    rgba[:, :32, 3] = 0
    pixels = LRMImageProcessor(size=32, background=0.0, foreground_ratio=0.5)(rgba).pixel_values[0][0]
    assert pixels[16, 16] == pytest.approx(1.0)
    assert pixels[:7].max() == 0.0
    # The right half, 64 high and 32 wide, ends at a quarter of the view's height and at 3/8 of its width.
    assert pixels.mean() == pytest.approx(0.5 * 0.25, abs=1e-3)


def test_a_picture_left_without_alpha_is_taken_whole():
    picture = np.random.default_rng(1).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    pixels = LRMImageProcessor(size=48, background_removal="none")(picture).pixel_values[0]
    np.testing.assert_array_equal(pixels, (picture.astype(np.float32) / 255).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("alpha", "message"),
    [(0, "nothing to reconstruct: the alpha channel is transparent"), (3, "nothing to reconstruct")],
)
def test_transparent_picture(alpha, message):
    rgba = np.full((32, 32, 4), 200, dtype=np.uint8)
    rgba[..., 3] = alpha
    with pytest.raises(ValueError, match=f"images: {message}"):
        LRMImageProcessor()(rgba)


def test_object_of_a_few_pixels():
    with pytest.raises(ValueError, match="the object is 3 x 2 pixels; at least 4"):
        LRMImageProcessor()(block(32, 32, 4, 4, 7, 6))


# --- outputs ------------------------------------------------------------------------------------------------------


def test_batch_equals_singles_and_keeps_order():
    pictures = [block(40 + i, 50, 8, 9, 30, 20 + i, (40 * i, 10, 200)) for i in range(4)]
    processor = LRMImageProcessor(size=24)
    batch = processor(images=[pictures[0], [pictures[1], (pictures[2],)], pictures[3]], return_tensors="pt")
    assert list(batch.keys()) == ["pixel_values"]
    assert batch.pixel_values.shape == (4, 3, 24, 24)
    assert batch.pixel_values.dtype == torch.float32
    for picture, pixels in zip(pictures, batch.pixel_values, strict=True):
        assert torch.equal(processor(picture, return_tensors="pt").pixel_values[0], pixels)


def test_return_types():
    picture = block(32, 32, 4, 4, 20, 20)
    processor = LRMImageProcessor(size=16)
    as_list = processor([picture, picture])["pixel_values"]
    assert isinstance(as_list, list)
    assert as_list[0].shape == (3, 16, 16)
    assert as_list[0].dtype == np.float32
    assert isinstance(processor(picture, return_tensors="np").pixel_values, np.ndarray)
    assert isinstance(processor(picture, return_tensors="pt").pixel_values, torch.Tensor)


def test_to_pil_shows_what_the_model_sees():
    colours = [(51, 102, 204), (1, 254, 77)]
    pictures = [block(60, 100, 10, 20, 50, 40, colour) for colour in colours]
    processor = LRMImageProcessor(size=50, foreground_ratio=0.8, do_normalize=True, background=0.5)
    pixels = processor(pictures, return_tensors="pt").pixel_values
    assert pixels[0, 0, 20, 20] == pytest.approx((0.2 - 0.485) / 0.229, abs=1e-5)
    for form in (pixels, pixels.numpy(), list(pixels)):
        views = processor.to_pil(form)
        assert [view.size for view in views] == [(50, 50)] * 2
        assert [view.getpixel((20, 20)) for view in views] == colours
        assert views[0].getpixel((0, 0)) == (128, 128, 128)
    assert len(processor.to_pil(pixels[0])) == 1
    plain = processor(pictures, do_normalize=False, return_tensors="pt").pixel_values
    assert processor.to_pil(plain, do_normalize=False)[0].tobytes() == views[0].tobytes()
    with pytest.raises(ValueError, match=r"pixel_values: shape \(2, 4, 8, 8\)"):
        processor.to_pil(np.zeros((2, 4, 8, 8)))


# --- settings -----------------------------------------------------------------------------------------------------


def test_save_and_load(tmp_path):
    settings = {
        "size": {"height": 48, "width": 48},
        "do_recenter": False,
        "recenter_mode": "triposr",
        "foreground_ratio": 0.7,
        "do_pad": False,
        "background": [0.1, 0.2, 0.3],
        "background_removal": "border",
        "resize_mode": "bicubic_align_corners",
        "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.3, 0.4],
    }
    processor = LRMImageProcessor(**settings)
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved == {**settings, "image_processor_type": "LRMImageProcessor"}
    loaded = LRMImageProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    picture = block(40, 50, 8, 9, 30, 20, (9, 90, 200))
    np.testing.assert_array_equal(loaded(picture).pixel_values, processor(picture).pixel_values)
    assert LRMImageProcessor.from_pretrained(tmp_path, foreground_ratio=0.5).foreground_ratio == 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", {"height": 20, "width": 20}),
        ("do_recenter", False),
        ("recenter_mode", "triposr"),
        ("foreground_ratio", 0.6),
        ("background", [0.3, 0.6, 0.9]),
        ("resize_mode", "bicubic_align_corners"),
        ("do_normalize", True),
    ],
)
def test_a_call_overrides_a_setting_once(name, value):
    generator = np.random.default_rng(3)
    picture = block(50, 70, 8, 9, 39, 50)
    picture[8:39, 9:50, :3] = generator.integers(0, 255, (31, 41, 3))
    processor = LRMImageProcessor(size=24)
    before = processor(picture).pixel_values[0]
    overridden = processor(picture, **{name: value}).pixel_values[0]
    constructed = LRMImageProcessor(**{"size": 24, name: value})(picture).pixel_values[0]
    np.testing.assert_array_equal(overridden, constructed)
    assert overridden.shape != before.shape or np.abs(overridden - before).max() > 0.01
    np.testing.assert_array_equal(processor(picture, **{name: None}).pixel_values[0], before)


def test_remaining_overrides():
    wide = np.zeros((20, 40, 3), dtype=np.uint8)
    processor = LRMImageProcessor(size=20, do_recenter=False, background_removal="none")
    assert processor(wide).pixel_values[0].max() == 1.0
    assert processor(wide, do_pad=False).pixel_values[0].max() == 0.0
    normalised = processor(wide, do_pad=False, do_normalize=True, image_mean=0.5, image_std=[0.5, 0.25, 1.0])
    np.testing.assert_allclose(normalised.pixel_values[0][:, 0, 0], [-1.0, -2.0, -0.5], atol=1e-6)
    with pytest.raises(ValueError, match="one plain colour"):
        processor(wide, background_removal="border")


def test_values_are_stored_as_plain_python():
    processor = LRMImageProcessor(size=(32, 32), foreground_ratio=np.float32(0.5), background=np.array([0, 1, 0.5]))
    assert processor.size == {"height": 32, "width": 32}
    assert type(processor.foreground_ratio) is float
    assert processor.background == [0.0, 1.0, 0.5]
    assert LRMImageProcessor(background=1).background == 1.0
    assert processor.backend == "pil"


@pytest.mark.parametrize("at_call", [False, True])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", {"height": 32, "width": 16}),
        ("size", {"shortest_edge": 32}),
        ("size", 0),
        ("size", (32, 32, 32)),
        ("size", "32"),
        ("size", {"height": 32.5, "width": 32.5}),
        ("do_recenter", 1),
        ("do_pad", "yes"),
        ("do_normalize", "no"),
        ("recenter_mode", "openlrm"),
        ("foreground_ratio", 0.0),
        ("foreground_ratio", 1.2),
        ("foreground_ratio", float("nan")),
        ("foreground_ratio", "0.8"),
        ("foreground_ratio", [0.8]),
        ("background", 1.5),
        ("background", 255),
        ("background", [1.0, 1.0]),
        ("background", "white"),
        ("background", True),
        ("background_removal", "magic"),
        ("resize_mode", "bilinear"),
        ("image_mean", [0.5, 0.5]),
        ("image_mean", [0.5, 0.5, float("nan")]),
        ("image_std", [0.2, 0.0, 0.2]),
        ("forground_ratio", 0.8),
    ],
)
def test_bad_settings_name_the_field(name, value, at_call):
    processor = LRMImageProcessor(size=16)
    picture = block(32, 32, 4, 4, 20, 20)
    with pytest.raises(ValueError, match=name) as caught:
        processor(picture, **{name: value}) if at_call else LRMImageProcessor(**{name: value})
    assert "\n" not in str(caught.value)
