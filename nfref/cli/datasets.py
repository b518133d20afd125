"""``nfref datasets``: the built-in data."""

import nfref
from nfref.cli.data import TOY_ROWS
from nfref.cli.inputs import check_there


def datasets() -> None:
    """List the built-in data.

    The floor is the entropy in nats: no model has a lower expected negative log-likelihood.

    example:
      nfref datasets
    """
    check_there("them")
    values, columns = nfref.datasets.wine()
    print(f"{'name':<18}{'rows':>6}{'columns':>9}{'floor':>8}  description")
    print(
        f"{'wine':<18}{len(values):>6}{len(columns):>9}{'':>8}  "
        "white wines: physicochemical measurements, copies dropped"
    )
    for toy in nfref.datasets.TOYS.values():
        floor = "" if toy.entropy is None else f"{toy.entropy:.3f}"
        print(f"{toy.name:<18}{TOY_ROWS:>6}{toy.dim:>9}{floor:>8}  {toy.description}")
