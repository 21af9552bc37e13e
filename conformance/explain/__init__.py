"""What an invariant, a clause, a family or a case is about, for somebody who has just met its name."""
