"""Standalone scripts for single cases: readable ones where libraries are known to be wrong, and bundles of the check itself."""
