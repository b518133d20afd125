"""Surfaces of triangles: read from files, with points sampled on them."""

import json
import re

import numpy as np

FEWEST_POINTS = 4  # to span a volume


def read_ply(path):
    """(vertices (V, 3), triangles (T, 3)) of a PLY file of text, or of little-endian float32.

    Raises
    ------
    ValueError
        If the file is not such a file of triangles, ends early, or has too few points.
    """
    head, _, body = (
        path.read_bytes().replace(b"end_header\r\n", b"end_header\n", 1).partition(b"end_header\n")
    )
    counts = [re.search(rb"element %s (\d+)" % name, head) for name in (b"vertex", b"face")]
    if not head.startswith(b"ply") or None in counts:
        raise ValueError(
            f"{path.name}: expected a PLY file with vertices and faces, "
            f"got one that begins with {head[:10]!r}"
        )
    points, faces = (int(count[1]) for count in counts)
    try:
        read = _from_text if b"format ascii" in head else _from_bytes
        vertices, corners = read(body, points, faces)
    except ValueError:
        raise ValueError(
            f"{path.name}: expected {points} points and {faces} triangles, got "
            f"{len(body)} bytes, which is not that many"
        ) from None
    return checked(path.name, vertices, corners)


def _from_text(body, points, faces):
    numbers = np.array(body.split(), dtype=float)
    vertices, corners = numbers[: 3 * points], numbers[3 * points :]
    return vertices.reshape(points, 3), corners.reshape(faces, 4)[:, 1:].astype(int)


def _from_bytes(body, points, faces):
    face = np.dtype([("corners", "u1"), ("index", "<i4", 3)])
    vertices = np.frombuffer(body, "<f4", 3 * points).reshape(points, 3)
    return vertices.astype(float), np.frombuffer(body, face, faces, offset=12 * points)["index"]


def read_javascript(path):
    """Return the same of a module that exports two lists of triples, positions and cells."""
    lists = re.findall(r"=\s*(\[\[[^;]*?\]\])", path.read_text())
    if len(lists) != 2:
        raise ValueError(f"{path.name}: expected two lists of triples, got {len(lists)}")
    vertices, triangles = (np.array(json.loads(found)) for found in lists)
    return checked(path.name, vertices, triangles)


def checked(name, vertices, triangles):
    """Return the mesh, if it has enough points and its triangles use only these."""
    if len(vertices) < FEWEST_POINTS or not len(triangles):
        raise ValueError(
            f"{name}: expected a mesh of at least {FEWEST_POINTS} points and a "
            f"triangle, got {len(vertices)} points and {len(triangles)} triangles"
        )
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise ValueError(
            f"{name}: expected triangles of points 0 to {len(vertices) - 1}, got "
            f"point {triangles.max()}"
        )
    if not np.isfinite(vertices).all():
        raise ValueError(f"{name}: expected finite coordinates, got NaN or infinity")
    return vertices, triangles


def points_on(mesh, count, rng):
    """Points evenly distributed over the surface, (count, 3).

    A triangle is picked by its area; in it, a point a + u (b - a) + v (c - a) with (u, v)
    uniform in the unit square, whose upper half is folded over.
    """
    vertices, triangles = mesh
    a, b, c = np.moveaxis(vertices[triangles], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    picked = rng.choice(len(triangles), count, p=area / area.sum())
    u, v = rng.random((2, count, 1))
    beyond = u + v > 1
    u, v = np.where(beyond, 1 - u, u), np.where(beyond, 1 - v, v)
    return a[picked] + u * (b - a)[picked] + v * (c - a)[picked]
