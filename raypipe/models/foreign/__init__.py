"""Models of other programs: folders of transformers, ONNX files, models of RobustBench, and Python functions."""
