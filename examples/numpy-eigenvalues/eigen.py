import numpy


def eigenvalues(matrix):
    return numpy.linalg.eigvalsh(matrix)
