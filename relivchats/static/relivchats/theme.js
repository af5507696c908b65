// What the theme leaves out: landmarks, names and the keyboard, and columns of numbers.
"use strict";
(() => {
  const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]";
  const NUMBER = /^[+−-]?[$€£₹]?\d[\d,\u00a0\u202f ]*(\.\d+)?( ?(%|ms|s|B|kB|MB|GB|MiB|GiB)| of \d+)?$/;
  // What counts or measures something. Other numbers are names, such as that of a process, or a phone number.
  const QUANTITY = /count|bytes|tokens|coins|balance|amount|reserved|spendable|owed|paid|held|milliseconds|requests|runs|rows|reads|messages|uploads|times|how many|price/i;
  const BLANK = /^[-–]?$/;

  // An element that only answers to a click is a button that takes the focus.
  function makeButtons(root) {
    for (const element of root.querySelectorAll("[x-on\\:click]")) {
      if (!element.textContent.trim() || element.closest(FOCUSABLE) || element.querySelector(FOCUSABLE)) continue;
      if (element.matches("h2")) {
        // A click on the button reaches the heading.
        const button = document.createElement("button");
        button.type = "button";
        button.append(...element.childNodes);
        element.append(button);
        continue;
      }
      element.tabIndex = 0;
      element.role = "button";
      element.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        element.click();
      });
    }
  }

  // The fields of a table have their names only in its head.
  function nameFields(root) {
    for (const field of root.querySelectorAll("td :is(input:not([type=hidden]), select, textarea)")) {
      const cell = field.closest("td");
      const heading = cell.closest("table").querySelectorAll("thead th")[cell.cellIndex];
      if (!field.labels?.length && !field.ariaLabel) field.ariaLabel = (cell.dataset.label || heading?.textContent || "").trim();
    }
    // A tooltip without a role cannot have a name.
    for (const element of root.querySelectorAll(".help-tooltip[aria-label]")) element.role = "img";
  }

  // Not of a day or a time, which begin with digits too.
  const groupDigits = (text) => text.replace(/^(\s*[+−-]?)(\d{4,})(?![\d:.-])/, (_, sign, digits) => sign + Number(digits).toLocaleString("en-US"));

  function alignNumbers(root) {
    for (const table of root.querySelectorAll("#result_list, .rc-table")) {
      const rows = [...table.querySelectorAll("tbody tr")].filter((row) => row.cells.length > 1);
      const headings = [...table.querySelectorAll("thead th")];
      headings.forEach((heading, column) => {
        const cells = rows.map((row) => row.cells[column]).filter(Boolean);
        const texts = cells.map((cell) => cell.textContent.trim());
        cells.forEach((cell, index) => {
          const isBlank = BLANK.test(texts[index]) && !cell.firstElementChild;
          cell.classList.toggle("rc-blank", isBlank);
          if (isBlank) cell.textContent = "–";
        });
        // An id is no quantity, and an age is 2 min as well as 117 s.
        const isNumber = texts.some((text) => NUMBER.test(text)) && texts.every((text) => NUMBER.test(text) || BLANK.test(text));
        if (!isNumber || cells.some((cell) => cell.matches(".rc-text") || cell.querySelector("a, time, .rc-id"))) return;
        for (const cell of [heading, ...cells]) cell.classList.add("rc-number");
        if (QUANTITY.test(heading.textContent))
          for (const cell of cells) if (!cell.firstElementChild) cell.textContent = groupDigits(cell.textContent);
      });
    }
  }

  // A long name of code may break where its parts end.
  function breakNames(root) {
    for (const cell of root.querySelectorAll(":is(#result_list, .rc-table) td:not(:has(*))")) {
      const parts = cell.textContent.split(/(?<=[.:/])(?=\w)|(?<=^[0-9a-f]{16})(?=[0-9a-f]{16}$)/);
      if (cell.textContent.length > 24 && !cell.textContent.includes(" ") && parts.length > 1)
        cell.replaceChildren(...parts.flatMap((part, index) => (index ? [document.createElement("wbr"), part] : [part])));
    }
  }

  function improve(root) {
    makeButtons(root);
    nameFields(root);
    alignNumbers(root);
    breakNames(root);
    for (const value of root.querySelectorAll(".field-line .readonly:not(:has(*))")) {
      if (BLANK.test(value.textContent.trim())) value.textContent = "–";
      if (QUANTITY.test(value.closest(".field-line").querySelector("label")?.textContent)) value.textContent = groupDigits(value.textContent);
    }
    for (const cell of root.querySelectorAll("#result_list [data-label]"))
      cell.dataset.label = cell.dataset.label.charAt(0).toUpperCase() + cell.dataset.label.slice(1);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const main = document.getElementById("main") || document.getElementById("page");
    if (main) main.role = "main";
    document.getElementById("nav-sidebar-inner")?.setAttribute("aria-label", "Pages");
    // The page has the id in full.
    for (const part of document.querySelectorAll("#header-inner h1 > :is(a, span)"))
      if (!part.firstElementChild) part.textContent = part.textContent.replace(/\b([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/, "$1");
    const search = document.getElementById("searchbar");
    if (search) {
      search.title = search.ariaLabel = search.placeholder;
      // A narrow box has no room for the kinds of ids.
      const isNarrow = window.matchMedia("(max-width: 1023px)");
      const shorten = () => { search.placeholder = isNarrow.matches ? search.title.split(":")[0] : search.title; };
      isNarrow.addEventListener("change", shorten);
      shorten();
    }
    improve(document.body);
  });
  // Django builds its two-column choices, and the theme its scrolling boxes, when everything is loaded.
  window.addEventListener("load", () => setTimeout(() => {
    nameFields(document.body);
    for (const [id, name] of [["nav-sidebar-apps", "All pages"], ["changelist-filter", "Choices"], ["changelist-form", "Rows"]])
      document.querySelector(`#${id} .simplebar-content-wrapper`)?.setAttribute("aria-label", name);
  }));
})();
