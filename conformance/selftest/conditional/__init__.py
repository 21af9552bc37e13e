"""Conditional faults: each always-wrong fault under a condition on one or two factors, generated, sampled and tried."""
