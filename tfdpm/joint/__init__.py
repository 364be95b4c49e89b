"""Joint training of an autoencoder and DeepDPM."""
