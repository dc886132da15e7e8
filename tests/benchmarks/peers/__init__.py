"""The tools people use today, in environments of their own, beside ours on the same input."""
