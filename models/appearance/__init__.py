"""Our own appearance network: people drawn here, and the training that learns from them."""
