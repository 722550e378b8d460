"""`make chaos`: nodes on one database that are killed at random, and a checker that finds what that may have broken."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.checker import broken
from tests.chaos.faults import FAULTS, VARIABLE
from tests.chaos.run import Plan, place_for, quiet_logs, run, summary

SHOWN = 5


def main() -> int:
    """Exit status 1 when an invariant was broken."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--kills", type=int, default=200, help="how many processes are killed with -9 (default: 200)")
    parser.add_argument("--nodes", type=int, default=4, help="how many processes there are at a time (default: 4)")
    parser.add_argument("--pace", type=float, default=0.5, help="seconds from one trouble to the next (default: 0.5)")
    parser.add_argument("--longest", type=float, default=900, help="seconds of trouble at most (default: 900)")
    parser.add_argument("--seed", type=int, help="the same choices as in a run that printed this seed")
    parser.add_argument(
        "--fault",
        choices=sorted(FAULTS),
        default=os.environ.get(VARIABLE),
        help=f"break the scheduler on purpose in this way (default: {VARIABLE})",
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs (it is kept on a violation)")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    databases = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    plans = [
        Plan(name, options.kills, seed, options.nodes, options.pace, options.longest, options.fault)
        for name in databases
    ]
    with quiet_logs():
        return max(_one(plan, options.keep) for plan in plans)


def _one(plan: Plan, keep: bool) -> int:
    out = sys.stdout
    out.write(f"{plan.database}: {plan.nodes} processes, {plan.kills} kills, seed {plan.seed}\n")
    out.flush()
    folder = Path(tempfile.mkdtemp(prefix="scheduler-chaos-"))
    began = time.monotonic()
    with place_for(plan.database, folder) as place:
        evidence = asyncio.run(run(plan, place))
    found = broken(evidence)
    out.write(f"{summary(evidence)}\n{time.monotonic() - began:.0f} s, {len(found)} invariants broken\n")
    for name, sentences in found.items():
        out.write(f"{name}: {len(sentences)}\n" + "".join(f"  {sentence}\n" for sentence in sentences[:SHOWN]))
    if found or keep:
        out.write(f"logs: {folder}\n")
    else:
        shutil.rmtree(folder)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
