"""Draws ``kernels_block.png`` of ``docs/kernels.rst``: ``python docs/figures/kernels_block.py``."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, Rectangle

VALUE, TAPE, BACK, TEXT = "#2f6f9f", "#8a8a8a", "#b5532a", "#222222"


def box(axes, x, y, width, height, text, color, size=9.0):
    axes.add_patch(
        Rectangle((x, y), width, height, facecolor=color + "22", edgecolor=color, lw=1.2)
    )
    axes.text(
        x + width / 2,
        y + height / 2,
        text,
        ha="center",
        va="center",
        fontsize=size,
        color=TEXT,
        linespacing=1.35,
    )


def arrow(axes, start, end, color, style="-|>", dashed=False):
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle=style,
            mutation_scale=11,
            color=color,
            lw=1.3,
            linestyle="--" if dashed else "-",
            shrinkA=0,
            shrinkB=0,
        )
    )


def main():
    figure, axes = plt.subplots(figsize=(7.36, 5.2), layout="constrained")
    axes.set(xlim=(-0.4, 110.4), ylim=(0, 78))
    axes.axis("off")
    instructions = ((25, 0), (48, 1), (72, 7))

    # Top row: the chain from data to latent.
    y, height = 58, 13
    middle = y + height / 2
    axes.text(
        0,
        75,
        "forward through the chain: u and log_det change in place",
        fontsize=10,
        color=VALUE,
        va="center",
        weight="bold",
    )
    box(axes, 0, y, 17, height, "x  (N, D)\ngather_block\nu (D, 128)", VALUE)
    for x, number in instructions:
        box(axes, x, y, 16, height, f"instruction {number}\nCOUPLING", VALUE)
    box(axes, 93, y, 17, height, "z, log_det,\nlog_prob\nof rows", VALUE)
    for start, end in ((17, 25), (41, 48), (64, 66), (70, 72), (88, 93)):
        arrow(axes, (start, middle), (end, middle), VALUE)
    axes.text(21, middle + 1, "u", ha="center", va="bottom", color=VALUE)
    axes.text(68, middle, "...", ha="center", va="center", fontsize=12, color=VALUE)

    # Middle row: the output of one instruction on the tape.
    y, height = 31, 12
    axes.text(
        0, 47, "the tape of instruction 1", fontsize=10, va="center", color=TAPE, weight="bold"
    )
    for x, width, text in (
        (0, 17, "what it reads\n(stay + C, 128)"),
        (19, 17, "hidden layers\n(64, 128) each"),
        (38, 19, "raw outputs\n(P x change, 128)"),
        (59, 20, "the transformer's\n(E x change, 128)"),
    ):
        box(axes, x, y, width, height, text, TAPE, 8.5)
    axes.text(
        80.5,
        y + height / 2,
        "affine: slope e,\nproduct q, ds/dr\nspline: bin, its sizes,\nslopes, place in it",
        fontsize=8.5,
        va="center",
        color=TAPE,
    )
    arrow(axes, (54, 58), (54, 43), TAPE, dashed=True)
    axes.text(55, 50, "writes", fontsize=9, color=TAPE, va="center")

    # Bottom row: back.
    y, height = 7, 13
    middle = y + height / 2
    axes.text(
        0,
        24.5,
        "back, in the opposite order: g changes in place",
        fontsize=10,
        color=BACK,
        va="center",
        weight="bold",
    )
    box(axes, 0, y, 17, height, "scatter_block\ng_x  (N, D)", BACK)
    for x, number in instructions:
        box(axes, x, y, 16, height, f"instruction {number}\ncoupling_vjp", BACK)
    box(axes, 93, y, 17, height, "g = z / N\ng_log_det =\n-1 / N", BACK)
    for start, end in ((25, 17), (48, 41), (66, 64), (72, 70), (93, 88)):
        arrow(axes, (start, middle), (end, middle), BACK)
    axes.text(21, middle + 1, "g", ha="center", va="bottom", color=BACK)
    axes.text(68, middle, "...", ha="center", va="center", fontsize=12, color=BACK)
    arrow(axes, (63, 31), (63, 20), TAPE, dashed=True)
    axes.text(64, 27.8, "reads", fontsize=9, color=TAPE, va="center")
    arrow(axes, (108, 58), (108, 20), BACK)
    axes.text(
        0,
        2,
        "every vjp also adds to g_theta, the partial sum of these blocks of rows;\n"
        "then the next block of 128 rows starts",
        fontsize=9,
        color=BACK,
        va="center",
    )
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=200)  # twice 736 pixels


if __name__ == "__main__":
    main()
