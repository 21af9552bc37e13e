"""The suite tested by broken partners: every fault has to be caught, and no flawless partner accused."""
