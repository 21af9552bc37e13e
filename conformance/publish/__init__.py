"""Reports of a run over cells: in the terminal, in Markdown, as JUnit XML and as one page that needs no network."""
