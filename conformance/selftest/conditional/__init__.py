"""Conditional faults: each fault is generated with a condition on one or two factors, sampled, and tried."""
