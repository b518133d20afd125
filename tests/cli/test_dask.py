"""Scoring on a cluster gives the bits of one process, even if workers die."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from nfref.tables.files.model_file import load_model
from nfref.tables.reading import read_table, write_table
from tests.cli.commands import (
    COMMAND,
    ended,
    nfref_command,
    people,
    started,
    succeeds,
    write_people,
)

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("default")  # Dask's own warnings are not nfref's errors

NAMES = ("height", "body weight", "age")
PARTS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    write_people(folder / "people.csv")
    succeeds("fit", "people.csv", "--flow", "realnvp", "--out", "m.npz", cwd=folder)
    (folder / "parts").mkdir()
    for k in range(PARTS):
        write_table(folder / f"parts/{k}.parquet", NAMES, [people(20_000, seed=k)])
    return folder


@pytest.fixture(scope="module")
def cluster():
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "30s"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def expected(folder):
    output = succeeds("score", "m.npz", "parts/*.parquet", "--out", "one.parquet", cwd=folder)
    return read_table(folder / "one.parquet").values[:, 0], output


def test_one_process_scores_files_in_order(folder, expected):
    model = load_model(folder / "m.npz")
    scores, output = expected
    assert scores.shape == (20_000 * PARTS,)
    assert output.startswith(f"mean log-likelihood: {np.mean(scores):.6f} nats\n")
    place = int(np.argmin(scores))
    assert f"row {place % 20_000 + 1:,} of parts/{place // 20_000}.parquet" in output
    np.testing.assert_allclose(
        scores[-20_000:],
        model.density.log_prob(list(people(20_000, seed=PARTS - 1).T)),
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.thorough
def test_two_workers_give_the_bits_of_one_process(folder, cluster, expected):
    output = succeeds(
        "score",
        "m.npz",
        "parts/*.parquet",
        "--dask",
        cluster.scheduler_address,
        "--out",
        "two.parquet",
        cwd=folder,
    )
    np.testing.assert_array_equal(read_table(folder / "two.parquet").values[:, 0], expected[0])
    assert output == expected[1]


@pytest.mark.thorough
def test_a_worker_that_is_killed_on_the_way_changes_nothing(folder, cluster, expected):
    """Kill a worker by kill -9 in the middle of a file: another repeats its work."""
    with distributed.Client(cluster, set_as_default=False) as client:
        pids = client.run(os.getpid)
    process = subprocess.Popen(
        [
            COMMAND,
            "score",
            "m.npz",
            "parts/*.parquet",
            "--dask",
            cluster.scheduler_address,
            "--out",
            "three.parquet",
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with distributed.Client(cluster, set_as_default=False) as client:
        killed = None
        deadline = time.monotonic() + 60
        while killed is None and process.poll() is None:
            assert time.monotonic() < deadline
            busy = client.run_on_scheduler(working)
            if busy:
                killed = pids[busy[0]]
                os.kill(killed, signal.SIGKILL)
            time.sleep(0.005)
    output, errors = ended(process, 100)
    assert killed is not None and process.returncode == 0, errors
    np.testing.assert_array_equal(read_table(folder / "three.parquet").values[:, 0], expected[0])
    assert output == expected[1]


def working(dask_scheduler):
    """Return addresses of workers that are in the middle of a file."""
    return [address for address, state in dask_scheduler.workers.items() if state.processing]


@pytest.mark.thorough
def test_a_fault_in_one_file_is_one_line_and_nothing_is_written(folder, cluster):
    (folder / "bad").mkdir()
    write_table(folder / "bad/0.parquet", NAMES, [people(100)])
    spoilt = people(100)
    spoilt[7, 1] = np.inf
    write_table(folder / "bad/1.parquet", NAMES, [spoilt])
    done = nfref_command(
        "score",
        "m.npz",
        "bad/*.parquet",
        "--dask",
        cluster.scheduler_address,
        "--out",
        "four.parquet",
        cwd=folder,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "bad/1.parquet: expected finite numbers" in done.stderr and "row 8" in done.stderr
    assert not (folder / "four.parquet").exists()


@pytest.mark.thorough
@pytest.mark.parametrize(
    "arguments, message",
    [
        (("none/*.parquet",), "none/*.parquet: expected files of that pattern, found none"),
        (("parts/*.parquet", "--dask", "tcp://127.0.0.1:1"), "--dask: expected the address of a"),
        (("parts/*.parquet", "--dask", "nowhere"), "--dask: expected the address of a scheduler"),
    ],
)
def test_what_cannot_be_is_one_line(folder, arguments, message):
    done = nfref_command("score", "m.npz", *arguments, cwd=folder)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.thorough
def test_the_recipe_of_the_page(folder, cluster, expected):
    """Run the lines of docs/scaling.rst unchanged."""
    pytest.importorskip("dask.dataframe")
    page = Path(__file__).resolve().parents[2] / "docs/scaling.rst"
    text = page.read_text(encoding="utf-8")
    code = text.split("import dask.dataframe")[1].split("\n\n``map_partitions``")[0]
    code = "\n".join(line[4:] for line in ("    import dask.dataframe" + code).splitlines())
    assert len(code.strip().splitlines()) <= 10
    names = {"ADDRESS": cluster.scheduler_address, "FOLDER": str(folder)}
    exec(compile(code, page, "exec"), names)
    np.testing.assert_allclose(names["scores"].to_numpy(), expected[0], atol=1e-9)


# A scheduler that is not there --------------------------------------------------------------


@pytest.fixture
def own_cluster(tmp_path):
    """(process of a scheduler, its address), with one worker."""
    code = (
        "from distributed.cli.dask_scheduler import main; "
        "main(['--host', '127.0.0.1', '--port', '0', '--no-dashboard', '--scheduler-file', "
        f"{str(tmp_path / 'where.json')!r}])"
    )
    scheduler = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    worker = None
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "where.json").exists() or not (tmp_path / "where.json").read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
        address = json.loads((tmp_path / "where.json").read_text())["address"]
        code = (
            "from distributed.cli.dask_worker import main; "
            f"main([{address!r}, '--nthreads', '1', '--no-nanny', '--no-dashboard'])"
        )
        worker = subprocess.Popen(
            [sys.executable, "-c", code], stderr=subprocess.DEVNULL, cwd=tmp_path
        )
        yield scheduler, address
    finally:
        for process in (scheduler, worker):
            if process is not None:
                process.kill()
                process.wait()


@pytest.mark.thorough
def test_a_scheduler_that_dies_on_the_way_is_one_line(folder, own_cluster, expected):
    scheduler, address = own_cluster
    process = started("score", "m.npz", "parts/*.parquet", "--dask", address, cwd=folder)
    process.stdout.readline()
    scheduler.kill()
    _, errors = ended(process)
    assert process.returncode == 2
    assert errors.count("\n") == 1 and f"--dask: scheduler {address}: lost it" in errors


@pytest.mark.thorough
def test_a_port_where_nobody_answers_is_one_line_within_20_seconds(folder):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        run = nfref_command(
            "score",
            "m.npz",
            "parts/*.parquet",
            "--dask",
            f"tcp://127.0.0.1:{silent.getsockname()[1]}",
            cwd=folder,
        )
    assert time.monotonic() - began < 20 and run.returncode == 2
    assert run.stderr.count("\n") == 1 and "--dask: expected the address of a sch" in run.stderr


def test_a_web_server_is_no_scheduler(folder):
    def answer():
        with server.accept()[0] as one:
            one.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            one.recv(1 << 16)
            time.sleep(1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        done = nfref_command("score", "m.npz", "parts/0.parquet", "--dask", address, cwd=folder)
    message = f"nfref: error: --dask: expected the address of a scheduler, got {address}: "
    assert done.returncode == 2 and done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
