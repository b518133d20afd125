"""Turn tests/benchmarks/densities.csv into tables and the figure of two pages of the site.

    python -m tests.benchmarks.learning_curves [--csv FILE] [--figure FILE]

The figure of ``docs/density_of_my_table.rst`` is ``docs/figures/learning_curves.png``.
"""

import argparse
import re
from pathlib import Path

import numpy as np

from tests.benchmarks.densities import error_of, read

RESULTS = Path(__file__).with_name("densities.csv")
TABLES = {"wine": "white wine", "magic": "MAGIC", "ccpp": "CCPP", "power100k": "power"}
ROWS = (50, 80, 150, 300, 700, 2000)
SHOWN = (50, 150, 700, 2000)  # in the table of the page; the figure has all
SIMPLE = {"gaussian": "Gaussian", "mixture, BIC": "mixture", "kernels": "kernels"}
FAMILIES = {
    "Gaussians": "gaussian",
    "mixtures": "mixture",
    "wide": "wide",
    "MAF": "maf",
    "splines": "nsf",
}


class Found:
    """The content of a csv, by table, number of rows and density."""

    def __init__(self, path=RESULTS):
        self.fits = read(path)

    def of(self, table, rows, density):
        """draw -> (nats, error, cpu, remark)."""
        return {
            key[2]: values
            for key, values in self.fits.items()
            if (key[0], key[1], key[3]) == (table, rows, density)
        }

    def nats(self, table, rows, density):
        """The mean over the draws; NaN where there is none."""
        return _mean([fit[0] for fit in self.of(table, rows, density).values()])

    def seconds(self, table, rows, density):
        return _mean([fit[2] for fit in self.of(table, rows, density).values()])

    def more(self, table, rows, other, density="FlowDensity"):
        """Return (the density's lead in nats on samples of both, its standard error, samples)."""
        one, two = self.of(table, rows, density), self.of(table, rows, other)
        apart = np.array([one[draw][0] - two[draw][0] for draw in sorted(one.keys() & two.keys())])
        return _mean(apart), error_of(apart), len(apart)

    def best_simple(self, table, rows):
        return max(SIMPLE, key=lambda name: self.nats(table, rows, name))

    def sizes(self, table):
        return [rows for rows in ROWS if self.of(table, rows, "FlowDensity")]


def _mean(values):
    return float(np.mean(values)) if len(values) else np.nan


def shown(mean, error, *_):
    """Format a difference; a dash if there is none."""
    return (
        ""
        if np.isnan(mean)
        else f"{mean:+.2f}"
        if np.isnan(error)
        else (f"{mean:+.2f}\u00a0±\u00a0{error:.2f}")
    )  # spaces that never break


def table_of(header, lines):
    """Return a simple table of reStructuredText."""
    widths = [max(map(len, column)) for column in zip(header, *lines)]
    rule = " ".join("=" * width for width in widths)

    def row(cells):
        return " ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip()

    return "\n".join([rule, row(header), rule, *map(row, lines), rule])


def beside_others(found):
    """FlowDensity's lead over others in nats, by table and rows."""
    header = ("table", "rows", "nats", "best simple density", "vine", "ARF", "zuko NSF")
    lines = []
    for table, title in TABLES.items():
        for rows in [rows for rows in SHOWN if rows in found.sizes(table)]:
            simple = found.best_simple(table, rows)
            lines.append(
                (
                    title,
                    f"{rows:,}",
                    f"{found.nats(table, rows, 'FlowDensity'):.2f}",
                    f"{SIMPLE[simple]} {shown(*found.more(table, rows, simple))}",
                    *(
                        shown(*found.more(table, rows, other)) or "\\-"
                        for other in ("vine", "ARF", "zuko NSF")
                    ),
                )
            )
    return table_of(header, lines)


def weights_of(found, rows):
    """Return mean weights of families in per cent, and the pool's lead over its best candidate.

    The weights are over all tables and draws; the lead has its standard error.
    """
    remarks = [fit[3] for table in TABLES for fit in found.of(table, rows, "FlowDensity").values()]
    shares = {family: [] for family in FAMILIES}
    for remark in remarks:
        weights = [
            (int(share), name)
            for share, name in re.findall(r"(\d+) % ([^,]+)", remark.split("; ")[1])
        ]
        for family, word in FAMILIES.items():
            shares[family].append(sum(share for share, name in weights if word in name.split()))
    above = np.array([float(re.search(r"pool ([-+.\d]+)", remark)[1]) for remark in remarks])
    return (
        {family: _mean(values) for family, values in shares.items()},
        _mean(above),
        error_of(above),
    )


def members(found):
    """The weights of families of candidates by number of rows, where all tables were fitted."""
    lines = []
    for rows in ROWS:
        if all(found.of(table, rows, "FlowDensity") for table in TABLES):
            shares, above, error = weights_of(found, rows)
            lines.append(
                (f"{rows:,}", *(f"{share:.0f} %" for share in shares.values()), shown(above, error))
            )
    return table_of(("rows", *FAMILIES, "pool above its best"), lines)


def sentences(found):
    """Return the page's sentences with their numbers, over all tables and numbers of rows."""
    places = [(table, rows) for table in TABLES for rows in found.sizes(table)]
    others = {
        "the best simple density": [found.best_simple(*place) for place in places],
        **{
            name: [kind] * len(places)
            for name, kind in (
                ("the vine copula", "vine"),
                ("the adversarial forest", "ARF"),
                ("zuko's spline flow", "zuko NSF"),
            )
        },
    }
    made = []
    for title, names in others.items():
        more = [found.more(*place, name)[0] for place, name in zip(places, names)]
        more = [value for value in more if not np.isnan(value)]
        made.append(
            f"at least {min(more):.2f}, typically {np.median(more):.1f} nats a row above {title}"
        )
    seconds = {
        rows: _mean(
            [
                found.seconds(table, rows, "FlowDensity")
                for table in TABLES
                if rows in found.sizes(table)
            ]
        )
        for rows in (50, 150, 700)
    }
    made.append(", ".join(f"{value:.1f} s at {rows} rows" for rows, value in seconds.items()))
    return made


def whole_tables(found):
    """FlowDensity's likelihood of whole tables, its best member's, and processor seconds."""
    lines = []
    for table, title in TABLES.items():
        rows = max(key[1] for key in found.fits if key[0] == table)
        ((nats, _, seconds, remark),) = found.of(table, rows, "FlowDensity").values()
        best = re.search(r"best member .* (-?[\d.]+), pool", remark)[1]
        lines.append((title, f"{rows:,}", f"{nats:.2f}", f"{float(best):.2f}", f"{seconds:.0f}"))
    return table_of(("table", "rows", "pool", "best member", "seconds"), lines)


def figure(found, path):
    """Nats against rows, a panel a table, as wide as the column of the site."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullLocator

    # Paul Tol's bright scheme; markers and dashes distinguish lines without colour.
    styles = {
        "FlowDensity": ("#4477AA", "o-", 2.4),
        "vine": ("#EE6677", "s-", 1.2),
        "ARF": ("#228833", "^-", 1.2),
        "zuko NSF": ("#AA3377", "D-", 1.2),
        "mixture, BIC": ("#66CCEE", "v--", 1.2),
        "kernels": ("#B8A500", "x--", 1.2),
        "gaussian": ("#777777", "+:", 1.2),
    }
    drawn, panels = plt.subplots(2, 2, figsize=(7.36, 6.2), layout="constrained")
    for ax, (table, title) in zip(panels.flat, TABLES.items()):
        sizes = found.sizes(table)
        ours = [found.nats(table, rows, "FlowDensity") for rows in sizes]
        for name, (color, style, width) in styles.items():
            points = np.array([(rows, found.nats(table, rows, name)) for rows in sizes]).T
            there = ~np.isnan(points[1])
            ax.plot(
                *points[:, there],
                style,
                color=color,
                linewidth=width,
                markersize=5,
                label=SIMPLE.get(name, name),
                zorder=3 if name == "FlowDensity" else 2,
            )
        reach = max(ours) - min(ours)
        ax.set(
            title=title,
            xscale="log",
            xlim=(45, 1.1 * max(map(max, map(found.sizes, TABLES)))),
            ylim=(min(ours) - 1.1 * reach, max(ours) + 0.12 * reach),
        )
        ax.set_xticks(sizes, [f"{rows:,}" for rows in sizes])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in panels[:, 0]:
        ax.set_ylabel("nats a row, new rows")
    for ax in panels[1]:
        ax.set_xlabel("rows fitted to")
    drawn.legend(
        *panels[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        frameon=False,
    )
    drawn.savefig(path, dpi=200)
    plt.close(drawn)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", type=Path, default=RESULTS)
    parser.add_argument("--figure", help="draw it here")
    options = parser.parse_args()
    found = Found(options.csv)
    for made in (beside_others, members, whole_tables):
        print(made.__doc__, made(found), sep="\n\n", end="\n\n")
    if options.figure:
        figure(found, options.figure)


if __name__ == "__main__":
    main()
