"""The outcome of an evaluation for programs that accept or refuse a model: requirements, JUnit XML and SARIF."""
