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

document.addEventListener("DOMContentLoaded", () => {
  named();
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
