"""The name of a model's file in its artifact."""

MODEL_FILE = "model.safetensors"
