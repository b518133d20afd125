"""Draws ``kernels_block.png`` of ``docs/kernels.rst``: ``python docs/figures/kernels_block.py``."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, Rectangle

VALUE, TAPE, BACK, TEXT = "#2f6f9f", "#8a8a8a", "#b5532a", "#222222"


def box(axes, x, y, width, height, text, color, size=9.0):
    axes.add_patch(Rectangle((x, y), width, height, facecolor=color + "22", edgecolor=color,
                             lw=1.2))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size,
              color=TEXT, linespacing=1.35)


def arrow(axes, start, end, color, style="-|>", dashed=False):
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle=style, mutation_scale=11, color=color,
                                   lw=1.3, linestyle="--" if dashed else "-", shrinkA=0, shrinkB=0))


def main():
    figure, axes = plt.subplots(figsize=(11, 6.2))
    axes.set(xlim=(0, 110), ylim=(0, 62))
    axes.axis("off")

    # Top row: the chain from data to latent.
    y, height = 46, 9
    box(axes, 1, y, 13, height, "x  (N, D)\nrows as given", VALUE)
    steps = [(24, "instruction 0\nCOUPLING"), (46, "instruction 1\nCOUPLING"),
             (75, "instruction 7\nCOUPLING")]
    for x, text in steps:
        box(axes, x, y, 15, height, text, VALUE)
    box(axes, 96, y, 13, height, "z, log_det\nlog_prob of rows", VALUE, 8.5)
    arrow(axes, (14, y + 4.5), (24, y + 4.5), VALUE)
    axes.text(19, y + 5.5, "gather_block\nu (D, 128)", ha="center", va="bottom", fontsize=8,
              color=VALUE)
    arrow(axes, (39, y + 4.5), (46, y + 4.5), VALUE)
    axes.text(42.5, y + 5.5, "u", ha="center", va="bottom", fontsize=9, color=VALUE)
    arrow(axes, (61, y + 4.5), (65, y + 4.5), VALUE)
    axes.text(68, y + 4.5, "...", ha="center", va="center", fontsize=12, color=VALUE)
    arrow(axes, (71, y + 4.5), (75, y + 4.5), VALUE)
    arrow(axes, (90, y + 4.5), (96, y + 4.5), VALUE)
    axes.text(1, 59, "forward through the chain: u and log_det change in place", fontsize=9.5,
              color=VALUE, va="center", weight="bold")

    # Middle row: what one instruction leaves on the tape.
    y, height = 25, 10
    parts = [(19, 13.5, "what it reads\n(stay + C, 128)"),
             (33.5, 12.5, "hidden layers\n(64, 128) each"),
             (47, 14.5, "raw outputs\n(P x change, 128)"),
             (62.5, 15, "the transformer's\n(E x change, 128)")]
    for x, width, text in parts:
        box(axes, x, y, width, height, text, TAPE, 8)
    axes.text(17.5, y + height / 2, "the tape of\ninstruction 1", fontsize=9.5, ha="right",
              va="center", color=TAPE, weight="bold")
    axes.text(79, y + height / 2, "affine: slope e, product q,\n            ds/dr\n"
              "spline: bin, its sizes, its\n            slopes, the place in it", fontsize=8,
              va="center", color=TAPE)
    arrow(axes, (53.5, 46), (53.5, 35), TAPE, dashed=True)
    axes.text(54.5, 40.5, "writes", fontsize=8.5, color=TAPE, va="center")

    # Bottom row: back.
    y, height = 7, 9
    box(axes, 1, y, 13, height, "g_x  (N, D)", BACK)
    for x, number in ((24, 0), (46, 1), (75, 7)):
        box(axes, x, y, 15, height, f"instruction {number}\ncoupling_vjp", BACK)
    box(axes, 96, y, 13, height, "g = z / N\ng_log_det = -1 / N", BACK, 7.5)
    arrow(axes, (24, y + 4.5), (14, y + 4.5), BACK)
    axes.text(19, y + 5.5, "scatter_block", ha="center", va="bottom", fontsize=8, color=BACK)
    arrow(axes, (46, y + 4.5), (39, y + 4.5), BACK)
    axes.text(42.5, y + 5.5, "g", ha="center", va="bottom", fontsize=9, color=BACK)
    arrow(axes, (65, y + 4.5), (61, y + 4.5), BACK)
    axes.text(68, y + 4.5, "...", ha="center", va="center", fontsize=12, color=BACK)
    arrow(axes, (75, y + 4.5), (71, y + 4.5), BACK)
    arrow(axes, (96, y + 4.5), (90, y + 4.5), BACK)
    arrow(axes, (53.5, 25), (53.5, 16), TAPE, dashed=True)
    axes.text(54.5, 20.5, "reads", fontsize=8.5, color=TAPE, va="center")
    arrow(axes, (102.5, 46), (102.5, 16), BACK)
    axes.text(1, 20.5, "back, in the opposite order:\ng changes in place", fontsize=9.5, color=BACK,
              va="center", weight="bold")
    axes.text(53.5, 2, "every vjp also adds to g_theta, the partial sum of these blocks of rows; "
              "then the next block of 128 rows starts", ha="center", fontsize=9, color=BACK)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main()
