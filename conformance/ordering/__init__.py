"""How the order of streams is seen: latches, controls, blame, and the pieces of work that are observed."""
