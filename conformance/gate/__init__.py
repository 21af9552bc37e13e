"""The gate: compare a run with its baseline, apply waivers, and decide the exit code."""
