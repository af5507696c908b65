// What the admin adds to its pages: times in the reader's zone, buttons that copy, and parts that refresh themselves.
"use strict";
(() => {
  const STAMP = /\b(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC\b/g;
  const LOCAL = new Intl.DateTimeFormat("sv-SE", {
    year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
  });
  const LOCAL_MINUTE = new Intl.DateTimeFormat("sv-SE", {
    year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
  });
  const ICON = '<svg viewBox="0 0 24 24" aria-hidden="true"><rect x="9" y="9" width="11" height="11" rx="2"/><path d="M5 15V6a2 2 0 0 1 2-2h8"/></svg>';

  // Filters by day begin at the reader's midnight.
  const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (ZONE) document.cookie = `zone=${ZONE}; path=/admin; max-age=31536000; samesite=lax`;

  function showLocalTimes(root) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT, (node) =>
      node.parentElement.closest("script, style, textarea, code, time, title") ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
    const found = [];
    while (walker.nextNode()) if (walker.currentNode.data.includes(" UTC")) found.push(walker.currentNode);
    for (const node of found) {
      const parts = document.createDocumentFragment();
      let end = 0;
      for (const match of node.data.matchAll(STAMP)) {
        const time = document.createElement("time");
        time.dateTime = `${match[1]}T${match[2]}Z`;
        time.title = match[0];
        time.textContent = LOCAL.format(new Date(time.dateTime));
        parts.append(node.data.slice(end, match.index), time);
        end = match.index + match[0].length;
      }
      if (end) {
        parts.append(node.data.slice(end));
        node.replaceWith(parts);
      }
    }
  }

  async function copy(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    // Over plain HTTP a browser has no clipboard interface.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }

  function addCopyButtons(root) {
    for (const element of root.querySelectorAll("[data-copy]:not([data-ready])")) {
      element.dataset.ready = "";
      const button = document.createElement("button");
      button.type = "button";
      button.className = "rc-copy";
      button.innerHTML = ICON;
      button.title = "Copy";
      button.setAttribute("aria-label", `Copy ${element.dataset.copy.slice(0, 60)}`);
      button.addEventListener("click", async () => {
        await copy(element.dataset.copy);
        button.dataset.done = "";
        button.title = "Copied";
        setTimeout(() => { delete button.dataset.done; button.title = "Copy"; }, 2000);
      });
      // A button inside a link is invalid.
      (element.closest("a") || element.lastChild || element).after(button);
    }
  }

  // What scrolls must be reachable with the keyboard, also after a phone was turned.
  const widths = new ResizeObserver((entries) => {
    for (const { target } of entries)
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
  });

  // The value of a chart under the pointer, with its time.
  function addReadout(svg) {
    const values = JSON.parse(svg.dataset.values);
    const [start, end] = [Date.parse(svg.dataset.start), Date.parse(svg.dataset.end)];
    const readout = document.createElement("output");
    const cursor = document.createElement("span");
    readout.className = "rc-readout";
    cursor.className = "rc-cursor";
    const hide = (hidden) => { readout.hidden = cursor.hidden = hidden; };
    hide(true);
    svg.after(cursor, readout);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const last = values.length - 1;
      if (last < 1) return;
      const index = Math.min(last, Math.max(0, Math.round((event.clientX - box.left) / box.width * last)));
      const at = new Date(start + (end - start) * index / last);
      const value = values[index] === null ? "no data" : `${values[index].toLocaleString("en-US")} ${svg.dataset.unit}`;
      readout.textContent = `${LOCAL_MINUTE.format(at)}: ${value}`;
      hide(false);
      const x = box.left - svg.parentElement.getBoundingClientRect().left + box.width * index / last;
      cursor.style.left = `${x}px`;
      readout.style.left = `${Math.min(Math.max(x, readout.offsetWidth / 2 + 4), svg.parentElement.clientWidth - readout.offsetWidth / 2 - 4)}px`;
    });
    svg.addEventListener("pointerleave", () => hide(true));
  }

  function improve(root) {
    showLocalTimes(root);
    root.querySelectorAll("svg[data-values]").forEach(addReadout);
    for (const time of root.querySelectorAll("time.rc-age")) time.title = LOCAL.format(new Date(time.dateTime));
    addCopyButtons(root);
    for (const element of root.querySelectorAll(".rc-scroll, #result_list"))
      widths.observe(element.closest(".simplebar-content-wrapper") || element);
  }

  function refresh(element) {
    setInterval(async () => {
      // A reader who has the focus in it would lose it.
      if (document.hidden || element.contains(document.activeElement)) return;
      const note = element.querySelector("[data-refreshed]");
      try {
        const answer = await fetch(element.dataset.refresh, { credentials: "same-origin" });
        // While the database does not answer, the overview is what explains it.
        const isOverview = answer.ok || answer.headers.has("X-Overview");
        if (!isOverview || answer.redirected) throw new Error(String(answer.status));
        element.innerHTML = await answer.text();
        improve(element);
      } catch {
        if (note) note.textContent = "not refreshed: the server does not answer, or you were logged out";
      }
    }, Number(element.dataset.seconds) * 1000);
  }

  document.addEventListener("DOMContentLoaded", () => {
    improve(document.body);
    document.querySelectorAll("[data-refresh]").forEach(refresh);
  });
})();
