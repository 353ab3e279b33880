"""One module for each promise of speed, each measured against a named peer in the same run."""
