"""The range coder of the applications, where pages of this folder find it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "applications"))
from _range_coder import Decoder, Encoder, counts_of

__all__ = ["Decoder", "Encoder", "counts_of"]
