"""Methods that learn features from the views that SwAV has, [SwAV] section 4.3."""
