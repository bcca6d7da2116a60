"""Fuzzing of all that reads bytes from outside: score files, answers, sidecars, configurations.

    python -m campaigns.fuzz --minutes 60 --jobs 2
    python -m campaigns.fuzz --engine atheris --targets json,yaml --out findings

Each target (TARGETS) is a property that has to hold for whatever bytes; it runs in a process of its own, as the C
libraries below may take the interpreter with them. Engines: `mutation` (examples and tokens, changed, spliced and
repeated; what is answered in a new way is kept to start from), `hypothesis`, and `atheris` (by coverage; optional:
pip install atheris). YAML is also held against py-yaml12, where that is installed. A finding is minimised and saved;
the exit code is 1 if there are any.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from campaigns.fuzz_engines import (
    NOTE,
    Campaign,
    Check,
    Inputs,
    by_atheris,
    by_hypothesis,
    by_mutation,
    note_path,
    save,
)

ENGINES = ("mutation", "hypothesis", "atheris")
MEMORY_MOST_BYTES = 4 << 30
PATIENCE_S = 60.0
"""How long after its time a process is waited for."""


@dataclass(frozen=True, slots=True)
class Target:
    """One property: ``module.function`` of bytes, and the names of its seeds and tokens in fuzz_inputs."""

    module: str
    function: str
    seeds: str
    tokens: str = "JSON_TOKENS"
    share: int = 2
    """Of the time, in proportion to the others."""


TARGETS = {
    "json": Target("fuzz_readers", "json_is_read_as_by_rfc_8259", "json_texts", share=4),
    "yaml": Target("fuzz_readers", "yaml_is_read_as_by_others", "yaml_texts", "YAML_TOKENS", share=8),
    "json-as-yaml": Target("fuzz_readers", "json_is_read_alike_as_yaml", "json_texts", share=3),
    "score": Target("fuzz_readers", "a_score_is_sent_as_written", "scores", share=5),
    "privacy": Target("fuzz_readers", "no_problem_quotes_a_value", "yaml_texts", "YAML_TOKENS", share=4),
    "listing": Target("fuzz_answers", "a_listing_is_understood_or_none", "listings"),
    "answer": Target("fuzz_answers", "an_answer_means_what_the_table_says", "replies"),
    "retry-after": Target("fuzz_answers", "a_pause_is_bounded", "pauses", "PAUSE_TOKENS"),
    "token": Target("fuzz_answers", "a_token_is_usable_or_none", "token_answers"),
    "sidecar": Target("fuzz_answers", "a_sidecar_is_ours_or_left_alone", "sidecars"),
    "recovery": Target("fuzz_answers", "a_sidecar_is_taken_in_or_passed_over", "lost_sidecars", "SIDECAR_TOKENS", 3),
    "instant": Target("fuzz_answers", "an_instant_is_read_as_by_datetime", "instants", "INSTANT_TOKENS"),
    "quantity": Target("fuzz_answers", "a_quantity_is_exact", "quantities", "INSTANT_TOKENS", share=1),
    "config": Target("fuzz_answers", "a_config_loads_or_says_why", "configs", "CONFIG_TOKENS", share=4),
    "display": Target("fuzz_answers", "nothing_harmful_is_shown", "yaml_texts", "YAML_TOKENS", share=1),
}


# --- one target, in this process -------------------------------------------------------------------------


def fuzz_one(arguments: argparse.Namespace) -> None:
    """Run one target in a process that has nothing else to do, and print what came of it as its last line."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MOST_BYTES, MEMORY_MOST_BYTES))
    name, end_s = arguments.one, time.monotonic() + arguments.seconds
    campaign = Campaign(name, check_of(name, arguments.engine), arguments.out, end_s)

    def report() -> None:
        print(json.dumps([campaign.executions, list(campaign.findings)]), flush=True)

    if arguments.engine == "atheris":
        return by_atheris(campaign, inputs_of(name, arguments.seed), report)
    run = by_hypothesis if arguments.engine == "hypothesis" else by_mutation
    run(campaign, inputs_of(name, arguments.seed))
    report()


def check_of(name: str, engine: str = "mutation") -> Check:
    """The property of a target; for atheris, with canarysync loaded so that it tells where it has been."""
    target = TARGETS[name]
    if engine == "atheris":
        with importlib.import_module("atheris").instrument_imports(include=["canarysync"]):
            module = _module(target.module)
    else:
        module = _module(target.module)
    check: Check = getattr(module, target.function)
    return check


def inputs_of(name: str, seed: int) -> Inputs:
    target, source = TARGETS[name], _module("fuzz_inputs")
    return Inputs(getattr(source, target.seeds)(), getattr(source, target.tokens), source.mutate, random.Random(seed))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"campaigns.{name}")


# --- all targets, each in a process of its own -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one target."""

    name: str
    executions: int
    seconds: float
    findings: Sequence[str]


def run_apart(name: str, arguments: argparse.Namespace, seconds: float) -> Row:
    options = ["--engine", arguments.engine, "--out", str(arguments.out), "--seed", str(arguments.seed)]
    command = [sys.executable, "-m", "campaigns.fuzz", "--one", name, "--seconds", str(seconds), *options]
    started_s = time.monotonic()
    with (arguments.out / f"{name}.log").open("w") as log:
        home = {**os.environ, "TMPDIR": str(arguments.out.resolve())}  # whatever a crash leaves, it leaves there
        program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=home)
        try:
            told, _ = program.communicate(timeout=seconds + PATIENCE_S)
        except subprocess.TimeoutExpired:
            program.kill()
            told, _ = program.communicate()
    took_s = time.monotonic() - started_s
    if program.returncode == 0 and told:
        executions, findings = json.loads(told.splitlines()[-1])
        return Row(name, executions, took_s, findings)
    return _row_of_the_dead(name, arguments.out, program.returncode, took_s)


def _row_of_the_dead(name: str, out: Path, code: int, seconds: float) -> Row:
    """The process crashed, or never came to an end: what it was at then is the finding."""
    note = note_path(out, name).read_bytes() if note_path(out, name).exists() else bytes(NOTE.size)
    executions, length = NOTE.unpack_from(note)
    failure = f"the process ended with {code}"
    save(out, name, failure, note[NOTE.size : NOTE.size + length])
    return Row(name, executions, seconds, [failure])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="of all processes together")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes at once")
    parser.add_argument("--engine", choices=ENGINES, default="mutation")
    parser.add_argument("--targets", default=",".join(TARGETS), help="which, with commas between")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="the folder for findings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.one:
        return fuzz_one(arguments)
    names = arguments.targets.split(",")
    unit_s = arguments.minutes * 60 / sum(TARGETS[name].share for name in names)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        rows = list(pool.map(lambda name: run_apart(name, arguments, unit_s * TARGETS[name].share), names))
    print(f"{'target':<14}{'executions':>12}{'seconds':>9}  findings")
    for row in rows:
        print(f"{row.name:<14}{row.executions:>12,}{row.seconds:>9.0f}  {len(row.findings) or '-'}")
        print("".join(f"    {failure}\n" for failure in row.findings), end="")
    sys.exit(1 if any(row.findings for row in rows) else 0)


if __name__ == "__main__":
    main()
