# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Contact sheets, image files and videos, all read back."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from lrm_hf.visualization import contact_sheet, write_image, write_video


RED, GREEN, BLUE = (200, 10, 10), (10, 200, 10), (10, 10, 200)


def plain(color: tuple[int, int, int], width: int = 6, height: int = 4) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (width, height), color)


def no_leftovers(directory: Path, *names: str) -> bool:
    return sorted(path.name for path in directory.iterdir()) == sorted(names)


class TestContactSheet:
    def test_places_and_size(self) -> None:
        sheet = contact_sheet([plain(RED), plain(GREEN), plain(BLUE)], columns=2, padding=3, background=(1, 2, 3))
        assert sheet.size == (2 * 9 + 3, 2 * 7 + 3)
        pixels = np.asarray(sheet)
        for color, row, column in ((RED, 0, 0), (GREEN, 0, 1), (BLUE, 1, 0), ((1, 2, 3), 1, 1)):
            top, left = 3 + 7 * row, 3 + 9 * column
            assert (pixels[top : top + 4, left : left + 6] == color).all()
        # three of four tiles; all else is background
        assert (pixels == (1, 2, 3)).all(axis=2).sum() == sheet.width * sheet.height - 3 * 24

    @pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (5, 3, 2), (9, 3, 3), (10, 4, 3)])
    def test_as_square_as_possible(self, count: int, columns: int, rows: int) -> None:
        assert contact_sheet([plain(RED)] * count, padding=0).size == (6 * columns, 4 * rows)

    def test_smaller_pictures_are_centred(self) -> None:
        sheet = np.asarray(contact_sheet([plain(RED, 8, 8), plain(GREEN, 4, 2)], padding=0))
        green = np.argwhere((sheet == GREEN).all(axis=2))
        assert green.min(axis=0).tolist() == [3, 10]
        assert green.max(axis=0).tolist() == [4, 13]

    def test_tile_size_fits_in_proportion(self) -> None:
        sheet = np.asarray(contact_sheet([plain(RED, 8, 4), plain(GREEN, 10, 40)], tile_size=(20, 20), padding=0))
        assert sheet.shape == (20, 40, 3)
        assert (sheet[5:15, :20] == RED).all()
        assert (sheet[:5, :20] == 255).all()
        assert (sheet[:, 27:32] == GREEN).all()
        assert (sheet[:, 32:] == 255).all()

    def test_kinds_of_pictures(self) -> None:
        half = np.full((4, 6, 3), 0.5, dtype=np.float32)
        bytes_ = np.full((4, 6, 3), 77, dtype=np.uint8)
        see_through = PIL.Image.new("RGBA", (6, 4), (0, 0, 0, 51))
        grey = PIL.Image.new("L", (6, 4), 9)
        sheet = np.asarray(contact_sheet([half, bytes_, see_through, grey], columns=4, padding=0))
        assert [sheet[0, 6 * index].tolist() for index in range(4)] == [[128] * 3, [77] * 3, [204] * 3, [9] * 3]

    def test_bad_input(self) -> None:
        with pytest.raises(ValueError, match="`images` is empty"):
            contact_sheet([])
        with pytest.raises(TypeError, match=r"`images\[1\]` must be a PIL.Image or an array, got str"):
            contact_sheet([plain(RED), "owl.png"])
        with pytest.raises(ValueError, match=r"`images\[0\]` must have shape \(height, width, 3\), got \(3, 4, 6\)"):
            contact_sheet([np.zeros((3, 4, 6))])
        with pytest.raises(ValueError, match=r"`images\[0\]` must hold finite values in \[0, 1\]"):
            contact_sheet([np.full((4, 6, 3), 255.0)])
        with pytest.raises(TypeError, match=r"`images\[0\]` must be uint8 or floating point, got int64"):
            contact_sheet([np.zeros((4, 6, 3), dtype=np.int64)])
        with pytest.raises(ValueError, match="`columns` must be at least 1, got 0"):
            contact_sheet([plain(RED)], columns=0)
        with pytest.raises(ValueError, match="`padding` must not be negative"):
            contact_sheet([plain(RED)], padding=-1)


class TestWriteImage:
    def test_round_trip(self, tmp_path: Path) -> None:
        array = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
        write_image(tmp_path / "a.png", array)
        np.testing.assert_array_equal(np.asarray(PIL.Image.open(tmp_path / "a.png")), array)
        write_image(tmp_path / "a.png", plain(RED))
        assert PIL.Image.open(tmp_path / "a.png").getpixel((0, 0)) == RED
        assert no_leftovers(tmp_path, "a.png")

    def test_alpha_and_depth_are_kept_where_the_format_can(self, tmp_path: Path) -> None:
        clear = PIL.Image.new("RGBA", (4, 4), (255, 0, 0, 0))
        write_image(tmp_path / "a.png", clear)
        assert PIL.Image.open(tmp_path / "a.png").getpixel((0, 0)) == (255, 0, 0, 0)
        write_image(tmp_path / "a.jpg", clear)
        assert PIL.Image.open(tmp_path / "a.jpg").getpixel((0, 0)) == (255, 255, 255)
        depth = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
        write_image(tmp_path / "d.png", PIL.Image.fromarray(depth))
        np.testing.assert_array_equal(np.asarray(PIL.Image.open(tmp_path / "d.png")), depth)

    def test_what_can_not_be_written_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="unknown file extension"):
            write_image(tmp_path / "a.owl", plain(RED))
        with pytest.raises(FileNotFoundError, match="directory to write to does not exist"):
            write_image(tmp_path / "missing" / "a.png", plain(RED))
        assert no_leftovers(tmp_path)


def read_video(path: Path) -> tuple[list[np.ndarray], dict]:
    imageio = pytest.importorskip("imageio.v2")
    with imageio.get_reader(path) as reader:
        return [np.asarray(frame) for frame in reader], reader.get_meta_data()


class TestWriteVideo:
    def test_frames_codec_and_rate(self, tmp_path: Path) -> None:
        colors = [RED, GREEN, BLUE, (128, 128, 128)]
        write_video(tmp_path / "turn.mp4", [plain(color, 64, 48) for color in colors], fps=8)
        frames, meta = read_video(tmp_path / "turn.mp4")
        assert len(frames) == 4
        for frame, color in zip(frames, colors, strict=True):
            assert frame.shape == (48, 64, 3)
            # through yuv and back, in 8 bits, and compressed
            np.testing.assert_allclose(frame[24, 32], color, atol=8)
        assert meta["codec"] == "h264"
        assert meta["pix_fmt"].startswith("yuv420p")
        assert meta["fps"] == 8
        assert meta["duration"] == pytest.approx(0.5, abs=0.01)
        assert no_leftovers(tmp_path, "turn.mp4")

    def test_odd_sizes_gain_a_copied_pixel(self, tmp_path: Path) -> None:
        frame = np.zeros((33, 47, 3), dtype=np.float32)
        frame[:, 32:] = 1.0
        write_video(tmp_path / "odd.mp4", [frame] * 3)
        frames, _ = read_video(tmp_path / "odd.mp4")
        assert frames[0].shape == (34, 48, 3)
        assert frames[0][:, 36:].min() > 235
        assert frames[0][:, :28].max() < 20

    def test_the_same_frames_give_the_same_bytes(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        frames = [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(5)]
        for name in ("a.mp4", "b.mp4"):
            write_video(tmp_path / name, frames)
        assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()

    @pytest.mark.parametrize(("suffix", "tolerance"), [("gif", 0), ("webp", 6)])  # webp is lossy here
    def test_animations(self, tmp_path: Path, suffix: str, tolerance: int) -> None:
        colors = [RED, GREEN, BLUE, (128, 128, 128)]
        write_video(tmp_path / f"turn.{suffix}", [plain(color, 64, 48) for color in colors], fps=8)
        with PIL.Image.open(tmp_path / f"turn.{suffix}") as opened:
            assert (opened.format, opened.n_frames, opened.size) == (suffix.upper(), 4, (64, 48))
            assert opened.info["loop"] == 0  # for ever
            durations = []
            for number, color in enumerate(colors):
                opened.seek(number)
                opened.load()
                durations.append(opened.info["duration"])
                np.testing.assert_allclose(opened.convert("RGB").getpixel((32, 24)), color, atol=tolerance)
        # an eighth of a second; a gif counts hundredths
        assert sum(durations) == 500
        assert set(durations) == ({120, 130} if suffix == "gif" else {125})
        assert no_leftovers(tmp_path, f"turn.{suffix}")

    @pytest.mark.parametrize("suffix", ["gif", "webp"])
    def test_animations_keep_transparency(self, tmp_path: Path, suffix: str) -> None:
        frames = []
        for color in (RED, BLUE):
            frame = PIL.Image.new("RGBA", (32, 32), (0, 0, 0, 0))
            PIL.ImageDraw.Draw(frame).ellipse((8, 8, 24, 24), fill=(*color, 255))
            frames.append(frame)
        write_video(tmp_path / f"turn.{suffix}", frames, fps=10)
        with PIL.Image.open(tmp_path / f"turn.{suffix}") as opened:
            for number in range(2):
                opened.seek(number)
                frame = opened.convert("RGBA")
                assert frame.getpixel((2, 2))[3] == 0
                assert frame.getpixel((16, 16))[3] == 255

    def test_what_browsers_slow_down_is_not_asked_of_a_gif(self, tmp_path: Path) -> None:
        write_video(tmp_path / "fast.gif", [plain(RED), plain(BLUE)], fps=100)
        with PIL.Image.open(tmp_path / "fast.gif") as opened:
            assert opened.info["duration"] == 20

    def test_bad_input_leaves_nothing(self, tmp_path: Path) -> None:
        target = tmp_path / "a.mp4"
        with pytest.raises(ValueError, match=r"`frames` must be pictures of one size, got \[\(4, 6\), \(4, 8\)\]"):
            write_video(target, [plain(RED), plain(RED, 8)])
        with pytest.raises(ValueError, match="`frames` must be pictures of one size, got none"):
            write_video(target, [])
        with pytest.raises(ValueError, match="`path` must end in '.mp4', '.gif' or '.webp'"):
            write_video(tmp_path / "a.avi", [plain(RED)])
        for name in ("a.gif", "a.webp"):
            with pytest.raises(ValueError, match="`frames` must be pictures of one size, got none"):
                write_video(tmp_path / name, [])
        with pytest.raises(ValueError, match="`fps` must be positive, got 0"):
            write_video(target, [plain(RED)], fps=0)
        with pytest.raises(TypeError, match=r"`frames\[1\]` must be a PIL.Image or an array, got int"):
            write_video(target, [plain(RED), 3])
        with pytest.raises(FileNotFoundError, match="directory to write to does not exist"):
            write_video(tmp_path / "missing" / "a.mp4", [plain(RED)])
        assert no_leftovers(tmp_path)

    def test_ffmpeg_missing_says_what_to_install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
        with pytest.raises(ImportError, match="pip install imageio imageio-ffmpeg"):
            write_video(tmp_path / "a.mp4", [plain(RED)])
        assert no_leftovers(tmp_path)
