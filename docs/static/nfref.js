// Figures open at their full size; what scrolls sideways can be reached by the keyboard.
"use strict";

function enlarge() {
  for (const image of document.querySelectorAll("article img.enlarge, article .sphx-glr-single-img")) {
    if (image.closest("a")) continue;
    const link = document.createElement("a");
    link.href = image.currentSrc || image.src;
    link.className = "enlarged";
    image.replaceWith(link);
    link.append(image);
  }
}

function focusable() {
  const counts = {};   // so that no two regions of a page have one name
  for (const box of document.querySelectorAll(
    "article pre, article .formula, article .table-wrapper")) {
    const kind = box.matches(".formula") ? "formula" : box.matches("pre") ? "code or output" : "table";
    counts[kind] = (counts[kind] ?? 0) + 1;
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", `${kind} ${counts[kind]}`);
    } else if (box.hasAttribute("role")) {
      for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
    }
  }
}

// Names that the theme and the gallery leave out: landmarks, levels of captions, targets of small
// pictures.
const LANDMARKS = { "aside.sidebar-drawer": "pages", "aside.toc-drawer": "contents of this page",
  "form.sidebar-search-container": "search" };

function named() {
  for (const [place, name] of Object.entries(LANDMARKS)) {
    document.querySelector(place)?.setAttribute("aria-label", name);
  }
  for (const caption of document.querySelectorAll("[role=heading]:not([aria-level])")) {
    caption.setAttribute("aria-level", "2");
  }
  for (const box of document.querySelectorAll(".sphx-glr-thumbcontainer")) {
    const title = box.querySelector(".sphx-glr-thumbnail-title")?.textContent;
    for (const link of box.querySelectorAll("a")) {
      if (title) link.setAttribute("aria-label", title);
    }
  }
}

// The scoreboard: a colour for each verdict, which its words say too, and a filter of its rows.
function scoreboard() {
  const board = document.querySelector("section#scoreboard");
  if (!board) return;
  const rows = [...board.querySelectorAll("tbody tr")].filter((row) => row.cells.length > 8);
  for (const row of rows) {
    row.closest("table").classList.add("verdicts");
    for (const cell of [...row.cells].slice(2)) {
      const text = cell.textContent.trim();
      cell.classList.add(text === "yes" || text === "ok" ? "verdict-yes" : text === "–" ? "verdict-none"
        : text.split(", ").every((one) => one.startsWith("?")) || text === "inconclusive"
          ? "verdict-open" : "verdict-failed");
    }
  }
  const label = document.createElement("label"), input = document.createElement("input");
  const count = document.createElement("output");
  Object.assign(input, { type: "search", placeholder: "coupling, float32, failed, round_trip ..." });
  label.className = "filter";
  label.append("Rows that hold all of these words: ", input, count);
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
      shown += !row.hidden;
    }
    count.textContent = ` ${shown} of ${rows.length}`;
  };
  input.addEventListener("input", filter);
  filter();
  board.querySelector("h1").after(label);
}

document.addEventListener("DOMContentLoaded", () => {
  named();
  scoreboard();
  enlarge();
  for (const image of document.querySelectorAll("article a.enlarged")) {
    const box = Object.assign(document.createElement("div"), { className: "figure-wrapper" });
    image.replaceWith(box);
    box.append(image);
  }
  focusable();
  addEventListener("resize", focusable);
  addEventListener("load", focusable);
});
