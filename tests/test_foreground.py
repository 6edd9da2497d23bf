# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Cutting objects out of plain backgrounds, against pictures whose alpha is known."""

import io
import sys
import types

import numpy as np
import PIL.Image
import pytest

from lrm_hf import foreground
from lrm_hf.foreground import border_colour, key_out_border, object_box, shrink
from lrm_hf.image_processing import LRMImageProcessor


WHITE, GREY, GREEN, BLACK = (1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (0.0, 0.8, 0.1), (0.0, 0.0, 0.0)


def scene(side=128):
    """RGBA, float: an antialiased striped disc with a bar of three pixels through it."""
    y, x = np.mgrid[:side, :side] + 0.5
    disc = np.clip(0.3 * side + 0.5 - np.hypot(x - 0.5 * side, y - 0.45 * side), 0, 1)
    bar = np.clip(2.0 - np.abs(x - 0.5 * side - 0.3 * (y - 0.5 * side)), 0, 1) * (np.abs(y - 0.5 * side) < 0.45 * side)
    rgba = np.empty((side, side, 4), dtype=np.float32)
    rgba[..., 0] = 0.8
    rgba[..., 1] = 0.3 + 0.15 * np.sin(x / 9)
    rgba[..., 2] = 0.15
    rgba[..., 3] = np.maximum(disc, bar)
    return rgba


def over(rgba, colour):
    return rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:]) * np.float32(colour)


def intersection_over_union(first, second):
    first, second = first > 0.5, second > 0.5
    return (first & second).sum() / (first | second).sum()


def eight_bits(picture):
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("colour", [WHITE, GREY, GREEN, BLACK])
def test_matte_of_a_known_object(colour):
    rgba = scene()
    keyed = key_out_border(eight_bits(over(rgba, colour)).astype(np.float32) / 255)
    assert keyed.dtype == np.float32
    assert keyed.shape == rgba.shape
    assert keyed.min() >= 0.0
    assert keyed.max() <= 1.0
    alpha, expected = keyed[..., 3], rgba[..., 3]
    edge = (expected > 0.02) & (expected < 0.98)
    assert edge.sum() > 300
    # Measured at worst: IoU 0.9998, 0.006 along the edge (a hard mask would have 0.25 there), 0.025 elsewhere.
    assert intersection_over_union(alpha, expected) > 0.999
    assert np.abs(alpha - expected)[edge].mean() < 0.01
    assert np.abs(alpha - expected)[~edge].max() < 0.04
    # Without the background's share in the colours: no halo on another background.
    other = (0.1, 0.5, 0.9)
    assert np.abs(over(keyed, other) - over(rgba, other)).mean() < 1e-3
    assert np.abs(over(keyed, other) - over(rgba, other))[edge].mean() < 0.02
    # And on the background it came from, the picture it came from, rounded to 8 bits.
    assert np.abs(over(keyed, colour) - over(rgba, colour)).max() < 0.006


@pytest.mark.parametrize("colour", [WHITE, GREY, GREEN, BLACK])
def test_matte_of_a_noisy_picture(colour):
    rgba = scene()
    noise = 0.01 * np.random.default_rng(0).standard_normal((128, 128, 3))
    keyed = key_out_border(eight_bits(over(rgba, colour) + noise).astype(np.float32) / 255)
    assert intersection_over_union(keyed[..., 3], rgba[..., 3]) > 0.99
    assert np.abs(keyed[..., 3] - rgba[..., 3]).mean() < 0.002
    assert object_box(keyed[..., 3]) == pytest.approx(object_box(rgba[..., 3]), abs=1)


def test_matte_of_a_compressed_picture():
    rgba = scene()
    rgba[..., 3] *= (np.arange(128)[:, None] >= 16) & (np.arange(128)[:, None] < 112)
    content = io.BytesIO()
    PIL.Image.fromarray(eight_bits(over(rgba, WHITE))).save(content, "jpeg", quality=80)
    keyed = key_out_border(np.asarray(PIL.Image.open(content)).astype(np.float32) / 255)
    # Colour is stored at half the resolution, so that edges are a few pixels wide: measured 0.95 and 0.018.
    assert intersection_over_union(keyed[..., 3], rgba[..., 3]) > 0.93
    assert np.abs(keyed[..., 3] - rgba[..., 3]).mean() < 0.03


def test_white_patch_inside_an_object_on_white_survives():
    picture = np.ones((64, 64, 3), dtype=np.float32)
    picture[10:50, 12:44] = (0.2, 0.3, 0.7)
    picture[20:30, 20:30] = 1.0
    keyed = key_out_border(picture)
    expected = np.zeros((64, 64), dtype=np.float32)
    expected[10:50, 12:44] = 1.0
    np.testing.assert_array_equal(keyed[..., 3], expected)
    np.testing.assert_array_equal(keyed[10:50, 12:44, :3], picture[10:50, 12:44])


@pytest.mark.parametrize(("colour", "is_hole"), [(WHITE, False), (BLACK, False), (GREY, True), (GREEN, True)])
def test_enclosed_background_is_a_hole_unless_black_or_white(colour, is_hole):
    picture = np.broadcast_to(np.float32(colour), (64, 64, 3)).copy()
    picture[10:50, 12:44] = (0.9, 0.2, 0.1)
    picture[20:30, 20:30] = colour
    alpha = key_out_border(picture)[..., 3]
    assert alpha[20:30, 20:30].max() == alpha[20:30, 20:30].min() == (0.0 if is_hole else 1.0)
    assert alpha[15, 15] == 1.0
    assert alpha[5, 5] == 0.0


def test_a_diagonal_outline_of_one_pixel_is_closed():
    y, x = np.mgrid[:65, :65]
    picture = np.ones((65, 65, 3), dtype=np.float32)
    picture[np.abs(x - 32) + np.abs(y - 32) == 20] = 0.0
    alpha = key_out_border(picture)[..., 3]
    inside = np.abs(x - 32) + np.abs(y - 32) < 18
    assert alpha[inside].min() == 1.0
    assert alpha[np.abs(x - 32) + np.abs(y - 32) > 20].max() == 0.0


def test_dust_is_dropped():
    picture = np.ones((128, 128, 3), dtype=np.float32)
    picture[40:100, 30:90] = 0.3
    picture[10, 10] = picture[118:120, 111] = 0.0
    alpha = key_out_border(picture)[..., 3]
    assert object_box(alpha) == (40, 30, 100, 90)


def test_border_tolerance():
    picture = np.full((50, 50, 3), 0.9, dtype=np.float32)
    picture[20:30, 20:30] = 0.1
    picture[0, ::2] = 0.845
    colour, spread = border_colour(picture)
    np.testing.assert_allclose(colour, 0.9, atol=1e-6)
    assert spread == pytest.approx(0.055, abs=1e-6)
    picture[0, ::2] = 0.83
    assert border_colour(picture) is None


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
def test_all_four_sides_count(side):
    picture = np.ones((64, 64, 3), dtype=np.float32)
    picture[20:40, 20:40] = 0.2
    region = {"top": np.s_[:40, 20:40], "bottom": np.s_[20:, 20:40], "left": np.s_[20:40, :40]}
    picture[region.get(side, np.s_[20:40, 20:])] = 0.2
    assert key_out_border(picture) is None


def test_a_gradient_is_not_plain():
    gradient = np.linspace(1.0, 0.8, 64, dtype=np.float32)[:, None, None] * np.ones((1, 64, 3), dtype=np.float32)
    assert key_out_border(gradient) is None


def test_plain_picture():
    with pytest.raises(ValueError, match="nothing to reconstruct: the picture shows one plain colour"):
        key_out_border(np.full((32, 32, 3), 0.7, dtype=np.float32))


def test_object_box():
    alpha = np.zeros((30, 40), dtype=np.float32)
    alpha[5:12, 20:33] = 0.5
    alpha[2, 2] = 0.02  # not above the threshold
    assert object_box(alpha) == (5, 20, 12, 33)
    assert object_box(alpha, threshold=0.0) == (2, 2, 12, 33)
    with pytest.raises(ValueError, match="the object is 0 x 0 pixels"):
        object_box(alpha, threshold=0.6)


def test_shrink_averages_blocks():
    picture = np.arange(9 * 16, dtype=np.float32).reshape(9, 16, 1)
    small = shrink(picture, 8)  # 2 x 2 blocks, the ninth row is left out
    assert small.shape == (4, 8, 1)
    np.testing.assert_array_equal(small[:2, :3, 0], [[8.5, 10.5, 12.5], [40.5, 42.5, 44.5]])
    assert shrink(picture, 9) is picture
    assert shrink(picture, 4) is picture  # 9 // 4 rows would be too few for any object


def test_large_pictures_are_keyed_at_a_lower_resolution():
    small = over(scene(128), WHITE)
    large = small.repeat(16, axis=0).repeat(16, axis=1)
    processor = LRMImageProcessor(size=32)
    first, second = processor([small, large]).pixel_values
    assert np.abs(first - second).mean() < 0.01


# --- rembg, of which only the interface can be tested -------------------------------------------------------------


@pytest.fixture
def photograph():
    return np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)


@pytest.fixture
def fake_rembg(monkeypatch):
    module = types.ModuleType("rembg")
    module.calls, module.sessions = [], 0
    mask = np.zeros((40, 48), dtype=np.uint8)
    mask[10:30, 16:32] = 255
    module.mask = mask

    def new_session():
        module.sessions += 1
        return "session"

    def remove(data, *, session, only_mask):
        module.calls.append((data, session, only_mask))
        return PIL.Image.fromarray(module.mask)

    module.new_session, module.remove = new_session, remove
    monkeypatch.setitem(sys.modules, "rembg", module)
    foreground._rembg_session.cache_clear()
    yield module
    foreground._rembg_session.cache_clear()


@pytest.mark.parametrize("background_removal", ["auto", "rembg"])
def test_rembg_cuts_out_photographs(photograph, fake_rembg, background_removal):
    processor = LRMImageProcessor(size=25, foreground_ratio=0.8, background_removal=background_removal)
    pixels = processor([photograph, photograph]).pixel_values
    # The mask's box, 20 x 16 at (10, 16), fills 0.8 of 25 pixels: scale 1, rows 2.5 to 22.5 and columns 4.5 to 20.5.
    assert pixels[0][:, 2].min() > 0.4
    assert pixels[0][:, :2].min() == 1.0
    picture = photograph.astype(np.float32) / 255
    np.testing.assert_allclose(
        pixels[0][:, 3:22, 5:20].transpose(1, 2, 0),
        (picture[10:29, 16:31] + picture[11:30, 16:31] + picture[10:29, 17:32] + picture[11:30, 17:32]) / 4,
        atol=1e-6,
    )
    np.testing.assert_array_equal(pixels[0], pixels[1])
    assert fake_rembg.sessions == 1
    data, session, only_mask = fake_rembg.calls[0]
    assert (data.mode, data.size, session, only_mask) == ("RGB", (48, 40), "session", True)
    np.testing.assert_array_equal(np.asarray(data), photograph)


def test_rembg_is_not_asked_where_it_is_not_needed(photograph, fake_rembg):
    plain = eight_bits(over(scene(64), WHITE))
    cut_out = np.concatenate([photograph, fake_rembg.mask[..., None]], axis=2)
    LRMImageProcessor(size=16)([plain, cut_out])
    LRMImageProcessor(size=16, background_removal="rembg")(cut_out)
    LRMImageProcessor(size=16, background_removal="none")(photograph)
    assert fake_rembg.calls == []
    LRMImageProcessor(size=16, background_removal="rembg")(np.repeat(plain[8:48], 2, axis=1)[:, :48])
    assert len(fake_rembg.calls) == 1


@pytest.mark.parametrize("shape", [(40, 48), (20, 24)])
def test_rembg_that_finds_nothing(photograph, fake_rembg, shape):
    fake_rembg.mask = np.zeros(shape, dtype=np.uint8)
    with pytest.raises(ValueError, match="images: nothing to reconstruct: rembg found no object"):
        LRMImageProcessor()(photograph)


def test_without_rembg_the_error_says_what_to_do(photograph, monkeypatch):
    monkeypatch.setitem(sys.modules, "rembg", None)
    message = r'images: a picture without alpha .*pass a cut-out \(RGBA\), or .* pip install "lrm_hf\[background\]"'
    for background_removal in ("auto", "rembg"):
        with pytest.raises(ImportError, match=message):
            LRMImageProcessor(background_removal=background_removal)(photograph)
    with pytest.raises(ValueError, match=r'images: .* plain background to key out.*"lrm_hf\[background\]"'):
        LRMImageProcessor(background_removal="border")(photograph)


def test_rembg_without_its_runtime(photograph, monkeypatch, tmp_path):
    # rembg ends the interpreter at import where onnxruntime is missing.
    (tmp_path / "rembg.py").write_text("raise SystemExit(1)")
    monkeypatch.delitem(sys.modules, "rembg", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"lrm_hf\[background\]"):
        LRMImageProcessor()(photograph)
