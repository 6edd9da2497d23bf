import os
import stat

import pytest

from lrm_hf.files import replacing


def test_the_file_appears_whole_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.suffix == ".txt" and temporary.parent == tmp_path
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="halfway"), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("halfway")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    with replacing(tmp_path / "a") as temporary:
        temporary.write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"1")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_missing_directory_and_directory_as_file(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="directory to write to does not exist"),
        replacing(tmp_path / "x" / "a"),
    ):
        pass
    with pytest.raises(IsADirectoryError, match="is a directory"), replacing(tmp_path):
        pass
