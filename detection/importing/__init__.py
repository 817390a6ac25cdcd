"""Import of published weights as a model folder: the authors' Pelee, and the choice of the reader by the file."""
