"""Reports: results and findings on the terminal, as Markdown, as JUnit XML and as one HTML page."""
