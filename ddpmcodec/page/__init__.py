"""Page to look at: streams as one self-contained HTML file. May import everything below the public list."""
