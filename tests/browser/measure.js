// What is wrong with the layout of the open page, as a list of sentences.
() => {
  const problems = new Set();
  const visible = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && e.getBoundingClientRect().width > 1;
  const name = (e) => e.tagName.toLowerCase() + "." + String(e.className.baseVal ?? e.className).slice(0, 60);
  const text = (e) => `"${(e.innerText || e.getAttribute("aria-label") || name(e)).trim().slice(0, 40)}"`;
  const width = document.documentElement.clientWidth;
  const scrolls = (e) => {
    for (let up = e.parentElement; up && up !== document.body; up = up.parentElement)
      if (/auto|scroll|hidden|clip/.test(getComputedStyle(up).overflowX)) return up;
    return null;
  };

  if (document.documentElement.scrollWidth > width + 1) {
    const wide = [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > width + 1 && !scrolls(e));
    problems.add(`is ${document.documentElement.scrollWidth} px wide: ${wide.slice(0, 3).map(name).join(" | ")}`);
  }

  const lines = (e) => {
    const range = document.createRange();
    range.selectNodeContents(e);
    return [...range.getClientRects()].filter((box) => box.width > 1 && box.height > 1);
  };
  // Labels and values: none may overlap another, stick out of its box, or be cut off.
  const parts = [...document.querySelectorAll(
    "label, .readonly, dt, dd, td, th, h2, h3, .rc-timeline li > *, .rc-banner h2, .rc-banner p, .rc-check > *, .rc-item, .rc-metric > *")].filter(visible);
  const boxes = new Map(parts.map((e) => {
    // A part that cuts its text off, such as a headline of three lines, ends at its own edge.
    if (getComputedStyle(e).overflow !== "visible") return [e, [e.getBoundingClientRect()]];
    const hidden = [...e.querySelectorAll(".rc-hidden")].flatMap(lines);
    const covers = (box) => hidden.some((other) => other.left === box.left && other.top === box.top);
    return [e, lines(e).filter((box) => !covers(box))];
  }));
  const overlap = (a, b) => a.left < b.right - 2 && b.left < a.right - 2 && a.top < b.bottom - 2 && b.top < a.bottom - 2;
  for (const group of document.querySelectorAll(".field-row, .form-row, tr, dl, .rc-timeline li, .rc-banner, .rc-check, .rc-metric")) {
    const inside = parts.filter((e) => group.contains(e)).slice(0, 60);
    inside.forEach((a, i) => inside.slice(i + 1).forEach((b) => {
      if (!a.contains(b) && !b.contains(a) && boxes.get(a).some((x) => boxes.get(b).some((y) => overlap(x, y))))
        problems.add(`overlaps: ${text(a)} and ${text(b)}`);
    }));
  }
  for (const [e, inside] of boxes) {
    // A row of a list is a card on a phone. On a desktop, the list scrolls.
    const card = width < 1024 && e.closest("#result_list tr");
    if (!card && (scrolls(e) || e.querySelector(".rc-scroll, pre"))) continue;
    const edge = (card || e).getBoundingClientRect().right + 2;
    if (inside.some((box) => box.right > edge)) problems.add(`sticks out of its box: ${text(e)}`);
  }
  for (const e of document.querySelectorAll("time, .rc-id, .rc-label, .rc-number")) {
    const tops = new Set(lines(e).map((box) => Math.round(box.top / 8)));
    if (visible(e) && tops.size > 2) problems.add(`wraps over ${tops.size} lines: ${text(e)}`);
  }

  // A desktop has room for every column, and nothing is cut off without a way to read the rest.
  if (width >= 1024)
    for (const e of document.querySelectorAll("#content .rc-scroll, #changelist-form .simplebar-content-wrapper"))
      if (visible(e) && e.scrollWidth > e.clientWidth + 1) problems.add(`scrolls sideways: ${e.scrollWidth} px in ${e.clientWidth} px`);
  for (const e of document.querySelectorAll(":is(#content, #header-inner) :not(option, select)")) {
    const { overflow, textOverflow, webkitLineClamp } = getComputedStyle(e);
    const cuts = overflow !== "visible" && (textOverflow === "ellipsis" || webkitLineClamp !== "none");
    if (cuts && e.tagName !== "INPUT" && visible(e) && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 2))
      problems.add(`cuts its text off: ${text(e)}`);
  }
  for (const e of document.querySelectorAll("input[placeholder]")) {
    const { font, paddingLeft, paddingRight } = getComputedStyle(e);
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = font;
    if (visible(e) && pen.measureText(e.placeholder).width > e.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight) + 1)
      problems.add(`cuts its placeholder off: "${e.placeholder}"`);
  }

  // Keyboard: what can be clicked can be focused, in the order in which it is read.
  const focusable = "a[href], button, input, select, textarea, summary, [tabindex]";
  for (const e of document.querySelectorAll("[tabindex]"))
    if (e.tabIndex > 0) problems.add(`has a tabindex above 0: ${text(e)}`);
  for (const e of document.querySelectorAll("[onclick], a:not([href])"))
    if (visible(e) && e.tabIndex < 0 && !e.closest(focusable)) problems.add(`cannot be reached with the keyboard: ${text(e)}`);
  for (const e of document.querySelectorAll("*"))
    if (e.hasAttribute("x-on:click") && e.textContent.trim() && visible(e) && e.tabIndex < 0 && !e.closest(focusable) && !e.querySelector(focusable))
      problems.add(`cannot be reached with the keyboard: ${text(e)}`);
  const floats = (e) => { for (let up = e; up; up = up.parentElement) if (/fixed|sticky/.test(getComputedStyle(up).position)) return true; };
  const stops = [...document.querySelectorAll("#content :is(" + focusable + ")")].filter((e) => e.tabIndex >= 0 && !e.disabled && visible(e) && !floats(e));
  stops.slice(1).forEach((b, i) => {
    const [from, to] = [stops[i].getBoundingClientRect(), b.getBoundingClientRect()];
    if (to.bottom <= from.top && to.left < from.right) problems.add(`has the focus after ${text(stops[i])}, and is above it: ${text(b)}`);
  });
  return [...problems];
}
