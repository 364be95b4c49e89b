"""Questions about a fitted model: where clusters came from, how sure K is, what changed."""
