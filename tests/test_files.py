import pytest

from apiece.errors import InputError
from apiece.files import digest, replacing, write_text


def test_a_file_appears_whole_and_under_its_own_name_only(tmp_path):
    path = tmp_path / "new" / "folder" / "table.csv"
    with replacing(path) as temporary:
        temporary.write_text("a,b")
        assert temporary.parent == path.parent and temporary.suffix == ".csv"
        assert not path.exists()
    assert path.read_text() == "a,b"
    assert list(path.parent.iterdir()) == [path]


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_file_takes_the_old_ones_place(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old and longer")
    write_text(path, "ä")
    assert path.read_bytes() == "ä".encode()


def test_a_finished_file_is_renamed_so_that_no_reader_sees_half_of_it(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        number = temporary.stat().st_ino
        assert path.read_text() == "old"
    assert path.stat().st_ino == number


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way of a folder")
    path = tmp_path / "file" / "result.json"
    with pytest.raises(InputError) as error:
        write_text(path, "{}")
    assert str(error.value).startswith(f"{path}: cannot be written: ")


def test_a_folder_in_the_files_place_is_named_and_nothing_is_left_over(tmp_path):
    path = tmp_path / "result.json"
    path.mkdir()
    with pytest.raises(InputError, match="result.json: cannot be written"):
        write_text(path, "{}")
    assert list(tmp_path.iterdir()) == [path]


def test_a_digest_is_of_the_contents_alone(tmp_path):
    for name, content in (("a", b"12"), ("b", b"12"), ("c", b"21")):
        (tmp_path / name).write_bytes(content)
    first, copy, other = (digest(tmp_path / name) for name in "abc")
    assert first == copy != other and digest(tmp_path / "nowhere") == ""
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        digest(tmp_path)
