"""Text files as people have them: compressed, in other encodings, with quotes left open."""

import bz2
import gzip
import io
import lzma
import zipfile

import numpy as np
import pytest

from nfref.tables.reading import TableError, encoding, read_table
from nfref.tables.reading.read import read_quietly

TEXT = "a,b\n" + "".join(f"{k},{k / 8}\n" for k in range(50))


def refused(path, content):
    path.write_bytes(content)
    with pytest.raises(TableError) as caught:
        read_table(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv", "T.TXT.GZ"])
def test_gzip_is_read_whatever_its_name(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(TEXT.encode("utf-8-sig")))
    table = read_table(path)
    assert table.columns == ("a", "b") and table.whole == ("a",)
    np.testing.assert_array_equal(table.values[:, 1], np.arange(50) / 8)
    path.write_text(TEXT)  # nor does the name promise it
    assert len(read_table(path).values) == 50


def test_damaged_gzip_is_refused(tmp_path):
    whole = gzip.compress(np.random.default_rng(0).bytes(20_000).hex().encode())
    for content in (
        whole[:-9],
        whole[:15],
        b"\x1f\x8b\x08 nothing",
        whole[:40] + b"?" + whole[41:],
    ):
        message = refused(tmp_path / "t.csv.gz", content)
        assert message == "expected a complete gzip file, got a damaged one"
    bad = refused(tmp_path / "t.csv.gz", gzip.compress(b"a,b\n1,2\n3,\xe9\n"))
    assert "got byte 0xe9 in line 3, which is '\xe9' in Windows-1252 (iconv" in bad


def test_a_small_gzip_file_without_line_ends_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "LONGEST_LINE", 1000)
    message = refused(tmp_path / "t.csv.gz", gzip.compress(b"a,b\n" + b"1" * 5000))
    assert message == "line 2: expected fewer than 1,000 characters, got more"


def zipped():
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr("t.csv", TEXT)
    return file.getvalue()


@pytest.mark.parametrize(
    "content, expected",
    [
        (bz2.compress(TEXT.encode()), "got bzip2 (bzip2 -d"),
        (lzma.compress(TEXT.encode()), "got xz (xz -d"),
        (b"\x28\xb5\x2f\xfd" + b"rest", "got zstd (zstd -d"),
        (zipped(), "got a zip archive or an Excel file"),
        (b"PAR1" + b"\0" * 99, "got parquet (naming it .parquet"),
        (TEXT.encode("utf-16"), "got UTF-16 (iconv -f UTF-16 -t UTF-8"),
        (TEXT.encode("utf-32"), "got UTF-32 (iconv -f UTF-32 -t UTF-8"),
        (TEXT.encode("utf-16-le"), "got UTF-16 (iconv -f UTF-16LE -t UTF-8"),
        (TEXT.encode("utf-16-be"), "got UTF-16 (iconv -f UTF-16BE -t UTF-8"),
        (TEXT.encode("utf-32-le"), "got UTF-32 (iconv -f UTF-32LE -t UTF-8"),
        (TEXT.encode("utf-32-be"), "got UTF-32 (iconv -f UTF-32BE -t UTF-8"),
        (gzip.compress(TEXT.encode("utf-16-le")), "got UTF-16 (iconv -f UTF-16LE"),
        (
            "name,b\ncaf\u00e9,1\n".encode("latin-1"),
            "got byte 0xe9 in line 2, which is '\u00e9' in",
        ),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path, content, expected):
    message = refused(tmp_path / "t.csv", content)
    assert message.startswith("expected UTF-8 text, ") and expected in message


def test_one_zero_byte_is_a_mistake_in_a_cell(tmp_path):
    message = refused(tmp_path / "t.csv", b"a,b\n1,2\0\n3,4\n")
    assert message.startswith("row 1 (line 2), column 'b': expected a number, got '2\\x00'")


@pytest.mark.parametrize("mark", ["sep=;", '"sep=;"', "SEP=;", "\ufeffsep=;"])
def test_the_line_that_names_the_separator_is_heeded(tmp_path, mark):
    path = tmp_path / "t.csv"
    path.write_text(f"{mark}\r\na,a;b\r\n1;2\r\n3;4\r\n", newline="")
    table = read_table(path)
    assert table.columns == ("a,a", "b") and table.values.tolist() == [[1, 2], [3, 4]]
    assert "line 2 is taken as names" in read_quietly(path).remark or not table.remark
    bad = refused(path, f"{mark}\na;b\n1;2\n3;tall\n".encode())
    assert bad.startswith("row 2 (line 4), column 'b'")


@pytest.mark.parametrize(
    "content, expected",
    [
        ('a,b\n1,"2\n3,4\n', "line 2: a quote is never closed"),
        ('"a,b\n1,2\n3,4\n', "line 1: a quote is never closed"),
        ('a,b\n1,"2\n3,4"\n5,6\n', "row 1 (line 3, from a quote in line 2), column 'b'"),
        ('a,b\n1,"2\n3,4",5\n5,6\n', "row 1 (line 3, from a quote in line 2): expected 2 col"),
        ("a,b\n1,2\n3,4\n5," + '"6\n' + "7,8\n" * 50_000, "line 4: a quote is never closed"),
        ('a,b\n1,"2\n3,4\n5,"6"\n7,8\n', "row 1 (line 4, from a quote in line 2), column 'b'"),
    ],
)
def test_an_open_quote_is_named_by_its_line(tmp_path, content, expected):
    assert refused(tmp_path / "t.csv", content.encode()).startswith(expected)
