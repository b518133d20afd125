"""Parallel candidates and searches on joblib and its backends, to the bits of one process."""

import os
import signal
import threading
import time

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

import nfref

ROWS = np.random.default_rng(0).standard_normal((400, 2)) @ [[1, 0.5], [0, 1]]
SETTINGS = {"members": 4, "epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def expected():
    return nfref.FlowDensity(**SETTINGS).fit(ROWS)


def same(found, expected):
    assert found.weights_ == expected.weights_
    np.testing.assert_array_equal(found.score_samples(ROWS), expected.score_samples(ROWS))


@pytest.mark.parametrize("by", ["threading", pytest.param("loky", marks=pytest.mark.thorough)])
def test_processes_and_threads_give_the_bits_of_one(expected, by):
    with joblib.parallel_config(by):
        same(nfref.FlowDensity(**SETTINGS, n_jobs=2).fit(ROWS), expected)


@pytest.mark.thorough
def test_a_context_says_how_many_at_once(expected, monkeypatch):
    """Without n_jobs, ``parallel_config`` sets it."""
    from nfref.tables.fitting import flow_queue

    told, old = [], flow_queue.FlowQueue._train_in_processes

    def counted(self, trained, end):
        told.append((self.plan.jobs, end - len(trained.done)))
        old(self, trained, end)

    monkeypatch.setattr(flow_queue.FlowQueue, "_train_in_processes", counted)
    nfref.FlowDensity(**SETTINGS).fit(ROWS)
    assert not told
    with joblib.parallel_config("threading", n_jobs=3):
        same(nfref.FlowDensity(**SETTINGS).fit(ROWS), expected)
    assert told == [(3, 5)] * 4  # each kind through five folds


@pytest.mark.slow
def test_dask_gives_the_bits_of_one_process_and_a_killed_worker_changes_nothing(expected):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        with joblib.parallel_config("dask"):
            same(nfref.FlowDensity(**SETTINGS, n_jobs=-1).fit(ROWS), expected)
            killed = []
            killer = threading.Thread(target=kill_a_worker, args=(client, killed))
            killer.start()
            longer = {**SETTINGS, "epochs": 60}
            found = nfref.FlowDensity(**longer, n_jobs=-1).fit(ROWS)
            killer.join()
            assert killed
            same(found, nfref.FlowDensity(**longer).fit(ROWS))
            search = GridSearchCV(nfref.FlowDensity(**SETTINGS), {"members": [0, 1]}, cv=2)
            search.fit(ROWS)
    one = GridSearchCV(nfref.FlowDensity(**SETTINGS), {"members": [0, 1]}, cv=2).fit(ROWS)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"]
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own warnings
def test_ray_gives_the_bits_of_one_process(expected):
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:
        register_ray()
        with joblib.parallel_config("ray"):
            same(nfref.FlowDensity(**SETTINGS, n_jobs=2).fit(ROWS), expected)
            search = GridSearchCV(nfref.FlowDensity(**SETTINGS), {"members": [0, 1]}, cv=2)
            search.fit(ROWS)
    finally:
        ray.shutdown()
    one = GridSearchCV(nfref.FlowDensity(**SETTINGS), {"members": [0, 1]}, cv=2).fit(ROWS)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"]
    )


def kill_a_worker(client, killed):
    """Send kill -9 to the first worker in the middle of a task, half a second later."""
    deadline = time.monotonic() + 60
    pids = client.run(os.getpid)
    while time.monotonic() < deadline:
        busy = [address for address, calls in client.call_stack().items() if calls]
        if busy:
            time.sleep(0.5)
            os.kill(pids[busy[0]], signal.SIGKILL)
            killed.append(busy[0])
            return
        time.sleep(0.05)
