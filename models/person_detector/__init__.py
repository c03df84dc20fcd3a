"""The person detector: a published network's own format made into ONNX, at `models build`."""
