"""Let Hypothesis look for longer for something after which a file is lost, or a score is created twice.

    python -m campaigns.statemachine --examples 5000

Each example is up to --steps rules (tests/system/test_state_machine.py). What it finds it makes as short as it can, and
prints; then it ends with 1.
"""

from __future__ import annotations

import argparse
import logging
import time

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.system.test_state_machine import TALLY, Sync


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=20, help="the most rules of one example")
    arguments = parser.parse_args()
    logging.getLogger("canarysync").addHandler(logging.NullHandler())  # what is on hold says so, thousands of times
    started_s = time.monotonic()
    run_state_machine_as_test(
        Sync,
        settings=settings(
            max_examples=arguments.examples,
            stateful_step_count=arguments.steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    told = ", ".join(
        f"{what} {TALLY[what]}" for what in ("examples", "passes", "crashes", "troubles", "holds", "requeued", "files")
    )
    print(f"{told}, lost 0, twice 0, {time.monotonic() - started_s:.0f} s")


if __name__ == "__main__":
    main()
