"""Schedulers that are not one, do not answer, or go away: one line within twenty seconds."""

import contextlib
import socket
import threading

import numpy as np

from tests.fuzz.case import Case, command, contents, require

WAYS = ("text", "closed port", "silent", "hangs up", "garbage", "echo", "slow drip")
TEXTS = (
    "",
    " ",
    "x",
    "tcp://",
    "tcp://:",
    "tcp://localhost",
    "http://localhost:1",
    "tls://a:1",
    "tcp://localhost:99999",
    "tcp://localhost:-1",
    "tcp://[::1]:x",
    "é",
    "inproc://x",
    "::::",
    "tcp://256.1.1.1:8786",
    "tcp://no such host:1",
    "\n",
    "ucx://a:1",
    "ws://a",
    "8786",
    "tcp://127.0.0.1:0",
    "file:///etc",
    "tcp://" + "a" * 300 + ":1",
    "'; drop",
    "-",
)


def cases(rng, number):
    """Yield ``score --dask`` with each kind of false scheduler."""
    for _ in range(number):
        one = np.random.default_rng(rng.integers(2**63))
        way = str(one.choice(WAYS, p=[0.58] + 6 * [0.07]))
        text = str(one.choice(TEXTS))
        yield Case(
            f"cluster: {way} {text!r}" if way == "text" else f"cluster: {way}",
            lambda folder, one=one, way=way, text=text: run(folder, one, way, text),
        )


def run(folder, rng, way, text):
    np.savetxt(
        folder / "t.csv", rng.standard_normal((30, 2)), delimiter=",", header="a,b", comments=""
    )
    status, _, errors = command(folder, "fit", "t.csv", "--flow", "mixture", "--out", "m.npz")
    require(status == 0, errors)
    before = contents(folder)
    with address_of(way, text, rng) as address:
        status, output, errors = command(
            folder, "score", "m.npz", "t.csv", f"--dask={address}", "--out", "s.csv"
        )
    if way == "text" and not text:  # no cluster was requested
        return "success" if status == 0 else "refused"
    require(status == 2, f"status {status}: {output[:200]}")
    require(contents(folder) == before, "files changed")
    return "refused"


@contextlib.contextmanager
def address_of(way, text, rng):
    """Return an address where something listens, or nothing does."""
    if way == "text":
        yield text
        return
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        ended = threading.Event()
        if way != "closed port":
            server.listen(8)
            server.settimeout(0.2)
            threading.Thread(
                target=serve, args=(server, way, rng.bytes(64), ended), daemon=True
            ).start()
        try:
            yield f"tcp://127.0.0.1:{port}"
        finally:
            ended.set()


def serve(server, way, garbage, ended):
    """Accept connections like no scheduler would, until the case has ended."""
    taken = []
    while not ended.wait(0.05):
        with contextlib.suppress(OSError):
            taken.append(server.accept()[0])
            taken[-1].settimeout(0.05)
        for one in taken:
            with contextlib.suppress(OSError):
                if way == "hangs up":
                    one.close()
                elif way == "garbage":
                    one.sendall(garbage)
                elif way == "slow drip":
                    one.sendall(b"\0")
                elif way == "echo":
                    one.sendall(one.recv(4096))
    for one in taken:
        one.close()
