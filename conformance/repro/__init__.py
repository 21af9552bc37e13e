"""Standalone scripts for single cases: hand-written ones where libraries are known to fail, and bundles of the check itself."""
