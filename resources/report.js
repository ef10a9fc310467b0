// The layer table: a click on a heading sorts by it, the field above filters. Without script it is a plain table.
"use strict";
(() => {
  const table = document.getElementById("layers");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const shown = document.getElementById("shown");

  const collator = new Intl.Collator(undefined, { numeric: true });
  const sortKey = (row, index, numeric) => {
    const cell = row.cells[index];
    const raw = cell.dataset.v === undefined ? cell.textContent.trim() : cell.dataset.v;
    return numeric ? (raw === "" ? null : Number(raw)) : raw;
  };
  const compare = (a, b, direction) => {
    // What is not known stands last in both directions.
    if (a === null || b === null) return (a === null) - (b === null);
    return direction * (typeof a === "number" ? a - b : collator.compare(a, b));
  };

  Array.from(table.tHead.rows[0].cells).forEach((heading, index) => {
    // Not a <button>: Chromium does not repeat a table's head on every printed page when there is one in it.
    const button = document.createElement("span");
    button.setAttribute("role", "button");
    button.tabIndex = 0;
    button.append(...heading.childNodes);
    heading.append(button);
    const numeric = heading.classList.contains("n");
    const first = numeric && index > 0 ? -1 : 1;
    button.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      button.click();
    });
    button.addEventListener("click", () => {
      const current = heading.getAttribute("aria-sort");
      const direction = current === null ? first : current === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
      const keyed = rows.map((row, place) => [sortKey(row, index, numeric), place, row]);
      keyed.sort((a, b) => compare(a[0], b[0], direction) || a[1] - b[1]);
      body.append(...keyed.map((entry) => entry[2]));
    });
  });

  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = "Filter layers";
  field.setAttribute("aria-label", "Filter layers by name, operation or shape");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      count += row.hidden ? 0 : 1;
    }
    shown.textContent = count === rows.length ? `${count} rows` : `${count} of ${rows.length} rows`;
  });
  document.getElementById("filter").append(field);
})();
