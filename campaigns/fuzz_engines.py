"""One target at work, in one process: where inputs come from, what is a finding, how it is kept."""

from __future__ import annotations

import hashlib
import importlib
import mmap
import os
import random
import resource
import struct
import sys
import time
import traceback
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

GROWTH_MOST_BYTES = 256 << 20
"""How much more memory than ever before one input may take."""
MINIMISING_MOST_S = 5.0
NOTE = struct.Struct("<QQ")
"""Executions so far; and the length of the input at work, which follows."""
_NOTE_BYTES = 1 << 20
_CORPUS_MOST = 20_000

Check = Callable[[bytes], Hashable]
"""A property: raises where it fails; returns what kind of outcome it saw."""


@dataclass
class Campaign:
    """One target. What it is at now stands in a mapped file, which outlives a crash of the interpreter.

    It is over at ``end_s`` (monotonic), or after ``most`` executions.
    """

    name: str
    check: Check
    out: Path
    end_s: float
    most: float = float("inf")
    findings: dict[str, Path] = field(default_factory=dict)
    executions: int = 0

    def __post_init__(self) -> None:
        path = note_path(self.out, self.name)
        path.write_bytes(bytes(_NOTE_BYTES))
        with path.open("r+b") as file:
            self._note = mmap.mmap(file.fileno(), 0)

    def is_over(self) -> bool:
        return self.executions >= self.most or time.monotonic() >= self.end_s

    def try_(self, data: bytes) -> Hashable:
        """Run the target once; of each kind of failure the first is kept."""
        self.executions += 1
        self._note[: NOTE.size + len(data)] = NOTE.pack(self.executions, len(data)) + data
        outcome, failure = self._outcome(data)
        if failure and failure not in self.findings:
            self.findings[failure] = save(self.out, self.name, failure, self._minimised(data, failure))
        return outcome

    def _outcome(self, data: bytes) -> tuple[Hashable, str]:
        """What the target returned, and how it failed, if it did."""
        before_kib = _most_memory_kib()
        try:
            outcome = self.check(data)
        except Exception as error:  # whatever it is, it is a finding
            return None, failure_of(error)
        if _most_memory_kib() - before_kib > GROWTH_MOST_BYTES >> 10:
            return outcome, "it takes too much memory"
        return outcome, ""

    def _minimised(self, data: bytes, failure: str) -> bytes:
        """``data`` with parts left out, as long as it fails alike."""
        end_s, size = time.monotonic() + MINIMISING_MOST_S, max(1, len(data) // 2)
        while size and time.monotonic() < end_s:
            for start in range(0, len(data), size):
                shorter = data[:start] + data[start + size :]
                if time.monotonic() < end_s and self._outcome(shorter)[1] == failure:
                    data = shorter
                    break
            else:
                size //= 2
        return data


def _most_memory_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def failure_of(error: Exception) -> str:
    """A kind of failure: what was asserted; or the exception, and where in our code."""
    if isinstance(error, AssertionError) and error.args:
        return str(error.args[0]).splitlines()[0]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_ours(frame.filename)]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "?"
    return f"{type(error).__name__} in {where}"


def _is_ours(filename: str) -> bool:
    return not {"canarysync", "campaigns"}.isdisjoint(Path(filename).parts)


def save(out: Path, name: str, failure: str, data: bytes) -> Path:
    """Keep a finding as a file, and tell the developer."""
    path = out / f"{name}-{hashlib.sha256(failure.encode()).hexdigest()[:8]}"
    path.write_bytes(data)
    shown = repr(data) if len(data) <= 300 else f"{data[:150]!r} … {len(data)} bytes"
    print(f"FINDING {name}: {failure}\n  {path}: {shown}", file=sys.stderr, flush=True)
    return path


def note_path(out: Path, name: str) -> Path:
    return out / f"{name}.now"


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where an engine starts from, and its dice."""

    seeds: Sequence[bytes]
    tokens: Sequence[bytes]
    mutate: Callable[[bytes, random.Random, Sequence[bytes], Sequence[bytes]], bytes]
    chance: random.Random


def by_mutation(campaign: Campaign, inputs: Inputs) -> None:
    corpus = list(inputs.seeds)
    known = {campaign.try_(seed) for seed in corpus}
    while not campaign.is_over():
        data = inputs.mutate(inputs.chance.choice(corpus), inputs.chance, inputs.tokens, corpus)
        outcome = campaign.try_(data)
        if outcome not in known and len(corpus) < _CORPUS_MOST:
            known.add(outcome)
            corpus.append(data)


def by_hypothesis(campaign: Campaign, inputs: Inputs) -> None:
    import hypothesis
    from hypothesis import strategies as st

    pieces = st.sampled_from(inputs.tokens) | st.sampled_from(inputs.seeds) | st.binary(max_size=4)
    made = st.binary() | st.text().map(str.encode) | st.lists(pieces, max_size=40).map(b"".join)
    unbridled = list(hypothesis.HealthCheck)

    @hypothesis.settings(max_examples=500, database=None, deadline=None, suppress_health_check=unbridled)
    @hypothesis.given(made)
    def some(data: bytes) -> None:
        hypothesis.target(float(len(repr(campaign.try_(data)))))

    while not campaign.is_over():
        hypothesis.seed(inputs.chance.getrandbits(64))(some)()


def by_atheris(campaign: Campaign, inputs: Inputs, at_the_end: Callable[[], None]) -> None:
    """Never returns: libFuzzer keeps the process to itself, so it ends from within."""
    atheris = importlib.import_module("atheris")
    corpus = campaign.out / f"{campaign.name}.corpus"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(inputs.seeds):
        (corpus / str(number)).write_bytes(seed)
    words = campaign.out / f"{campaign.name}.words"
    words.write_text("".join(map(_dictionary_line, inputs.tokens)))

    def one(data: bytes) -> None:
        campaign.try_(data)
        if campaign.is_over():
            at_the_end()
            os._exit(0)

    start = inputs.chance.getrandbits(31)
    options = [f"-dict={words}", "-max_len=65536", "-timeout=300", "-rss_limit_mb=0", f"-seed={start}"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def _dictionary_line(token: bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in token) + '"\n'
