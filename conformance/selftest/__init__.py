"""Self-test of the suite with faulty partners: each fault must be caught, and no flawless partner may be accused."""
