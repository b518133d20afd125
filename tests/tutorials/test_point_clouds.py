"""The point cloud page: meshes, points on them, distances of clouds, and bad input."""

import sys
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "tutorials" / "applications" / "point_clouds.py"
sys.path.insert(0, str(PAGE.parent))
import _clouds  # noqa: E402
import _meshes  # noqa: E402

VERTICES = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
TRIANGLES = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])
HEAD = (
    b"ply\nformat %s 1.0\nelement vertex 4\nproperty float x\nelement face 4\n"
    b"property list uchar int vertex_indices\nend_header%s"
)


def text_file(end=b"\n"):
    rows = [*VERTICES.tolist(), *([3, *t] for t in TRIANGLES.tolist())]
    return HEAD % (b"ascii", end) + end.join(" ".join(map(str, row)).encode() for row in rows)


def binary_file():
    faces = b"".join(b"\x03" + t.astype("<i4").tobytes() for t in TRIANGLES)
    return HEAD % (b"binary_little_endian", b"\n") + VERTICES.astype("<f4").tobytes() + faces


@pytest.mark.parametrize("content", [text_file(), text_file(b"\r\n"), binary_file()])
def test_a_mesh_is_read(tmp_path, content):
    path = tmp_path / "mesh.ply"
    path.write_bytes(content)
    vertices, triangles = _meshes.read_ply(path)
    assert np.array_equal(vertices, VERTICES) and np.array_equal(triangles, TRIANGLES)


def test_a_mesh_of_javascript_is_read(tmp_path):
    path = tmp_path / "mesh.js"
    path.write_text(f"exports.positions={VERTICES.tolist()};exports.cells={TRIANGLES.tolist()}")
    vertices, triangles = _meshes.read_javascript(path)
    assert np.array_equal(vertices, VERTICES) and np.array_equal(triangles, TRIANGLES)
    path.write_text("exports.positions=[[1,2,3]]")
    with pytest.raises(ValueError, match="mesh.js: expected two lists of triples, got 1"):
        _meshes.read_javascript(path)


@pytest.mark.parametrize(
    "content, got",
    [
        (b"", "got one that begins with b''"),
        (b"solid cube", "begins with b'solid cube'"),
        (binary_file()[:-5], "which is not that many"),
        (text_file()[:-2], "which is not that many"),
        (text_file().replace(b"vertex 4", b"vertex 5"), "expected 5 points and 4 triangles"),
    ],
)
def test_a_file_that_is_no_mesh_is_named(tmp_path, content, got):
    path = tmp_path / "mesh.ply"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^mesh\.ply: expected") as error:
        _meshes.read_ply(path)
    assert got in str(error.value) and "\n" not in str(error.value)


def test_a_mesh_of_too_few_points_is_named():
    with pytest.raises(ValueError, match="flat: expected a mesh of at least 4 points .* got 3"):
        _meshes.checked("flat", VERTICES[:3], TRIANGLES[:1])
    with pytest.raises(ValueError, match="flat: expected triangles of points 0 to 3, got point 7"):
        _meshes.checked("flat", VERTICES, TRIANGLES + 4)
    with pytest.raises(ValueError, match="flat: expected finite coordinates"):
        _meshes.checked("flat", VERTICES * np.nan, TRIANGLES)


def test_points_are_even_on_the_surface():
    """The mean and share of each triangle agree with its area."""
    points = _meshes.points_on((VERTICES, TRIANGLES), 40_000, np.random.default_rng(0))
    areas = np.array([0.5, 0.5, 0.5, np.sqrt(3) / 2])
    slanted = np.isclose(points.sum(axis=1), 1)
    assert slanted.mean() == pytest.approx(areas[3] / areas.sum(), abs=0.01)
    assert points[slanted].mean(axis=0) == pytest.approx(np.full(3, 1 / 3), abs=0.01)
    assert (np.isclose(points, 0).any(axis=1) | slanted).all()


def test_distances_are_those_of_a_table_of_all_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((30, 3)), rng.standard_normal((40, 3))
    table = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    assert _clouds.chamfer(a, b) == pytest.approx(
        table.min(axis=0).mean() + table.min(axis=1).mean()
    )
    assert _clouds.earth_mover(a, a[::-1] + 2) <= np.sqrt(12)  # by the pairing of shifted points
    assert _clouds.earth_mover(a[:2], a[:2]) == 0


@pytest.mark.parametrize("distance", [_clouds.chamfer, _clouds.earth_mover])
def test_samples_are_judged_by_their_nearest_neighbours(distance):
    same = np.random.default_rng(0).standard_normal((12, 20, 3))

    def judged(shift):
        between = _clouds.distances([*same, *same + shift], distance)
        judges = _clouds.one_nn_accuracy, _clouds.matching, _clouds.coverage
        return [judge(between, len(same))[0] for judge in judges]

    accuracy, far, _ = judged(9)
    assert accuracy == 1 and far > 9
    accuracy, near, covered = judged(1e-9)  # a twin is nearest
    assert accuracy == 0 and near < 1e-8 and covered == 1


def test_codes_know_neither_order_nor_number_of_points():
    rng = np.random.default_rng(0)
    many = rng.standard_normal((20, 50, 3)) * np.exp(0.3 * rng.standard_normal((20, 1, 3)))
    encoder = _clouds.Encoder.learned(many, rng)
    codes = encoder(many)
    assert codes.std(axis=0) == pytest.approx(np.ones(_clouds.CODE), rel=1e-4)
    assert encoder(many[:, ::-1]) == pytest.approx(codes, abs=1e-4)
    assert encoder(np.repeat(many, 2, axis=1)) == pytest.approx(codes, abs=1e-4)


def test_the_network_knows_neither_order_nor_number_and_imitates():
    rng = np.random.default_rng(1)
    many = rng.standard_normal((6, 40, 3)).astype(np.float32)
    wanted = many.std(axis=1) @ rng.standard_normal((3, _clouds.CODE))

    def loss(params, rng):
        return ((_clouds.encoded(params, many)[0] - wanted) ** 2).mean()

    params, losses = _clouds.descend(loss, _clouds.init_encoder(rng), rng, 150, 1e-2)
    assert losses[-1] < 0.05 * losses[0]
    found = _clouds.encoded(params, many)
    for other in (many[:, ::-1], np.repeat(many, 2, axis=1)):
        for one, same in zip(found, _clouds.encoded(params, other)):
            assert same == pytest.approx(one, abs=1e-5)


@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 2), (2, 0, 3)])
def test_clouds_of_another_shape_are_named(shape):
    encoder = _clouds.Encoder(None, None, None, None)
    with pytest.raises(ValueError, match=r"clouds: expected shape \(M, N, 3\) with N > 0, got \("):
        encoder(np.zeros(shape))
