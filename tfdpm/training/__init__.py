"""One fit: data sources, gradient epochs, proposed moves, online updates."""
