# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Every form of a picture gives the same numbers, every unusable one its error."""

import http.server
import io
import threading

import numpy as np
import PIL.Image
import pytest
import requests
import torch

from lrm_hf import image_loading
from lrm_hf.image_loading import flatten_images, load_rgba
from lrm_hf.image_processing import LRMImageProcessor


@pytest.fixture
def rgba():
    generator = np.random.default_rng(0)
    array = generator.integers(0, 256, (24, 37, 4), dtype=np.uint8)
    array[:, :, 3] = np.where(array[:, :, 3] < 100, 0, array[:, :, 3])
    array[0, 0] = (255, 0, 128, 0)
    return array


def exact(array):
    return array.astype(np.float32) / np.float32(255)


FORMS = {
    "pil": PIL.Image.fromarray,
    "numpy hwc": lambda a: a,
    "numpy chw": lambda a: a.transpose(2, 0, 1),
    "numpy float32": exact,
    "numpy float64": lambda a: a / 255,
    "numpy uint16": lambda a: a.astype(np.uint16) * 257,
    "numpy read-only, reversed memory": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "torch uint8 chw": lambda a: torch.from_numpy(a).permute(2, 0, 1),
    "torch uint8 hwc": torch.from_numpy,
    "torch float chw": lambda a: torch.from_numpy(a).permute(2, 0, 1).float() / 255,
    "torch float with gradient": lambda a: (torch.from_numpy(a).double() / 255).requires_grad_(),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_are_bit_identical(rgba, form):
    image = FORMS[form](rgba)
    np.testing.assert_array_equal(load_rgba(image), exact(rgba))
    processor = LRMImageProcessor(size=16)
    expected = processor(rgba, return_tensors="pt").pixel_values
    for several in ([image], [[image]], (image,)):
        assert torch.equal(processor(several, return_tensors="pt").pixel_values, expected)
    if not isinstance(image, PIL.Image.Image):
        batch = image[None]
        assert torch.equal(processor(batch, return_tensors="pt").pixel_values, expected)


@pytest.mark.parametrize("as_type", [str, lambda path: path])
@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_files(rgba, tmp_path, suffix, as_type):
    path = tmp_path / f"a picture.{suffix}"
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    PIL.Image.fromarray(rgba).save(path, **options)
    np.testing.assert_array_equal(load_rgba(as_type(path)), exact(rgba))


def test_half_precision(rgba):
    for dtype, tolerance in ((torch.float16, 2**-12), (torch.bfloat16, 2**-9)):  # half a unit in the last place
        image = torch.from_numpy(exact(rgba)).to(dtype)
        assert np.abs(load_rgba(image) - exact(rgba)).max() <= tolerance


def test_flatten_keeps_the_order():
    stack = np.arange(3 * 16 * 16 * 3, dtype=np.uint8).reshape(3, 16, 16, 3)
    flat = flatten_images(["a", ["b", ("c", [stack])], stack[0]])
    assert flat[:3] == ["a", "b", "c"]
    assert [item.shape for item in flat[3:]] == [(16, 16, 3)] * 4
    np.testing.assert_array_equal(flat[4], stack[1])
    assert len(flatten_images(torch.zeros(2, 5, 3, 16, 16))) == 10


# --- modes --------------------------------------------------------------------------------------------------------


def test_grey_and_grey_with_alpha(rgba):
    grey, alpha = rgba[..., 0], rgba[..., 3]
    expected = exact(np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=2))
    for image in (PIL.Image.fromarray(grey), grey, grey[..., None], grey[None], torch.from_numpy(grey)):
        np.testing.assert_array_equal(load_rgba(image), expected)
    expected[..., 3] = exact(alpha)
    both = np.stack([grey, alpha], axis=2)
    for image in (PIL.Image.merge("LA", [PIL.Image.fromarray(grey), PIL.Image.fromarray(alpha)]), both):
        np.testing.assert_array_equal(load_rgba(image), expected)


def test_rgb_gets_an_opaque_alpha(rgba):
    for image in (PIL.Image.fromarray(rgba[..., :3].copy()), rgba[..., :3]):
        loaded = load_rgba(image)
        np.testing.assert_array_equal(loaded[..., :3], exact(rgba[..., :3]))
        assert loaded[..., 3].min() == 1.0


def test_bilevel():
    bits = np.zeros((16, 16), dtype=bool)
    bits[4:9, 2:7] = True
    for image in (PIL.Image.fromarray(bits), bits, torch.from_numpy(bits)):
        np.testing.assert_array_equal(load_rgba(image)[..., 1], bits.astype(np.float32))


def palette_picture():
    image = PIL.Image.new("P", (16, 16))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.paste(1, (0, 0, 8, 16))
    image.paste(2, (8, 8, 16, 16))
    return image


def test_palette(tmp_path):
    image = palette_picture()
    np.testing.assert_array_equal(load_rgba(image)[[0, 0, 15], [0, 15, 15]], [[0, 1, 0, 1], [1, 0, 0, 1], [0, 0, 1, 1]])
    image.save(tmp_path / "index.png", transparency=0)
    image.save(tmp_path / "table.png", transparency=bytes([51, 255, 102]))
    image.save(tmp_path / "index.gif", transparency=0)
    for name, alphas in (("index.png", (1, 0, 1)), ("table.png", (1, 0.2, 0.4)), ("index.gif", (1, 0, 1))):
        loaded = load_rgba(tmp_path / name)
        np.testing.assert_allclose(loaded[[0, 0, 15], [0, 15, 15], 3], alphas, atol=1e-7)


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (10, 20, 30)), ("L", 40)])
def test_transparent_colour_of_pictures_without_alpha_channel(tmp_path, mode, colour):
    image = PIL.Image.new(mode, (20, 16), colour)
    image.paste(0, (5, 0, 20, 16))
    image.save(tmp_path / "keyed.png", transparency=colour)
    alpha = load_rgba(tmp_path / "keyed.png")[..., 3]
    assert alpha[:, :5].max() == 0.0
    assert alpha[:, 5:].min() == 1.0


def test_sixteen_bits(tmp_path):
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    expected = (values / 65535).astype(np.float32)
    PIL.Image.fromarray(values).save(tmp_path / "deep.png")
    PIL.Image.fromarray(values).save(tmp_path / "keyed.png", transparency=int(values[3, 3]))
    for image in (
        values,
        PIL.Image.fromarray(values),
        PIL.Image.fromarray(values.astype(np.int32)),
        tmp_path / "deep.png",
    ):
        np.testing.assert_array_equal(load_rgba(image)[..., 2], expected)
        assert load_rgba(image)[..., 3].min() == 1.0
    transparent = load_rgba(tmp_path / "keyed.png")[..., 3] == 0.0
    assert transparent[3, 3]
    assert transparent.sum() == 1


def test_float_and_int_modes():
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    np.testing.assert_array_equal(load_rgba(PIL.Image.fromarray(values))[..., 0], values)
    eight_bits = PIL.Image.fromarray(np.arange(256, dtype=np.int32).reshape(16, 16))
    assert eight_bits.mode == "I"
    np.testing.assert_allclose(load_rgba(eight_bits)[..., 0].ravel(), np.arange(256) / 255, atol=1e-7)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV"])
def test_other_colour_spaces(mode):
    image = PIL.Image.new("RGB", (16, 16), (200, 100, 50)).convert(mode)
    np.testing.assert_allclose(load_rgba(image)[3, 3], [200 / 255, 100 / 255, 50 / 255, 1], atol=3 / 255)


def test_exif_orientation(tmp_path):
    array = np.zeros((16, 32, 3), dtype=np.uint8)
    array[:, :16] = 255  # white on the left
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: left becomes top
    PIL.Image.fromarray(array).save(tmp_path / "turned.png", exif=exif)
    loaded = load_rgba(tmp_path / "turned.png")
    assert loaded.shape == (32, 16, 4)
    assert loaded[:16].min() == 1.0
    assert loaded[16:, :, :3].max() == 0.0


# --- errors -------------------------------------------------------------------------------------------------------


def spoiled(value):
    array = np.full((16, 16, 3), 0.5)
    array[3, 4, 1] = value
    return array


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((15, 40, 3), np.uint8), ValueError, "15 x 40 pixels; expected at least 16 x 16"),
        (np.zeros((3, 40, 9), np.uint8), ValueError, "shape"),
        (PIL.Image.new("RGB", (15, 40)), ValueError, "40 x 15 pixels; expected at least 16 x 16"),
        (np.zeros((5, 20, 20), np.uint8), ValueError, r"shape \(5, 20, 20\); expected"),
        (np.zeros(20, np.uint8), ValueError, r"shape \(20,\)"),
        (np.zeros((0, 20, 3), np.uint8), ValueError, "holds no pixel"),
        (spoiled(np.nan), ValueError, "not finite"),
        (spoiled(np.inf), ValueError, "not finite"),
        (spoiled(1.01), ValueError, "from 0.5 to 1.01; expected"),
        (torch.from_numpy(spoiled(-0.2)), ValueError, "from -0.2 to 0.5; expected"),
        (spoiled(255.0), ValueError, "from 0.5 to 255; expected"),
        (PIL.Image.fromarray(np.full((16, 16), 7, np.float32)), ValueError, "from 7 to 7"),
        (PIL.Image.fromarray(np.full((16, 16), 70000, np.int32)), ValueError, "mode I with values 70000 to 70000"),
        (PIL.Image.new("La", (16, 16)), ValueError, "mode La cannot be converted"),
        (np.zeros((16, 16, 3), np.int64), TypeError, "dtype int64; expected uint8"),
        (np.zeros((16, 16, 3), np.complex64), TypeError, "dtype complex64"),
        (b"png", TypeError, "bytes; expected a PIL image"),
        (None, TypeError, "NoneType; expected a PIL image"),
        ({"image": 1}, TypeError, "dict; expected"),
        ("no such file.png", FileNotFoundError, "no file at 'no such file.png'"),
        ("", FileNotFoundError, "no file at ''"),
    ],
)
def test_unusable_pictures(image, error, message):
    with pytest.raises(error, match=f"^picture: .*{message}") as caught:
        load_rgba(image, "picture")
    assert "\n" not in str(caught.value)


def test_rounding_above_one_is_clipped():
    assert load_rgba(spoiled(1.0 + 1e-4)).max() == 1.0
    assert load_rgba(spoiled(-1e-4)).min() == 0.0


def test_unreadable_files(tmp_path, rgba):
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(OSError, match=r"image: '.*text.png' is not a picture"):
        load_rgba(tmp_path / "text.png")
    PIL.Image.fromarray(rgba).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match="image: cannot read the picture: .*truncated"):
        load_rgba(tmp_path / "cut.png")
    with pytest.raises(OSError, match="image: cannot read the picture"):
        load_rgba(tmp_path)


def test_decompression_bomb(monkeypatch):
    # Pillow warns above its limit and refuses twice that.
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    content = io.BytesIO()
    PIL.Image.new("L", (32, 32)).save(content, "png")
    monkeypatch.setattr(image_loading, "_download", lambda url, name: content.getvalue())
    with pytest.raises(ValueError, match="image: Image size"):
        load_rgba("https://example.org/huge.png")


def test_batch_errors_name_the_picture(rgba):
    processor = LRMImageProcessor(size=16)
    with pytest.raises(FileNotFoundError, match=r"images\[1\]: no file at"):
        processor([rgba, "missing.png", rgba])
    with pytest.raises(FileNotFoundError, match="^images: no file at"):
        processor("missing.png")
    empty = np.zeros((20, 20, 4), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"images\[2\]: nothing to reconstruct"):
        processor([rgba, rgba, empty])
    with pytest.raises(ValueError, match="images: the list is empty"):
        processor([])
    with pytest.raises(ValueError, match="images: the list is empty"):
        processor([[], ()])


# --- URLs, served on the loopback ------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch, tmp_path):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=tmp_path)

        def log_message(self, *args):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_url(server, tmp_path, rgba):
    PIL.Image.fromarray(rgba).save(tmp_path / "picture.png")
    np.testing.assert_array_equal(load_rgba(f"{server}/picture.png"), exact(rgba))
    np.testing.assert_array_equal(load_rgba(f"HTTP{server[4:]}/picture.png?size=large"), exact(rgba))


def test_url_errors(server, tmp_path, rgba, monkeypatch):
    with pytest.raises(OSError, match=f"image: the server answered 404 .* for {server}/none.png$"):
        load_rgba(f"{server}/none.png?token=secret")
    (tmp_path / "page.html").write_text("<html>")
    with pytest.raises(OSError, match="is not a picture"):
        load_rgba(f"{server}/page.html")
    PIL.Image.fromarray(rgba).save(tmp_path / "picture.png")
    with monkeypatch.context() as patch:
        patch.setattr(image_loading, "URL_MAX_BYTES", 1000)
        with pytest.raises(ValueError, match=r"image: http.*/picture.png is larger than 0 MiB"):
            load_rgba(f"{server}/picture.png")
    monkeypatch.setattr(image_loading, "URL_DEADLINE", -1.0)
    with pytest.raises(OSError, match="took longer than"):
        load_rgba(f"{server}/picture.png")


@pytest.mark.parametrize("error", [requests.ConnectTimeout, requests.ConnectionError, requests.exceptions.InvalidURL])
def test_url_that_cannot_be_reached(monkeypatch, error):
    asked = {}

    def get(url, **options):
        asked.update(options)
        raise error(f"{url}\nfailed")

    monkeypatch.setattr(requests, "get", get)
    with pytest.raises(OSError, match=rf"image: cannot download https://example.org/a.png \({error.__name__}\)$"):
        load_rgba("https://example.org/a.png?token=secret")
    assert asked["timeout"] == image_loading.URL_TIMEOUT
