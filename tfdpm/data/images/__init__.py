"""Images: reading, augmentation, multi-crop views."""
