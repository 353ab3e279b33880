"""none: it ends with an exit code of its own."""

raise SystemExit(3)
