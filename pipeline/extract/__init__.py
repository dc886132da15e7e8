"""Archives to pairs: records, HTML and WAT links, charsets, URLs, captions."""
