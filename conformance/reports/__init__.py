"""Reports: results on the terminal, in Markdown, in JUnit XML, and on an HTML page."""
