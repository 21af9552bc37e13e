"""Text output of every command: the terminal, standard streams, and the wording of exchanges."""
