"""From the raw outcomes of many cells to one answer: one run file, waivers, baseline, gate. Pure functions on data."""
