"""Embeddings as the database keeps them."""

from typing import Any

import numpy as np
from pgvector import Bit, Vector

from deployments.contracts import EMBEDDING_SIZE, FloatArray


def code_of(vector: FloatArray) -> Bit:
    """`code_bytes` as a column's value."""
    return Bit(code_bytes(vector))


def code_bytes(vector: FloatArray) -> bytes:
    """The signs of the first 512 numbers, a bit each: 1 for a number above 0."""
    signs = np.zeros(EMBEDDING_SIZE, bool)
    signs[: len(vector)] = vector[:EMBEDDING_SIZE] > 0
    return np.packbits(signs).tobytes()


def stored(vector: FloatArray) -> Vector:
    """float32 [D] as a column's value, with every bit of its numbers."""
    return Vector(vector)


def loaded(vector: Any) -> FloatArray:
    """A column's value as float32 [D]."""
    array: FloatArray = vector.to_numpy().astype(np.float32)
    return array


def widest_distance(horizon: float) -> int:
    """The Hamming distance at which two codes of 512 numbers estimate a cosine of `horizon`.

    For random directions, two numbers differ in sign with a probability of the vectors' angle over
    pi (Charikar, Similarity estimation techniques from rounding algorithms, STOC 2002).
    """
    return int(np.ceil(EMBEDDING_SIZE * np.arccos(horizon) / np.pi))
