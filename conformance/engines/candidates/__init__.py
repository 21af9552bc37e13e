"""Release candidates: wheels that cells test in place of locked versions. Images and lock files stay unchanged."""
