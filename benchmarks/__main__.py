"""Measures every promise: ``python -m benchmarks [--json FILE] [NAME…]``. Exits 1 if one is broken."""

import argparse
import json
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks._measurement import Measurement


def find_benchmarks() -> list[str]:
    """The modules beside this one that measure something."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def print_table(measurements: list[Measurement]) -> None:
    """One row for each promise."""
    table = Table("promise", "measured", "spread", "limit", "of limit", "peer", "peer needs", "ok")
    for m in measurements:
        table.add_row(
            m.promise,
            f"{m.measured:.3g} {m.unit}",
            f"{m.spread[0]:.3g} to {m.spread[1]:.3g}",
            f"{m.limit:g}",
            f"{m.measured / m.limit:.0%}" if m.limit else "",  # nothing at all is promised: a share means nothing
            m.peer,
            f"{m.peer_measured:.3g} {m.peer_unit}",
            "yes" if m.ok else "NO",
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def main() -> None:
    """Measures, prints, and writes the numbers where asked to."""
    names = find_benchmarks()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(names)}; all without any")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(names)):
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(names)}")
    measurements: list[Measurement] = []
    for name in arguments.names or names:
        print(f"measuring {name} …", file=sys.stderr)
        found = import_module(f"benchmarks.{name}").measure()
        measurements += found if isinstance(found, list) else [found]
    print_table(measurements)
    if arguments.json:
        from triage.files import write_atomic

        rows = [asdict(m) | {"ok": m.ok} for m in measurements]
        write_atomic(arguments.json, json.dumps({"schema_version": 1, "benchmarks": rows}, indent=2) + "\n")
    sys.exit(0 if all(m.ok for m in measurements) else 1)


if __name__ == "__main__":
    main()
