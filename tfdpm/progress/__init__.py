"""Long work: its progress on the screen, and what is kept so that it can be resumed."""
