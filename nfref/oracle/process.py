"""A flow or a density in any language: a program that answers lines of JSON.

    nfref check --process ./my_flow

docs/process_protocol.rst describes the protocol on one page. If the program ends, does not answer
or answers nonsense, that is no fault of a flow: every later call fails, and :meth:`Program.end`
raises :class:`ProcessFailed`.
"""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import threading
from collections import deque
from functools import partial

import numpy as np

from nfref.runtime.annotations import Any, Iterator
from nfref.runtime.checks import shortened

VERSION = 1
LAST = 10  # lines of standard error that are shown of a program that ended
# Texts of a number that lose no bit: 17 decimal digits, or C's hexadecimal notation.
TEXTS = {"decimal": lambda value: f"{value:.17g}", "hex": float.hex}
ABILITIES = ("forward", "inverse", "log_prob", "sample")


class ProcessFailed(Exception):
    """The program ended, hung or answered nonsense; the message is one line."""


@contextlib.contextmanager
def started(command: str, seconds: float = 20.0) -> Iterator["Program"]:
    """Start a program, as a shell would, for the block, and end it after.

    >>> with started("./my_flow") as program:                               # doctest: +SKIP
    ...     report = check_flow(**program.functions(), rng=rng)
    ...     program.end()

    It has ``seconds`` for each answer, and has to answer "hello".
    """
    program = Program(command, seconds)
    try:
        program.hello()
        yield program
    finally:
        program.close()


class Program:
    """A running program that answers one question at a time."""

    def __init__(self, command: str, seconds: float) -> None:
        try:
            self.process: Any = subprocess.Popen(
                shlex.split(command) or [""],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise ProcessFailed(f"cannot be started: {error}") from None
        self.seconds = seconds
        self.failure: str | None = None
        self.lock = threading.Lock()
        self.last_words: deque = deque(maxlen=LAST)
        self.reader = threading.Thread(target=self._read_errors, daemon=True)
        self.reader.start()

    def close(self) -> None:
        """End the program and its reader thread."""
        self._kill()
        self.process.wait()
        self.reader.join(1.0)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):  # a question that nobody read
                stream.close()

    def _kill(self):
        """Kill the program and its children, which would keep the pipes open."""
        if not hasattr(os, "killpg"):  # on Windows
            self.process.kill()
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended
            os.killpg(self.process.pid, signal.SIGKILL)

    def _read_errors(self):
        for line in self.process.stderr:
            if line.strip():
                self.last_words.append(line.strip())

    def hello(self) -> None:
        """Read which functions the program has, and the number of its coordinates."""
        found = self._next_line("hello")
        for key, holds, words in (
            ("nfref", lambda value: value == VERSION, str(VERSION)),
            ("dim", lambda value: _count(value, 1), "a number of coordinates"),
            ("can", _are_abilities, f"some of {ABILITIES}"),
            ("domain", _are_ends, "[lower, upper]"),
            ("codomain", _are_ends, "[lower, upper]"),
            ("context", lambda value: value is None or _count(value, 1), "a number of features"),
            ("numbers", lambda value: value in (None, *TEXTS), f"one of {tuple(TEXTS)}"),
        ):
            if not holds(found.get(key)):
                got = shortened(json.dumps(found.get(key)))
                raise self._failed(f"hello: {key}: expected {words}, got {got}")
        self.dim, self.can = found["dim"], found["can"]
        self.features, self.as_text = found.get("context"), TEXTS[found.get("numbers") or "hex"]
        self.ends = {key: _ends(found[key]) for key in ("domain", "codomain") if found.get(key)}

    def functions(self) -> dict[str, Any]:
        """Return arguments of ``check_flow``, or of ``check_density`` if there is no map."""
        maps = [name for name in ("forward", "inverse") if name in self.can]
        given: dict[str, Any] = {"dim": self.dim}
        if maps:
            given.update(self.ends, **{name: partial(self._map, name) for name in maps})
        else:
            given.update(self.density())
            given.update({"domain": self.ends["domain"]} if "domain" in self.ends else {})
        if self.features:
            given["context"] = np.random.default_rng(0).standard_normal((8, self.features))
        return given

    def density(self) -> dict[str, Any]:
        """Return the functions that ``check_estimator_density`` takes."""
        if "log_prob" not in self.can:
            words = "expected a program that can log_prob"
            raise ProcessFailed(f"{words}, got one that can {self.can}")
        sample = {"sample": self._sample} if "sample" in self.can else {}
        return {"log_prob": self._log_prob, **sample}

    def end(self) -> None:
        """Raise an error if the program itself failed."""
        if self.failure is not None:
            raise ProcessFailed(self.failure)

    # Questions ----------------------------------------------------------------------------

    def _of_rows(self, name, rows, context, **counts):
        question = {"ask": name, "n": len(rows), "rows": self._text(rows)}
        return (part.astype(rows.dtype) for part in self._ask(question, context, counts))

    def _map(self, name, rows, *context):
        counts = {"values": rows.size, "log_det": len(rows)}
        values, log_det = self._of_rows(name, rows, context, **counts)
        return values.reshape(rows.shape), log_det

    def _log_prob(self, rows, *context):
        return next(self._of_rows("log_prob", rows, context, log_prob=len(rows)))

    def _sample(self, rng, n, *context):
        question = {"ask": "sample", "n": n, "seed": int(rng.integers(2**31))}
        return self._ask(question, context, {"values": n * self.dim})[0].reshape(n, self.dim)

    def _text(self, array):
        return [self.as_text(float(value)) for value in np.ravel(array)]

    def _ask(self, question, context, expected):
        """Return the arrays of an answer; raise RuntimeError if the program answers ``error``."""
        if context:
            question["context"] = self._text(context[0])
        with self.lock:
            self.end()
            what = f"{question['ask']} of {question['n']} rows"
            answer = self._next_line(what, json.dumps(question, separators=(",", ":")) + "\n")
            if "error" in answer:
                raise RuntimeError(str(answer["error"]))
            found = []
            for key, count in expected.items():
                numbers = answer.get(key)
                if not isinstance(numbers, list) or len(numbers) != count:
                    got = len(numbers) if isinstance(numbers, list) else json.dumps(numbers)
                    words = f"expected {count} numbers, got {shortened(str(got))}"
                    raise self._failed(f"{what}: {key}: {words}")
                try:
                    found.append(np.array([_number(value) for value in numbers], dtype=float))
                except (TypeError, ValueError):
                    got = shortened(json.dumps(numbers[:3]))
                    raise self._failed(f"{what}: {key}: expected numbers, got {got}") from None
            return found

    def _next_line(self, what, question=""):
        """Return the object of the next line; kill a program that takes too long."""
        timer = threading.Timer(self.seconds, self._kill)
        timer.start()
        try:
            self.process.stdin.write(question)
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = ""
        finally:
            hung = not timer.is_alive()
            timer.cancel()
        if not line and hung:
            raise self._failed(f"{what}: no answer within {self.seconds:g} s")
        if not line:
            try:
                status = self.process.wait(1.0)
            except subprocess.TimeoutExpired:
                raise self._failed(f"{what}: it closed its standard output") from None
            self.reader.join(1.0)
            words = f": {'; '.join(self.last_words)}" if self.last_words else ""
            raise self._failed(f"{what}: it ended with status {status}{words}")
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            words = f"expected a line with an object of JSON, got {shortened(line.strip())}"
            raise self._failed(f"{what}: {words}")
        return found

    def _failed(self, message):
        self.failure = self.failure or message
        return ProcessFailed(message)


def _are_abilities(names):
    known = isinstance(names, list) and all(name in ABILITIES for name in names)
    return known and names not in ([], ["sample"])


def _count(value, least):
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value):
    """Return the number that JSON gives, or text: decimal, hexadecimal, nan or inf."""
    if isinstance(value, bool):
        raise TypeError("expected a number")
    is_hex = isinstance(value, str) and "0x" in value.lower()
    return float.fromhex(value) if is_hex else float(value)


def _are_ends(given):
    try:
        return given is None or len(_ends(given)) == 2
    except (TypeError, ValueError):
        return False


def _ends(given):
    """Return (lower, upper): two numbers, or two arrays of one number for each coordinate."""
    return tuple(
        np.array([_number(value) for value in end]) if isinstance(end, list) else _number(end)
        for end in given
    )
