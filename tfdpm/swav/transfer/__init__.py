"""What an encoder is worth on other tasks: images with several labels, and detection."""
