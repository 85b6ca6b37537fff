"""From a trained model to a static one: stored, loaded, written as ONNX."""
