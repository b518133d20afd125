"""Measure what the first fit on a machine spends on compiling.

    python -m tests.benchmarks.compiling [--rounds 3] [--kernels] [-- fit wine --flow maf]

The first part runs the command in a process of its own with an empty cache folder for kernels and,
in turn, with the filled folder. It prints wall and processor seconds of both, children included,
and the excess of the cold run over the warm one; each is the least over the rounds.

The second part (alone with ``--kernels``) runs the command once more with an empty folder and
compiles in that process alone, with one thread. For each dtype it prints the processor seconds of
every kernel with all that it calls, and who asks for it first; those of every kernel and body
without what it calls; and by phase:

    typing         Numba's passes over the bytecode, to types
    lowering       from types to the text of LLVM's intermediate language
    text           LLVM parses and verifies that text
    optimising     LLVM's passes, function by function and over whole kernels
    machine code   LLVM emits machine code
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager

COMMAND = ["fit", "wine"]
SHOWN = 40  # kernels and bodies
INNER = tuple(f"nfref.{name}" for name in ("kernels", "runtime", "flow", "density", "tables.dens"))
PHASES = ("typing", "lowering", "text", "optimising", "machine code")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kernels", action="store_true", help="the second part alone")
    parser.add_argument("--listen", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="*", default=COMMAND)
    given = parser.parse_args()
    if given.listen:
        listen(given.command, given.listen)
        return
    print(f"nfref {' '.join(given.command)}")
    if not given.kernels:
        print_starts(given.command, given.rounds)
    print_kernels(given.command)


# Cold and warm --------------------------------------------------------------------------------


def print_starts(command, rounds):
    times = {"cold": [], "warm": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name in times:
                times[name].append(measured([sys.executable, "-m", "nfref", *command], folder))
    least = {name: [min(column) for column in zip(*rows)] for name, rows in times.items()}
    least["excess"] = [cold - warm for cold, warm in zip(least["cold"], least["warm"])]
    print(f"{'':10}{'wall (s)':>10}{'cpu (s)':>10}")
    for name, (wall, cpu) in least.items():
        print(f"{name:10}{wall:10.2f}{cpu:10.2f}")


def measured(arguments, folder):
    """(wall seconds, processor seconds) of a process with its kernels in a folder."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(
        arguments,
        check=True,
        env={**os.environ, "NUMBA_CACHE_DIR": folder},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wall, after = time.perf_counter() - start, os.times()
    return wall, (
        after.children_user - before.children_user + after.children_system - before.children_system
    )


# Kernel by kernel -----------------------------------------------------------------------------


def print_kernels(command):
    with tempfile.TemporaryDirectory() as folder:
        found = os.path.join(folder, "found.json")
        measured(
            [sys.executable, "-m", "tests.benchmarks.compiling", "--listen", found, "--", *command],
            folder,
        )
        with open(found) as file:
            kernels, seconds, phases = json.load(file)
    print(f"\n{'cpu (s)':>8}  kernel, with what it calls, and who asks for it")
    for name, (spent, asked) in kernels.items():
        print(f"{spent:8.2f}  {name}\n{'':12}{asked}")
    print(f"\n{'cpu (s)':>8}  phase")
    for phase in PHASES:
        print(f"{phases.get(phase, 0):8.2f}  {phase}")
    print(f"\n{'cpu (s)':>8}  of {len(seconds)} kernels and bodies, without what these call")
    for name, spent in Counter(seconds).most_common(SHOWN):
        print(f"{spent:8.2f}  {name}")
    print(f"{sum(seconds.values()):8.2f}  together")


class Watch:
    """Processor seconds of this thread by name; an inner event pauses the outer one."""

    def __init__(self):
        self.seconds, self.running, self.since = Counter(), [], time.thread_time()

    def turn(self):
        now = time.thread_time()
        if self.running:
            self.seconds[self.running[-1]] += now - self.since
        self.since = now

    def begin(self, name):
        self.turn()
        self.running.append(name)

    def end(self):
        self.turn()
        self.running.pop()

    @contextmanager
    def timing(self, name):
        self.begin(name)
        try:
            yield
        finally:
            self.end()


def listen(command, out):
    """Run a command in this process, and record every compilation."""
    os.environ["NUMBA_NUM_THREADS"] = "1"  # so that the stack shows who asks
    from nfref.runtime import abandonable

    abandonable.call = lambda function, *arguments: function(*arguments)
    from numba.core import event
    from numba.core.codegen import JITCodeLibrary

    from nfref.cli import main as nfref
    from nfref.kernels.compiler_pipeline import KernelLibrary, PartLibrary

    kernels, phases, asked = Watch(), Watch(), {}

    class Kernels(event.Listener):
        def on_start(self, happening):
            function = happening.data["dispatcher"].py_func
            name = f"{function.__module__}.{function.__qualname__}"
            name += shortened(happening.data["args"])
            if not kernels.running:
                self.name, self.since = name, time.thread_time()
            kernels.begin(name)

        def on_end(self, happening):
            kernels.end()
            if not kernels.running:
                asked[self.name] = time.thread_time() - self.since, asker()

    class Passes(event.Listener):
        def on_start(self, happening):
            lowers = happening.data["name"].startswith("native_lowering")
            phases.begin("lowering" if lowers else "typing")

        def on_end(self, happening):
            phases.end()

    event.register("numba:compile", Kernels())
    event.register("numba:run_pass", Passes())
    for kind, name, phase in (
        (JITCodeLibrary, "add_ir_module", "text"),
        (JITCodeLibrary, "_optimize_functions", "optimising"),
        (PartLibrary, "_optimize_functions", "optimising"),
        (JITCodeLibrary, "_optimize_final_module", "optimising"),
        (KernelLibrary, "_optimize_final_module", "optimising"),
        (JITCodeLibrary, "_finalize_final_module", "machine code"),
    ):
        setattr(kind, name, timed(getattr(kind, name), phases, phase))
    status = nfref(command)
    with open(out, "w") as file:
        json.dump([asked, kernels.seconds, phases.seconds], file)
    sys.exit(status)


def asker():
    """Return the innermost function on the stack that is none of a flow or a density."""
    frame = sys._getframe()
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("nfref.") and not module.startswith(INNER):
            return f"{module}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "the command"


def timed(function, watch, name):
    def watched(*arguments):
        with watch.timing(name):
            return function(*arguments)

    return watched


def shortened(types):
    """Return the dtype of a kernel; its types differ in nothing else."""
    text = str(types)  # reals and sums are float64 for any dtype
    return f" ({next((word for word in ('float32', 'float64') if word in text), 'no floats')})"


if __name__ == "__main__":
    main()
