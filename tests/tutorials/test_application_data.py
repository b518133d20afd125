"""The data of the applications: fetched by one command, checked by content, named if missing."""

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tutorials" / "applications"))
import fetch  # noqa: E402

DIGEST = fetch.digest([b"first", b"second"])


def tar_of(files, mode):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def whl(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def tgz(path, files):
    path.write_bytes(tar_of(files, "w:gz"))


def deb(path, files):
    """Write an ar archive; its first part has an odd size, so an empty byte follows."""
    archive = b"!<arch>\n"
    for name, content in (
        ("debian-binary", b"2.0"),
        ("data.tar.xz", tar_of({"./" + n: c for n, c in files.items()}, "w:xz")),
    ):
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        archive += head + content + b"\n" * (len(content) % 2)
    path.write_bytes(archive)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Return a source whose command copies the package beside it."""
    monkeypatch.setenv("NFREF_DATA", str(tmp_path / "kept"))

    def made(package, digest=DIGEST):
        copy = f"import shutil; shutil.copy({str(package)!r}, '.')"
        found = fetch.Source((sys.executable, "-c", copy), {"some/*.bin": digest})
        monkeypatch.setitem(fetch.SOURCES, "tried", found)

    return made


@pytest.mark.parametrize("made", [whl, tgz, deb])
def test_files_are_kept(made, source, tmp_path):
    package = tmp_path / f"package.{made.__name__}"
    made(
        package,
        {
            "some/b.bin": b"second",
            "some/a.bin": b"first",
            "other.txt": b"not wanted",
            "some/below/a.bin": b"of a folder below",
        },
    )
    source(package)
    kept = fetch.fetch("tried")
    assert [path.name for path in fetch.files("tried")] == ["a.bin", "b.bin"]
    assert sorted(path.name for path in kept.iterdir()) == ["a.bin", "b.bin"]


def test_another_content_is_named_and_not_kept(source, tmp_path):
    whl(tmp_path / "package.whl", {"some/a.bin": b"other"})
    source(tmp_path / "package.whl")
    with pytest.raises(ValueError, match=f"package.whl.*expected content of SHA-256 {DIGEST}, got"):
        fetch.fetch("tried")
    assert not (tmp_path / "kept").exists()


def test_a_file_that_was_changed_is_named(source, tmp_path):
    whl(tmp_path / "package.whl", {"some/a.bin": b"first", "some/b.bin": b"second"})
    source(tmp_path / "package.whl")
    (fetch.fetch("tried") / "b.bin").write_bytes(b"cut")
    with pytest.raises(ValueError, match="a.bin.*expected content of SHA-256"):
        fetch.files("tried")


def test_missing_data_name_the_command(source, tmp_path):
    source(tmp_path / "package.whl")
    with pytest.raises(fetch.DataMissing, match=r"fetch\.py tried$"):
        fetch.files("tried")
    with pytest.raises(fetch.DataMissing, match="expected a package from .*, got: "):
        fetch.fetch("tried")


def test_an_unknown_name_is_refused():
    done = subprocess.run([sys.executable, fetch.__file__, "films"], capture_output=True, text=True)
    assert done.returncode == 2 and "invalid choice: 'films'" in done.stderr


def test_every_content_is_pinned():
    for source in fetch.SOURCES.values():
        assert all(len(digest) == 64 for digest in source.files.values())


@pytest.mark.parametrize(
    "page, name",
    [
        ("molecules", "molecules"),
        pytest.param("point_clouds", "meshes", marks=pytest.mark.thorough),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("anomaly", "fashion"),
                ("audio", "speech"),
                ("differnet", "digits"),
                ("graph_af", "molecules"),
                ("writing_files", "fashion"),
                ("images", "fashion"),
                ("video", "video"),
            )
        ),
    ],
)
def test_without_data_the_page_names_the_command(page, name, tmp_path):
    environment = {**os.environ, "NFREF_DATA": str(tmp_path / "none"), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, ROOT / "tutorials" / "applications" / f"{page}.py"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode and done.stderr.endswith(f"applications/fetch.py {name}\n")
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "figures").exists()
