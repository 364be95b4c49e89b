"""Named data sets: embedded, downloaded, and imbalanced versions of them."""
