"""The programs of the corpus hang, crash and eat memory: they are run, and never imported."""

collect_ignore_glob = ["programs/*"]
