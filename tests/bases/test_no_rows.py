"""Every base takes batches without rows, and keeps the dtype of its rows."""

import numpy as np
import pytest

import nfref
from nfref.bases.base import Base

SORTED = nfref.GenerativeSort(nfref.StandardNormal(2))
POSITIVE = nfref.GenerativeAbs(nfref.StandardNormal(2))
BASES = [
    POSITIVE,
    nfref.InferenceAbs(POSITIVE),
    nfref.ArgmaxFlow(nfref.StandardNormal(6), 3, nfref.RealNVP(6, 2, (4,), context_dim=6)),
    nfref.CentredNormal(4, 2),
    nfref.DiscretisedLogistic(2),
    nfref.Laplace(2),
    nfref.Logistic(2),
    nfref.MaskedFlow(2, 3),
    nfref.DiagonalNormal(2),
    nfref.FullNormal(2),
    nfref.NormalMixture(2, 3),
    nfref.Product([nfref.StandardNormal(1), nfref.Laplace(1)]),
    SORTED,
    nfref.InferenceSort(SORTED),
    nfref.InferenceMax(nfref.StandardNormal(1), nfref.GenerativeAbs(nfref.StandardNormal(1))),
    nfref.StandardNormal(2),
    nfref.StudentT(2),
    nfref.Uniform([0, 0], [1, 2]),
    nfref.UniformSphere(2),
    nfref.VonMises(2),
    nfref.VonMisesFisher(2),
]


def test_every_base_is_here():
    public = [getattr(nfref, name) for name in nfref.__all__]
    kinds = {kind for kind in public if isinstance(kind, type) and issubclass(kind, Base)}
    assert kinds <= {type(base) for base in BASES}


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_any_number_of_rows_of_either_dtype(base, rows):
    params = base.init(np.random.default_rng(0))
    z = base.sample(params, np.random.default_rng(1), rows)
    assert z.shape == (rows, base.dim)
    if isinstance(base, nfref.ArgmaxFlow):
        assert base.lower_bound(params, z, np.random.default_rng(2)).shape == (rows,)
        return
    for dtype in (np.float32, np.float64):
        found = base.log_prob(params, z.astype(dtype))
        assert found.shape == (rows,) and found.dtype == dtype
        assert np.isfinite(found).all()
