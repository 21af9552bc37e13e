"""Findings: results of one root cause put together, with the accused library, the evidence, and what is known upstream."""
